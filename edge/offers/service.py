"""The offers room: asks the engine's promotions, signs, keeps the ledger, redeems once. Commit before effect."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from edge.core.fact import Fact, JsonValue
from edge.core.facts import CheckIn, ConsentGiven, ConsentWithdrawn, OfferRedeemed, OfferRefused, OfferShown
from edge.core.instant import US_PER_DAY, US_PER_MIN, US_PER_S, Instant, TimeQuality
from edge.core.localtime import local_day, next_midnight_us
from edge.core.promotion import Promotion, Promotions, Verdict
from edge.core.retention import Retention
from edge.core.site import Site
from edge.journal import Journal
from edge.offers import consent as consents
from edge.offers import ledger as ledgers
from edge.offers import rotating
from edge.offers.consent import PURPOSES, Consent, Consents
from edge.offers.ledger import Entry, Ledger
from edge.offers.rotating import RotatingIds
from edge.offers.signing import OfferSigner, Token, read_token

KEY: Final = "offers/key"
MAX_OPEN: Final = 100_000
METHODS: Final = ("app", "qr", "nfc")


class Committer(Protocol):
    """What the room needs of the runtime."""

    @property
    def journal(self) -> Journal:
        """The journal."""
        ...

    def tell(self, *facts: Fact) -> Awaitable[object]:
        """Commit facts; an awaitable that is done once they are on the disk."""
        ...


class Follower(Protocol):
    """What follows consenting customers over the floor (`edge.core.proximity.Proximity`)."""

    def follow(self, visitors: Mapping[str, str]) -> None:
        """Identities that are advertised now → pseudonym of the day; all of them."""
        ...

    def forget(self, subject: str) -> None:
        """Say nothing of this person from now on."""
        ...


@dataclass(frozen=True, slots=True)
class Advertise:
    """What a phone may advertise until a wall time (µs): Eddystone-EID with this key, its clock being Unix time."""

    key: bytes
    exponent: int
    until_us: int


class OfferRefusal(Exception):
    """Not given, not redeemed: machine-readable reason, and words for people."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True, slots=True)
class Reported:
    """A redemption that a till made while it was cut off."""

    token: str
    reference: str


