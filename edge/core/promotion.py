"""Promotions: which offers are true in a zone now, for whom, and why not the others. Never one for an empty shelf."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Final, Protocol
from zoneinfo import ZoneInfo

from edge.core.errors import CommandRejected
from edge.core.fact import JsonValue
from edge.core.facts import OnHandChanged
from edge.core.instant import US_PER_MIN, Instant, TimeQuality
from edge.core.localtime import local
from edge.core.part import Said, Signal
from edge.core.plain import PlainError, build
from edge.core.ports import Command
from edge.core.site import Site

_HOUR: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d\Z|24:00\Z")
CALENDAR_US: Final = 4_102_444_800_000_000
"""The year 2100: later than that is never."""
WEEK: Final = (0, 1, 2, 3, 4, 5, 6)


@dataclass(frozen=True, slots=True)
class Promotion:
    """One promotion of the platform: products in a zone, from … to … (wall µs, UTC), at least `stock_floor` on hand.

    hours, days (0 = Monday) and quiet hours are the store's local time. Caps of 0 mean none. ``budget_minor`` is what
    all redemptions may cost at ``value_minor`` each. ``offline_limit``: redemptions a till that is cut off may make.
    ``titles`` by language ("ja", "en"); ``segment`` "" is everybody.
    """

    id: str
    zone: str
    gtins: tuple[str, ...]
    title: str = ""
    starts_us: int = 0
    ends_us: int = 2**62
    stock_floor: int = 1
    titles: dict[str, str] = field(default_factory=dict)
    segment: str = ""
    days: tuple[int, ...] = WEEK
    hours: tuple[str, str] = ("00:00", "24:00")
    quiet: tuple[str, str] = ("00:00", "00:00")
    cap_person_day: int = 1
    cap_day: int = 0
    cap_total: int = 0
    min_gap_min: float = 0.0
    value_minor: int = 0
    budget_minor: int = 0
    valid_min: float = 30.0
    offline_limit: int = 1


class Usage(Protocol):
    """What the ledger knows; person "" is nobody in particular."""

    def shown(self, promotion: str, person: str, day: str) -> tuple[int, int, int]:
        """Offers given out so far: to this person today, to all today, to all in all."""
        ...

    def last_us(self, person: str) -> int | None:
        """Engine time at which this person got the last offer."""
        ...

    def spent_minor(self, promotion: str) -> int:
        """What redemptions and open offers cost so far."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one product of a promotion may be offered now; ``why_not`` is empty when it may."""

    promotion: Promotion
    gtin: str
    why: tuple[str, ...]
    why_not: tuple[str, ...]


