"""The desk at which phones ask: offers and rates of one app, and the answers it has given and may give again.

Nine of ten phones ask for what has not changed. `hot_offers` answers them in front of the routes (`edge/api/quick.py`)
from bytes rendered once. An answer is true until one of these: stock, promotions or planogram changed (`Promotions.
version`, the site's identity), a cap was reached or a consent ended (`Offers.stamp`), this person got or redeemed an
offer, or an instant passed at which the clock alone changes the answer (`until_us`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.datastructures import State

from edge.api.problems import Problem
from edge.api.quick import NO_CACHE, Ask, Rendered, tag_of, to_json
from edge.api.services import Here, Services
from edge.api.shopper_limits import Limits, Rate
from edge.core.errors import JournalFull
from edge.core.instant import US_PER_MIN, Instant
from edge.core.site import Site
from edge.health import Alarm
from edge.offers import Offers

ASK: Final = Rate(10.0, 40.0)
CONSENT: Final = Rate(2.0, 30.0)  # an address behind which many phones are may still consent
PROMISES_EVERY_S: Final = 60.0  # an erasure is promised within a day; rotating identifiers live 8.5 min
PROMISES_FIRST_S: Final = 1.0  # customers who were followed before a restart are followed again
ANSWERS_MAX: Final = 20_000
OF_ONE_PERSON: Final = (*NO_CACHE, ("vary", "X-Consent"))

_Asked = tuple[bytes, bytes]
"""Query and receipt, as they were sent."""


@dataclass(frozen=True, slots=True)
class _Answer:
    rendered: Rendered
    site: Site
    zone: str
    handle: str
    person: str
    stamp: tuple[object, ...]
    until_us: int  # engine time


class Desk:
    """Offers and limits of one app, made at the first request: the journal must be open by then."""

    def __init__(self, here: Services) -> None:
        parts = here.runtime.engine.parts
        self.here = here
        self.offers = Offers(here.runtime, lambda: parts.promotions, lambda: here.site, parts.proximity, here.retention)
        self.parts = parts
        self.ask, self.consent = Limits(ASK), Limits(CONSENT)
        self.live = 0
        self._answers: dict[_Asked, _Answer] = {}

    # --- rates and places -------------------------------------------------------------------------------------------

    def limit(self, limits: Limits, client: str) -> None:
        """Raises Problem 429 for who asks too often."""
        if not limits.allow(client, self.here.runtime.clock.now().mono_us):
            raise Problem(429, "too_many", "too many requests: expected fewer", "Wait a few seconds.")

    def client(self, request: Request, receipt: str) -> str:
        """Who counts as one: a living consent, else the address (in memory only)."""
        consent = self.offers.consents.of(receipt)
        return consent.handle if consent else address_of(request)

    def zone(self, beacon: str, zone: str) -> str:
        """The zone of an own beacon or of a code at the shelf. Raises Problem 404 that does not tell why."""
        heard = self.here.installation.beacon_keys.resolve(beacon)
        known = self.parts.proximity.zone_of(heard) if beacon else zone
        if known and any(one.id == known for one in self.here.site.zones):
            return known
        raise Problem(404, "not_found", "nothing is known of this place")

    # --- answers that may be given again ------------------------------------------------------------------------------

    async def document(self, zone: str, receipt: str) -> dict[str, Any]:
        """What a phone is told of a zone; new offers are committed before this returns."""
        now = self.here.runtime.clock.now()
        open_offers = await self.offers.offers(zone, receipt, now)
        mine = {(entry.promotion, entry.gtin) for entry in open_offers}
        rows = []
        for verdict in self.offers.explain(zone, receipt, now):
            promotion = verdict.promotion
            product = self.here.site.product_by_gtin.get(verdict.gtin)
            if product is not None:
                held = (promotion.id, verdict.gtin) in mine
                titles = {"": promotion.title, **promotion.titles}
                row = {"promotion": promotion.id, "gtin": verdict.gtin, "name": product.name, "titles": titles}
                price = {"price_minor": product.price_minor, "currency": product.currency}
                saving = {"value_minor": promotion.value_minor, "on_hand": self.parts.promotions.on_hand(verdict.gtin)}
                rows.append(row | price | saving | {"url": product.url, "why_not": [] if held else [*verdict.why_not]})
        offers = [
            {"offer": e.nonce, "promotion": e.promotion, "gtin": e.gtin, "expires_us": e.expires_us, "token": e.token}
            for e in open_offers
        ]
        names = {"zone_name": zone_name(self.here.site, zone), "store_name": self.here.site.store.name}
        return {"zone": zone, **names, "offers": offers, "promotions": rows}

    async def answer(self, asked: _Asked, zone: str, receipt: str) -> Rendered:
        """The answer to a phone, remembered for when it asks again."""
        now = self.here.runtime.clock.now()
        document = await self.document(zone, receipt)
        body = to_json(document)
        rendered = Rendered(body, tag_of(body), more=OF_ONE_PERSON)
        handle, person = self.offers.who(receipt, now)
        expires_us = [row["expires_us"] for row in document["offers"]]
        until_us = now.mono_us + self._lasts_us(now, zone, person, expires_us)
        if len(self._answers) >= ANSWERS_MAX:
            self._answers.clear()
        stamp = self._stamp(now, zone, handle, person)
        self._answers[asked] = _Answer(rendered, self.here.site, zone, handle, person, stamp, until_us)
        return rendered

    def again(self, asked: _Asked, address: str) -> Rendered | None:
        """The remembered answer while it is true. Raises Problem 429."""
        found = self._answers.get(asked)
        if found is None or self.parts.promotions.erasures:
            return None
        now = self.here.runtime.clock.now()
        stamp = self._stamp(now, found.zone, found.handle, found.person)
        if now.mono_us >= found.until_us or found.stamp != stamp or found.site is not self.here.site:
            del self._answers[asked]
            return None
        self.limit(self.ask, found.handle or address)
        return found.rendered

    def _stamp(self, now: Instant, zone: str, handle: str, person: str) -> tuple[object, ...]:
        return now.quality, self.parts.promotions.version(zone), self.offers.stamp(handle, person)

    def _lasts_us(self, now: Instant, zone: str, person: str, expires_us: list[int]) -> int:
        """Until the clock alone changes the answer: a minute's end (hours, quiet hours, days), an expiry, a gap."""
        instants_us = [now.wall_us - now.wall_us % US_PER_MIN + US_PER_MIN, *expires_us]
        instants_us += self.parts.promotions.edges_us(zone)
        lasts_us = min(at_us - now.wall_us for at_us in instants_us if at_us > now.wall_us)
        gaps_us = [at_us - now.mono_us for at_us in self.offers.gap_ends_us(zone, person) if at_us > now.mono_us]
        return min([lasts_us, *gaps_us])