class Offers:
    """One store's offers. `tell` and `journal.put` of one turn of the loop share a transaction."""

    def __init__(
        self,
        runtime: Committer,
        promotions: Callable[[], Promotions],
        site: Callable[[], Site],
        follower: Follower,
        retention: Retention | None = None,
    ) -> None:
        self._retention = retention or Retention()
        self._runtime, self._promotions, self._site, self._follower = runtime, promotions, site, follower
        journal = runtime.journal
        self._put = journal.put
        seed = journal.get(KEY)
        if not isinstance(seed, str):
            seed = base64.b64encode(secrets.token_bytes(32)).decode()
            journal.put(KEY, seed)
        self._signer = OfferSigner(base64.b64decode(seed))
        self.ledger = Ledger(_rows(journal, ledgers.PREFIX), journal.get("offers/totals"), journal.put)
        self.consents = Consents(_rows(journal, consents.PREFIX), journal.put)
        rows = _rows(journal, rotating.PREFIX)
        self._rotating = RotatingIds(rows, journal.put, self.consents, follower.follow)
        self._swept_us = -US_PER_DAY
        self._version = 0

    @property
    def public_key(self) -> bytes:
        """32 bytes: what tills and apps check offers with."""
        return self._signer.public_key

    def stamp(self, handle: str, person: str) -> tuple[object, ...]:
        """Another one after every change of this room that an answer to this phone may depend on.

        A cap that was reached, a budget that retention freed; the person's consent; the person's own offers.
        """
        return self._version, self.consents.by_handle(handle) is not None, self.ledger.version(person)

    def who(self, receipt: str, now: Instant) -> tuple[str, str]:
        """(handle of the consent, pseudonym of today) of a receipt; empty ones for nobody's."""
        consent = self.consents.of(receipt)
        return (consent.handle, consent.pseudonym(self._day(now))) if consent else ("", "")

    def gap_ends_us(self, zone: str, person: str) -> list[int]:
        """Engine times at which the minimum gap of this person's last offer ends, for the promotions of a zone."""
        last_us = self.ledger.last_us(person)
        if last_us is None:
            return []
        return [last_us + round(p.min_gap_min * US_PER_MIN) for p in self._promotions().promotions() if p.zone == zone]

    # --- consent ------------------------------------------------------------------------------------------------------

    async def give_consent(self, purposes: list[str], notice: str, segments: list[str], now: Instant) -> dict[str, str]:
        """A receipt for the phone and the pseudonym of today. Raises OfferRefusal."""
        wrong = [purpose for purpose in purposes if purpose not in PURPOSES]
        if wrong or not purposes:
            raise OfferRefusal("purposes", f"purposes = {purposes!r}: expected some of {', '.join(sorted(PURPOSES))}")
        self._sweep(now)
        if len(self.consents) >= consents.MAX_CONSENTS:
            raise OfferRefusal("full", f"{len(self.consents)} consents: expected fewer than {consents.MAX_CONSENTS}")
        receipt, consent = self.consents.give(purposes, notice, segments, now.wall_us)
        subject = consent.pseudonym(self._day(now))
        await self._runtime.tell(
            ConsentGiven(
                at_us=now.mono_us,
                subject_id=subject,
                purposes=list(purposes),
                receipt=consent.handle,
                notice_version=notice,
            )
        )
        return {"receipt": receipt, "subject_id": subject}

    async def withdraw(self, receipt: str, now: Instant) -> None:
        """End a consent; the key is deleted in the same commit, which is the erasure. Raises OfferRefusal."""
        consent = self._consent(receipt)
        await self._erase(consent, now)

    async def _erase(self, consent: Consent, now: Instant) -> None:
        day = self._day(now)
        subject = consent.pseudonym(day)
        self.consents.erase(consent.handle)
        self._rotating.end(consent.handle)
        self._rotating.refresh(day, now)
        self._follower.forget(subject)  # before the commit: what is heard meanwhile is nobody's
        withdrawn = ConsentWithdrawn(at_us=now.mono_us, subject_id=subject, receipt=consent.handle)
        await self._runtime.tell(withdrawn)

    async def keep_promises(self, now: Instant) -> None:
        """What is due without anybody asking: the platform's erasures, and the end of what is kept long enough."""
        await self.erase_asked(now)
        self._sweep(now)
        self._rotating.refresh(self._day(now), now)

    async def erase_asked(self, now: Instant) -> int:
        """Carry out the platform's `erase_subject` commands; the number of subjects found."""
        asked = list(self._promotions().erasures)
        days = [local_day(now.wall_us - back * US_PER_DAY, self._zone()) for back in range(8)]
        found = 0
        for subject in asked:
            consent = self.consents.find(subject, days)
            if consent is not None:
                found += 1
                await self._erase(consent, now)
        if asked:
            self._promotions().forget_erasures(asked)
        return found

    async def check_in(self, receipt: str, method: str, zone: str, now: Instant) -> tuple[str, Advertise | None]:
        """A consenting customer is here: the pseudonym of today, and what their phone may advertise, where they agreed
        to be followed over the floor. Raises OfferRefusal."""
        consent = self._consent(receipt)
        if method not in METHODS:
            raise OfferRefusal("method", f"method = {method!r}: expected one of {', '.join(METHODS)}")
        day = self._day(now)
        subject, key = consent.pseudonym(day), self._rotating.grant(consent, day, now)
        await self._runtime.tell(CheckIn(at_us=now.mono_us, subject_id=subject, method=method, zone=zone))
        self._rotating.refresh(day, now)
        if key is None:
            return subject, None
        return subject, Advertise(key, rotating.EXPONENT, next_midnight_us(now.wall_us, self._zone()))

    def _consent(self, receipt: str) -> Consent:
        consent = self.consents.of(receipt)
        if consent is None:
            raise OfferRefusal("no_consent", "the receipt is not known: expected one that is not withdrawn")
        return consent

    # --- giving out ---------------------------------------------------------------------------------------------------

    def explain(self, zone: str, receipt: str, now: Instant) -> list[Verdict]:
        """Why and why not, for the person of a receipt ("" for nobody)."""
        consent = self.consents.of(receipt)
        person = consent.pseudonym(self._day(now)) if consent else ""
        return self._promotions().explain(zone, now, self.ledger, person, consent.segments if consent else frozenset())

    async def offers(self, zone: str, receipt: str, now: Instant) -> list[Entry]:
        """The person's open offers in a zone; new ones are committed before they are shown."""
        consent = self.consents.of(receipt)
        if consent is None or "offers" not in consent.purposes or now.quality is TimeQuality.UNSET:
            return []
        self._sweep(now)
        person = consent.pseudonym(self._day(now))
        issued = self._issue(consent, person, zone, now)
        if issued:
            await self._runtime.tell(*(self._shown(entry, now) for entry in issued))
        return self.ledger.open_of(person, zone, now.wall_us)

    def _issue(self, consent: Consent, person: str, zone: str, now: Instant) -> list[Entry]:
        promotions = self._promotions()
        issued: list[Entry] = []
        held = {entry.promotion for entry in self.ledger.open_of(person, zone, now.wall_us)}
        for verdict in promotions.explain(zone, now, self.ledger, person, consent.segments):
            full = len(self.ledger.entries) >= MAX_OPEN
            if verdict.why_not or verdict.promotion.id in held or full:
                continue
            # The entry before may have used up a cap or begun a gap: ask again for this one.
            fresh = promotions.explain(zone, now, self.ledger, person, consent.segments) if issued else [verdict]
            if all(
                other.why_not for other in fresh if (other.promotion, other.gtin) == (verdict.promotion, verdict.gtin)
            ):
                continue
            entry = self._entry(verdict, person, now)
            held.add(verdict.promotion.id)
            self.ledger.add(entry)
            self._version += self._used_up(verdict.promotion, entry.day)
            issued.append(entry)
        return issued

    def _used_up(self, promotion: Promotion, day: str) -> bool:
        """Whether nobody else may have an offer of this promotion any more (today)."""
        _, today, in_all = self.ledger.shown(promotion.id, "", day)
        left_minor = promotion.budget_minor - self.ledger.spent_minor(promotion.id)
        return (
            bool(promotion.cap_day and today >= promotion.cap_day)
            or bool(promotion.cap_total and in_all >= promotion.cap_total)
            or bool(promotion.budget_minor and left_minor < promotion.value_minor)
        )

    def _entry(self, verdict: Verdict, person: str, now: Instant) -> Entry:
        promotion = verdict.promotion
        expires_us = min(promotion.ends_us, now.wall_us + round(promotion.valid_min * US_PER_MIN))
        nonce = secrets.token_hex(12)
        store = self._site().store.id
        expires_s = expires_us // US_PER_S
        offer = Token(nonce, store, promotion.id, verdict.gtin, promotion.zone, expires_s, promotion.offline_limit)
        return Entry(
            nonce=nonce,
            promotion=promotion.id,
            gtin=verdict.gtin,
            zone=promotion.zone,
            person=person,
            day=self._day(now),
            issued_us=now.mono_us,
            expires_us=expires_s * US_PER_S,
            value_minor=promotion.value_minor,
            token=self._signer.token(offer),
        )

    @staticmethod
    def _shown(entry: Entry, now: Instant) -> OfferShown:
        return OfferShown(
            at_us=now.mono_us,
            offer=entry.nonce,
            promotion=entry.promotion,
            zone=entry.zone,
            gtin=entry.gtin,
            subject_id=entry.person,
            expires_us=entry.expires_us,
        )

    # --- redeeming ----------------------------------------------------------------------------------------------------

    async def redeem(self, token: str, till: str, reference: str, now: Instant) -> Entry:
        """Redeem once. Raises OfferRefusal; a refusal is a fact as well. The same till and reference again is one."""
        try:
            entry = self._redeemable(token, now)
        except OfferRefusal as refusal:
            await self._refused(token, till, refusal.reason, now)
            raise
        if entry.till:
            if (entry.till, entry.reference) == (till, reference):
                return entry
            await self._refused(token, till, "redeemed", now)
            raise OfferRefusal("redeemed", f"offer {entry.nonce} was redeemed at till {entry.till}")
        # Taken in memory at once: who comes while the commit is on its way is refused.
        self.ledger.redeem(entry, till, reference)
        redeemed = OfferRedeemed(
            at_us=now.mono_us, offer=entry.nonce, promotion=entry.promotion, gtin=entry.gtin, till=till
        )
        await self._runtime.tell(redeemed)
        return entry

    def _redeemable(self, token: str, now: Instant) -> Entry:
        offer = read_token(token, self.public_key)
        if offer is None:
            raise OfferRefusal("signature", "the offer was not signed by this store")
        if now.quality is TimeQuality.UNSET:
            raise OfferRefusal("clock", "the gateway does not know the time yet: expected a set clock")
        if offer.expires_s * US_PER_S <= now.wall_us:
            raise OfferRefusal("expired", f"offer {offer.nonce} has expired")
        entry = self.ledger.entries.get(offer.nonce)
        if entry is None:
            raise OfferRefusal("unknown", f"offer {offer.nonce} is not in the ledger")
        return entry

    async def _refused(self, token: str, till: str, reason: str, now: Instant) -> None:
        offer = read_token(token, self.public_key)
        nonce, promotion = (offer.nonce, offer.promotion) if offer else ("", "")
        refused = OfferRefused(at_us=now.mono_us, offer=nonce, promotion=promotion, reason=reason, till=till)
        await self._runtime.tell(refused)

    async def reconcile(self, till: str, reported: list[Reported], now: Instant) -> list[dict[str, str]]:
        """Redemptions of a till that was cut off: booked, doubles told; the same report again changes nothing."""
        facts: list[Fact] = []
        results = []
        for row in reported:
            offer = read_token(row.token, self.public_key)
            entry = self.ledger.entries.get(offer.nonce) if offer else None
            if entry is None:
                results.append({"reference": row.reference, "status": "forged" if offer is None else "unknown"})
                reason = results[-1]["status"]
                facts.append(OfferRefused(at_us=now.mono_us, offer="", promotion="", reason=reason, till=till))
                continue
            double = bool(entry.till) and (entry.till, entry.reference) != (till, row.reference)
            if entry.till and not double:
                results.append({"reference": row.reference, "status": "known"})
                continue
            if double and not self.ledger.note_double(entry, till, row.reference):
                results.append({"reference": row.reference, "status": "double"})
                continue
            if not double:
                self.ledger.redeem(entry, till, row.reference)
            facts.append(
                OfferRedeemed(
                    at_us=now.mono_us,
                    offer=entry.nonce,
                    promotion=entry.promotion,
                    gtin=entry.gtin,
                    till=till,
                    offline=True,
                    double=double,
                )
            )
            results.append({"reference": row.reference, "status": "double" if double else "booked"})
        if facts:
            await self._runtime.tell(*facts)
        return results

    # --- housekeeping -------------------------------------------------------------------------------------------------

    def _sweep(self, now: Instant) -> None:
        """Retention: forget what expired long ago, once an hour."""
        if now.mono_us - self._swept_us < 60 * US_PER_MIN:
            return
        self._swept_us = now.mono_us
        kept = self._retention
        self._version += bool(self.ledger.forget(now.wall_us - round(kept.offer_days * US_PER_DAY)))
        for consent in self.consents.older_than(now.wall_us - round(kept.consent_days * US_PER_DAY)):
            self.consents.erase(consent.handle)
            self._rotating.end(consent.handle)

    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._site().store.timezone)

    def _day(self, now: Instant) -> str:
        return local_day(now.wall_us, self._zone())


def _rows(journal: Journal, prefix: str) -> dict[str, JsonValue]:
    return {key: journal.get(key) for key in journal.keys(prefix)}
