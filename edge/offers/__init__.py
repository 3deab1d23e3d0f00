"""Offers for shoppers' phones: signed, single use, redeemed once; consent, withdrawal, erasure."""

from edge.offers.service import OfferRefusal, Offers
from edge.offers.signing import OfferSigner, Token, read_token

__all__ = ["OfferRefusal", "OfferSigner", "Offers", "Token", "read_token"]