def zone_name(site: Site, zone: str) -> str:
    """What people call a zone."""
    return next((one.name for one in site.zones if one.id == zone and one.name), zone)


def address_of(request: Request) -> str:
    """The address that asks, "" where there is none."""
    return request.client.host if request.client else ""


async def desk_of(request: Request, here: Here) -> Desk:
    """The desk of the app that serves this request; carries out the platform's erasures on the way."""
    desk = getattr(request.app.state, "desk", None)
    if desk is None:
        desk = request.app.state.desk = Desk(here)
    if desk.parts.promotions.erasures:
        await desk.offers.erase_asked(here.runtime.clock.now())
    found: Desk = desk
    return found


async def keep_promises(state: State, here: Services, every_s: float = PROMISES_EVERY_S) -> None:
    """Erasures that the platform asked for, retention and rotation, also where no phone asks for anything for days."""
    wait_s = min(every_s, PROMISES_FIRST_S)
    while True:
        await asyncio.sleep(wait_s)
        wait_s = every_s
        desk = getattr(state, "desk", None)
        if desk is None:
            desk = state.desk = Desk(here)
        try:
            await desk.offers.keep_promises(here.runtime.clock.now())
        except JournalFull as error:
            here.health.alarm(Alarm.ERASURE, f"erasures wait: {error}")
        else:
            here.health.alarm(Alarm.ERASURE, "")


AtDesk = Annotated[Desk, Depends(desk_of)]


def asked_of(query: bytes, receipt: bytes) -> _Asked:
    """Under what an answer is remembered."""
    return query, receipt


def hot_offers(ask: Ask) -> Rendered | None:
    """The hot read of ``GET /v1/offers``."""
    desk: Desk | None = getattr(ask.state, "desk", None)
    if desk is None:
        return None
    return desk.again(asked_of(ask.query, ask.headers.get(b"x-consent", b"")), ask.client)
