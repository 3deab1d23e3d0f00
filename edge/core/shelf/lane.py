"""One lane: what it is for, what rests on it, and the words in which its changes are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from edge.core.fact import JsonValue
from edge.core.facts import ItemPicked, ItemPutBack
from edge.core.part import LaneLevel, LaneStep, Signal
from edge.core.shelf.controller import Plateau
from edge.core.shelf.decode import (
    FOREIGN,
    LOT_SHARE,
    SPAN_SHARE,
    Decoded,
    Decoder,
    Items,
    Unit,
    Verdict,
    Weighed,
    is_exchange,
)
from edge.core.site import Lane, Product

FACT_CONFIDENCE: Final = 0.55
"""Below this the change is evidence only: a fact must be right more often than wrong; it says how often."""
CLEAR: Final = 0.99
CANDIDATE_MIN: Final = 0.005
GUESTS_MAX: Final = 16
TARE_SD_G: Final = 1.0
"""What is left of a tare after the cell has crept back (class C3: 0.02 % of the load before)."""
GUEST_SD_G: Final = 0.3


@dataclass(frozen=True, slots=True)
class Guest:
    """Something on the lane that does not belong there: a product of elsewhere, or FOREIGN."""

    gtin: str
    mass_g: float


@dataclass(slots=True)
class LaneState:
    """What is known of one lane. count is of its own product, where it carries one; None until it was weighed."""

    lane: Lane
    units: tuple[Unit, ...]
    decoder: Decoder
    count: int | None = None
    zero_drift_g: float = 0.0
    guests: list[Guest] = field(default_factory=list)
    held_g: float | None = None
    held_since_us: int = 0
    decoded: Decoded | None = None
    told_level_us: int = 0

    @property
    def single(self) -> Unit | None:
        """The product of a one-product lane whose unit mass is known."""
        return self.units[0] if len(self.units) == 1 and len(self.lane.gtins) == 1 else None

    @property
    def lightest_g(self) -> float:
        """The smallest unit mass; 0 where none is known."""
        return min((unit.mass_g for unit in self.units), default=0.0)

    def unit_of(self, gtin: str) -> Unit | None:
        """One of the lane's own products."""
        return next((unit for unit in self.units if unit.gtin == gtin), None)

    def hold(self, plateau: Plateau) -> int:
        """How long (µs) the lane has rested at about this level, not yet accepted."""
        if self.held_g is None or abs(plateau.level_g - self.held_g) > 0.5 + 4.0 * plateau.var_g2**0.5:
            self.held_g, self.held_since_us, self.decoded = plateau.level_g, plateau.since_us, None
        return plateau.until_us - self.held_since_us

    def release(self) -> None:
        """The held level was accepted or absorbed."""
        self.held_g, self.decoded = None, None

    def decode(
        self,
        plateau: Plateau,
        in_hands: Sequence[Weighed],
        passed: Callable[[], Sequence[tuple[float, float]]],
        reach_g: Callable[[], float],
    ) -> Decoded:
        """The posterior of the change to this plateau; once a held level.

        `passed` is asked where that is not clear, `reach_g` where something seems to have been exchanged.
        """
        if self.decoded is None:
            weighed = [*in_hands, *self._strangers_out()]
            for mass_g in self.lane.containers_g:
                sd_g = max(1.0, 0.01 * mass_g)
                weighed += [Weighed(((FOREIGN, sign),), sign * mass_g, sd_g) for sign in (1, -1)]
            change = (plateau.delta_g, plateau.delta_var_g2)
            decoded = self.decoder.decode(*change, weighed)
            if decoded.verdict is Verdict.ITEMS and is_exchange(decoded.best[0]):
                decoded = self.decoder.decode(*change, weighed, reach_g=reach_g())
            if len(self.units) > 1 and decoded.verdict is Verdict.ITEMS and decoded.best[1] < CLEAR:
                decoded = self.decoder.decode(*change, weighed, passed(), reach_g())
            self.decoded = decoded
        return self.decoded

    def _strangers_out(self) -> list[Weighed]:
        """Each stranger alone may go, or all of them when somebody tidies up."""
        if not self.guests:
            return []
        out = [Weighed(((guest.gtin, -1),), -guest.mass_g, GUEST_SD_G) for guest in self.guests]
        total = Counter(guest.gtin for guest in self.guests)
        items = tuple((gtin, -n) for gtin, n in total.items())
        mass_g = sum(guest.mass_g for guest in self.guests)
        return [*out, Weighed(items, -mass_g, GUEST_SD_G * len(out) ** 0.5, tidy=True)]

    def tidied(self, level_g: float) -> bool:
        """Whether a change that nothing explains leaves the lane as if its strangers had gone; then they have."""
        unit = self.single
        if unit is None or not self.guests:
            return False
        clean = (level_g - self.zero_drift_g) / unit.mass_g
        sd = (max(1.0, clean) * unit.sd_g**2 + (LOT_SHARE * unit.mass_g * clean) ** 2 + TARE_SD_G**2) ** 0.5
        if clean < -0.5 or abs(clean - round(clean)) * unit.mass_g > 3.0 * sd or sd > 0.12 * unit.mass_g:
            return False
        self.guests.clear()
        return True

    def apply(self, items: Items, delta_g: float) -> None:
        """Book items that came or went."""
        own = {unit.gtin for unit in self.units}
        for gtin, quantity in items:
            if gtin in own:
                self.count = None if self.count is None else max(0, self.count + quantity)
            elif quantity > 0:
                mass_g = delta_g - self._own_g(items)
                self.guests = [*self.guests[1 - GUESTS_MAX :], *[Guest(gtin, mass_g / quantity)] * quantity]
            else:
                for _ in range(-quantity):
                    self._let_go(gtin)

    def _own_g(self, items: Items) -> float:
        mass_g = {unit.gtin: unit.mass_g for unit in self.units}
        return sum(quantity * mass_g.get(gtin, 0.0) for gtin, quantity in items)

    def _let_go(self, gtin: str) -> None:
        same = [guest for guest in self.guests if guest.gtin == gtin]
        if same:
            self.guests.remove(same[-1])

    # --- words ------------------------------------------------------------------------------------------------------

    def level(self, level_g: float, at_us: int) -> LaneLevel | None:
        """The absolute weight as evidence; None where it says nothing (mixed lane, unknown unit mass)."""
        unit = self.single
        if unit is None:
            return None
        net_g = level_g - self.zero_drift_g - sum(guest.mass_g for guest in self.guests)
        mean = net_g / unit.mass_g
        n_units = max(1.0, abs(mean))
        var_g2 = n_units * unit.sd_g**2 + (LOT_SHARE * 0.5 * net_g) ** 2 + (SPAN_SHARE * net_g) ** 2 + TARE_SD_G**2
        self.told_level_us = at_us
        sd = max(0.02, var_g2**0.5 / unit.mass_g)
        return LaneLevel(at_us, self.lane.shelf, self.lane.id, unit.gtin, round(mean, 4), round(sd, 4))

    def anchor(self, level_g: float, at_us: int) -> LaneLevel | None:
        """Weigh the lane: take its count from the absolute weight where that is sure and the chain of steps disagrees.

        Strangers that leave less than nothing for the lane's own product cannot be there.
        """
        level = self.level(level_g, at_us)
        if level is None:
            return None
        if self.guests and level.mean < -0.5 - 2.0 * level.sd:
            self.guests.clear()
            level = self.level(level_g, at_us) or level
        absolute = max(0, round(level.mean))
        sure = abs(level.mean - absolute) + 2.0 * level.sd < 0.5
        if self.count is None or (sure and absolute != self.count):
            self.count = absolute
        return level

    def tell(self, decoded: Decoded, plateau: Plateau, *, sure: bool) -> list[Signal]:
        """Evidence of an accepted change, and its facts where the best explanation is probable enough."""
        items, probability = decoded.best
        at_us, sd_g = plateau.until_us, plateau.delta_var_g2**0.5
        parts = self._parts(items, plateau.delta_g) if sure and len(items) > 1 else [("", plateau.delta_g)]
        told: list[Signal] = []
        for gtin, delta_g in parts:
            candidates = _candidates(decoded, gtin)
            told.append(LaneStep(at_us, self.lane.shelf, self.lane.id, round(delta_g, 3), round(sd_g, 3), candidates))
        if sure and probability >= FACT_CONFIDENCE:
            shares = dict(self._parts(items, plateau.delta_g))
            told += [self._fact(gtin, n, probability, shares[gtin], at_us) for gtin, n in items if gtin != FOREIGN]
        return told

    def _parts(self, items: Items, delta_g: float) -> list[tuple[str, float]]:
        """The change shared out over the products of a combination, what is left by their spread."""
        mass_g = {guest.gtin: guest.mass_g for guest in self.guests} | {unit.gtin: unit.mass_g for unit in self.units}
        rest_g = delta_g - sum(n * mass_g.get(gtin, 0.0) for gtin, n in items)
        mean_g = {gtin: n * mass_g[gtin] if gtin in mass_g else rest_g for gtin, n in items}
        left_g = delta_g - sum(mean_g.values())
        total = sum(abs(n) for _, n in items)
        return [(gtin, mean_g[gtin] + left_g * abs(n) / total) for gtin, n in items]

    def _fact(self, gtin: str, quantity: int, probability: float, delta_g: float, at_us: int) -> Signal:
        kind = ItemPutBack if quantity > 0 else ItemPicked
        return kind(
            at_us=at_us,
            gtin=gtin,
            shelf=self.lane.shelf,
            quantity=abs(quantity),
            confidence=round(probability, 4),
            lane=self.lane.id,
            net_g=round(abs(delta_g), 2),
        )

    # --- what outlives a restart --------------------------------------------------------------------------------------

    def said(self, level_g: float, at_us: int) -> JsonValue:
        """Last settled grams and count, with what they rest on."""
        guests: list[JsonValue] = [[guest.gtin, round(guest.mass_g, 2)] for guest in self.guests]
        return [round(level_g, 3), self.count, at_us, round(self.zero_drift_g, 3), guests, list(self.lane.gtins)]

    def take_back(self, said: JsonValue) -> tuple[float, int]:
        """Restore; the settled grams and when. The count is not taken over from another planogram."""
        row: Any = said
        level_g, count, at_us, zero_drift_g, guests, gtins = row
        if list(self.lane.gtins) == gtins:
            self.count = count
        self.zero_drift_g = zero_drift_g
        self.guests = [Guest(gtin, mass_g) for gtin, mass_g in guests]
        return level_g, at_us


def _candidates(decoded: Decoded, gtin: str) -> tuple[tuple[str, int, float], ...]:
    """(gtin, quantity, probability): of one product over all combinations, or ("") of all one-product explanations."""
    if gtin:
        found = [(gtin, n, p) for n, p in decoded.marginal(gtin)]
    else:
        found = [(items[0][0], items[0][1], p) for items, p in decoded.ranked if len(items) == 1]
    return tuple((name, n, round(p, 4)) for name, n, p in found if p >= CANDIDATE_MIN and name != FOREIGN)


def make_lane(lane: Lane, products: Mapping[str, Product]) -> LaneState:
    """The state of a lane nothing is known of yet. Products without a unit mass take no part in decoding."""
    known = [products[gtin] for gtin in lane.gtins if products[gtin].unit_mass_g > 0.0]
    units = tuple(Unit(product.gtin, product.unit_mass_g, product.mass_sd_g) for product in known)
    return LaneState(lane, units, Decoder(units))