class Promotions:
    """Part of the engine: holds the promotions and the stock they depend on."""

    COMMANDS: ClassVar[frozenset[str]] = frozenset({"set_promotions", "set_rules", "erase_subject"})

    def __init__(self, site: Site) -> None:
        self._version = 0
        self._stock_versions: dict[str, int] = {}
        self.rules: list[JsonValue] = []
        self.erasures: list[str] = []
        self._promotions: dict[str, Promotion] = {}
        self._on_hand: dict[str, dict[str, int]] = {}
        self._zones_of: dict[str, set[str]] = {}
        self._dirty: set[str] = set()
        self._changed: set[str] = set()
        self._told: dict[str, frozenset[tuple[str, str]]] = {}
        self._look_us: int | None = None
        self._plan(site)

    def _plan(self, site: Site) -> None:
        self._site = site
        self._zones = frozenset(zone.id for zone in site.zones)
        self._products = frozenset(site.product_by_gtin)
        self._timezone = ZoneInfo(site.store.timezone)

    def replan(self, site: Site, now: Instant) -> list[Signal]:
        """Another planogram: promotions of zones that are gone simply find nobody there."""
        self._plan(site)
        self._version += 1
        self._look_again(now, self.zones())
        return []

    def stock(self, fact: OnHandChanged) -> None:
        """The believed count of a product on a shelf changed."""
        self._on_hand.setdefault(fact.gtin, {})[fact.shelf] = fact.on_hand
        for zone in self._zones_of.get(fact.gtin, ()):
            self._stock_versions[zone] = self._stock_versions.get(zone, 0) + 1
            self._changed.add(zone)

    def on_hand(self, gtin: str) -> int:
        """Items of a product on all shelves."""
        return sum(self._on_hand.get(gtin, {}).values())

    def version(self, zone: str) -> tuple[int, int]:
        """Another one after every change that an answer to a phone in this zone may depend on."""
        return self._version, self._stock_versions.get(zone, 0)

    def edges_us(self, zone: str) -> list[int]:
        """Wall times at which promotions of the zone begin and end."""
        return [us for p in self._promotions.values() if p.zone == zone for us in (p.starts_us, p.ends_us)]

    def zones(self) -> set[str]:
        """Zones that have a promotion, true now or not."""
        return {promotion.zone for promotion in self._promotions.values()}

    def drain_changed(self) -> set[str]:
        """Zones whose document is another one than before."""
        changed, self._changed = self._changed, set()
        return changed

    def document(self, zone: str, now: Instant) -> JsonValue:
        """What is offered to everybody in a zone now, for pages that the gateway does not serve; None for no zone.

        It has no codes: a code is one person's, and given out by the store alone.
        """
        names = {one.id: one.name or one.id for one in self._site.zones}
        if zone not in names:
            return None
        rows: list[JsonValue] = []
        for promotion, gtin in self.eligible(zone, now):
            product = self._site.product_by_gtin.get(gtin)
            if product is not None and not promotion.segment:
                row: dict[str, JsonValue] = {"promotion": promotion.id, "gtin": gtin, "name": product.name}
                row["titles"] = {"": promotion.title, **promotion.titles}
                row |= {"price_minor": product.price_minor, "currency": product.currency, "url": product.url}
                rows.append(row | {"value_minor": promotion.value_minor, "on_hand": self.on_hand(gtin)})
        return {"zone": zone, "zone_name": names[zone], "store_name": self._site.store.name, "promotions": rows}

    def _look_again(self, now: Instant, changed: set[str]) -> None:
        """Documents of these zones are other ones; the clock may change all of them with the next minute."""
        self._changed |= changed
        self._told = {zone: self._true_in(zone, now) for zone in self.zones()}
        lasts_us = US_PER_MIN - now.wall_us % US_PER_MIN
        self._look_us = now.mono_us + lasts_us if self._promotions else None

    def _true_in(self, zone: str, now: Instant) -> frozenset[tuple[str, str]]:
        return frozenset((promotion.id, gtin) for promotion, gtin in self.eligible(zone, now))

    def promotions(self) -> list[Promotion]:
        """All that are set."""
        return list(self._promotions.values())

    def rows(self) -> list[JsonValue]:
        """All that are set, as `set_promotions` takes them."""
        return [_plain(promotion) for promotion in self._promotions.values()]

    def eligible(self, zone: str, now: Instant) -> list[tuple[Promotion, str]]:
        """(promotion, gtin) pairs that are true in this zone now, for everybody."""
        return [(v.promotion, v.gtin) for v in self.explain(zone, now) if not v.why_not]

    def explain(
        self,
        zone: str,
        now: Instant,
        usage: Usage | None = None,
        person: str = "",
        segments: frozenset[str] = frozenset(),
    ) -> list[Verdict]:
        """Every promotion of the zone and product, with the reasons for and against it."""
        verdicts = []
        for promotion in self._promotions.values():
            if promotion.zone != zone:
                continue
            why_not = self._when(promotion, now) + self._whom(promotion, now, usage, (person, segments))
            for gtin in promotion.gtins:
                count = self.on_hand(gtin)
                floor = max(1, promotion.stock_floor)
                short = [f"stock: {count} on hand, expected at least {floor}"] if count < floor else []
                why = (f"zone {zone}", f"{count} on hand, at least {floor} needed", self._ends(promotion))
                verdicts.append(Verdict(promotion, gtin, why, tuple(why_not + short)))
        return verdicts

    def _moment(self, wall_us: int) -> str:
        """In the store's time, as people say it; "far away" where no calendar goes."""
        return f"{local(wall_us, self._timezone):%Y-%m-%d %H:%M}" if wall_us < CALENDAR_US else "far away"

    def _ends(self, promotion: Promotion) -> str:
        return f"until {self._moment(promotion.ends_us)}" if promotion.ends_us < CALENDAR_US else "no end is set"

    def _when(self, promotion: Promotion, now: Instant) -> list[str]:
        if now.quality is TimeQuality.UNSET:
            return ["clock: the time is not known yet"]
        found = []
        if now.wall_us < promotion.starts_us:
            found.append(f"time: begins {self._moment(promotion.starts_us)}")
        elif now.wall_us >= promotion.ends_us:
            found.append(f"time: ended {self._moment(promotion.ends_us)}")
        moment = local(now.wall_us, self._timezone)
        clock = moment.strftime("%H:%M")
        if moment.weekday() not in promotion.days or not promotion.hours[0] <= clock < promotion.hours[1]:
            found.append(f"hours: {clock} on weekday {moment.weekday()}")
        if _within(clock, *promotion.quiet):
            found.append(f"quiet: {clock} lies in {promotion.quiet[0]} to {promotion.quiet[1]}")
        return found

    def _whom(
        self, promotion: Promotion, now: Instant, usage: Usage | None, whom: tuple[str, frozenset[str]]
    ) -> list[str]:
        person, segments = whom
        found = []
        if promotion.segment and promotion.segment not in segments:
            found.append(f"segment: expected {promotion.segment}")
        if usage is None:
            return found
        day = local(now.wall_us, self._timezone).date().isoformat()
        mine, today, in_all = usage.shown(promotion.id, person, day)
        for name, count, cap in (
            ("person", mine if person else 0, promotion.cap_person_day),
            ("day", today, promotion.cap_day),
            ("offer", in_all, promotion.cap_total),
        ):
            if cap and count >= cap:
                found.append(f"cap {name}: {count} of {cap}")
        last_us = usage.last_us(person) if person else None
        if last_us is not None and now.mono_us - last_us < promotion.min_gap_min * US_PER_MIN:
            found.append(f"gap: expected {promotion.min_gap_min:g} min between two offers")
        spent = usage.spent_minor(promotion.id) + promotion.value_minor
        if promotion.budget_minor and spent > promotion.budget_minor:
            found.append(f"budget: {spent} of {promotion.budget_minor}")
        return found

    # --- commands ---------------------------------------------------------------------------------------------------

    def execute(self, command: Command, now: Instant) -> list[Signal]:
        """``set_promotions {promotions: [...]}`` and ``set_rules {rules: [...]}`` replace all of them."""
        if command.name == "erase_subject":
            subject = command.args.get("subject_id")
            if not isinstance(subject, str) or not 1 <= len(subject) <= 64:
                raise CommandRejected("arguments", f"subject_id = {subject!r}: expected a pseudonym")
            self.erasures.append(subject)
            self._dirty.add("erasures")
            return []
        name = "rules" if command.name == "set_rules" else "promotions"
        rows = command.args.get(name)
        if not isinstance(rows, list):
            raise CommandRejected("arguments", f"{name} = {rows!r}: expected a list")
        if name == "rules":
            self.rules = [self._rule(row, f"rules[{index}]") for index, row in enumerate(rows)]
        else:
            promotions = [self._parse(row, f"promotions[{index}]") for index, row in enumerate(rows)]
            before = self.zones()
            self._promotions = {promotion.id: promotion for promotion in promotions}
            self._index()
            self._look_again(now, before | self.zones())
        self._version += 1
        self._dirty.add(name)
        return []

    def _index(self) -> None:
        """In which zones each product is promoted."""
        self._zones_of = {}
        for promotion in self._promotions.values():
            for gtin in promotion.gtins:
                self._zones_of.setdefault(gtin, set()).add(promotion.zone)

    def _rule(self, row: JsonValue, key: str) -> JsonValue:
        """A rule of mirror or signage: {id, zone, gtin, url, with: [GTINs that go with it]}."""
        if not isinstance(row, dict) or not {"id", "zone", "gtin"} <= row.keys():
            raise CommandRejected("arguments", f"{key} = {row!r}: expected a table with id, zone, gtin")
        if row["zone"] not in self._zones:
            raise CommandRejected("arguments", f"{key}.zone = {row['zone']!r}: expected a zone of the planogram")
        url = row.get("url", "")
        if not isinstance(url, str) or (url and not url.startswith("https://")):
            raise CommandRejected("arguments", f"{key}.url = {url!r}: expected an https address")
        others = row.get("with", [])
        if not isinstance(others, list) or any(gtin not in self._products for gtin in (row["gtin"], *others)):
            raise CommandRejected("arguments", f"{key}: gtin and with: expected GTINs of the catalogue")
        return row

    def _parse(self, row: JsonValue, key: str) -> Promotion:
        try:
            promotion = build(Promotion, row, key)
        except PlainError as error:
            raise CommandRejected("arguments", str(error)) from None
        if promotion.zone not in self._zones:
            raise CommandRejected("arguments", f"{key}.zone = {promotion.zone!r}: expected a zone of the planogram")
        for gtin in promotion.gtins:
            if gtin not in self._products:
                raise CommandRejected("arguments", f"{key}.gtins = {gtin!r}: expected a GTIN of the catalogue")
        for name in ("hours", "quiet"):
            pair = getattr(promotion, name)
            if not all(map(_HOUR.match, pair)):
                raise CommandRejected("arguments", f'{key}.{name} = {pair!r}: expected ["HH:MM", "HH:MM"]')
        numbers = ("cap_person_day", "cap_day", "cap_total", "min_gap_min", "value_minor", "budget_minor")
        for name in (*numbers, "offline_limit", "stock_floor"):
            if getattr(promotion, name) < 0:
                raise CommandRejected("arguments", f"{key}.{name}: expected 0 or more")
        if not 0 < promotion.valid_min <= 24 * 60:
            raise CommandRejected("arguments", f"{key}.valid_min = {promotion.valid_min}: expected minutes up to a day")
        return promotion

    # --- Part -------------------------------------------------------------------------------------------------------

    def tick(self, now: Instant) -> list[Signal]:
        told = self._told
        self._look_again(now, set())
        self._changed |= {zone for zone, true in self._told.items() if told.get(zone) != true}
        return []

    def next_deadline_us(self) -> int | None:
        return self._look_us

    def drain_said(self) -> Said:
        said: Said = {}
        if "promotions" in self._dirty:
            said["promotions"] = self.rows()
        if "rules" in self._dirty:
            said["rules"] = self.rules
        if "erasures" in self._dirty:
            said["erasures"] = list(self.erasures)
        self._dirty.clear()
        return said

    def forget_erasures(self, done: list[str]) -> None:
        """The offers room has erased these subjects."""
        self.erasures = [subject for subject in self.erasures if subject not in done]
        self._dirty.add("erasures")

    def restore(self, said: Mapping[str, JsonValue], now: Instant) -> None:
        rows = said.get("promotions")
        for row in rows if isinstance(rows, list) else []:
            promotion = build(Promotion, row if isinstance(row, dict) else _older(row))
            self._promotions[promotion.id] = promotion
        self._index()
        rules, erasures = said.get("rules"), said.get("erasures")
        self.rules = rules if isinstance(rules, list) else []
        self.erasures = [str(one) for one in erasures] if isinstance(erasures, list) else []
        self._look_again(now, self.zones())

    def internals(self) -> JsonValue:
        return None

    def restore_internals(self, internals: JsonValue) -> None:
        del internals


def _plain(promotion: Promotion) -> JsonValue:
    row = asdict(promotion)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}


def _older(row: JsonValue) -> dict[str, JsonValue]:
    """A row as release 0.1.0 wrote it: a list of the first seven fields."""
    return dict(zip(Promotion.__slots__, row if isinstance(row, list) else [], strict=False))


def _within(clock: str, begins: str, ends: str) -> bool:
    """Whether a time of day lies in a span that may go over midnight; equal ends mean never."""
    if begins == ends:
        return False
    return begins <= clock < ends if begins < ends else clock >= begins or clock < ends
