"""The engine of one store: every part made for its site. The one place that live, replay and simulation share."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from edge.core.conversion import Conversions
from edge.core.engine import Engine, Parts
from edge.core.fleet import Fleet
from edge.core.footfall import Footfall
from edge.core.holds import Holds
from edge.core.identity import decode_epc
from edge.core.inventory import Inventory
from edge.core.presence import Presence, load_profile
from edge.core.promotion import Promotions
from edge.core.proximity import Proximity
from edge.core.reorder import Reorder
from edge.core.shelf import Calibration, CellKey, Shelves
from edge.core.site import Site


def identity_of(epc: bytes) -> tuple[str, str]:
    """(GTIN, URI) of a tag; the GTIN is "" where the tag is no trade item."""
    identity = decode_epc(epc)
    return sys.intern(identity.gtin), identity.uri  # thousands of tags share one GTIN


def make_engine(
    site: Site, calibrations: Mapping[CellKey, Calibration] | None = None, profile: str = "learned"
) -> Engine:
    """All parts with their defaults. calibrations: what was measured before the gateway knew of it."""
    inventory = Inventory(site)
    holds = Holds(inventory)
    return Engine(
        site,
        Parts(
            presence=Presence(site, identity_of, load_profile(profile)),
            shelves=Shelves(site, calibrations or {}),
            inventory=inventory,
            holds=holds,
            reorder=Reorder(site, held=holds.open_quantity),
            proximity=Proximity(site),
            promotions=Promotions(site),
            footfall=Footfall(site),
            conversions=Conversions(site),
            fleet=Fleet(),
        ),
    )
