"""What people carry: items picked a while ago, each with the mass it had. A thing put down again is known by it.

This is how an item put on the wrong lane is told: the lane's own products do not weigh that much, one in a hand does.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from edge.core.instant import US_PER_MIN
from edge.core.shelf.decode import Items, Weighed

CARRIED_US: Final = 30 * US_PER_MIN  # a long visit
CARRIED_MAX: Final = 48
PRIOR_RETURN: Final = 0.4  # shared by all that is carried, later ones more than earlier ones
PRIOR_ASTRAY: Final = 0.05  # onto a lane that is not its own
RECENT_US: Final = 5 * US_PER_MIN
PAIR_SD_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class _Carried:
    at_us: int
    gtin: str
    quantity: int
    mass_g: float
    sd_g: float


class Hands:
    """Items on their way through the store."""

    def __init__(self) -> None:
        self._carried: list[_Carried] = []

    def picked(self, gtin: str, quantity: int, mass_g: float, sd_g: float, at_us: int) -> None:
        """Somebody took this: `mass_g` ± `sd_g` in all, as weighed, or by the catalogue where several went at once."""
        self._carried.append(_Carried(at_us, gtin, quantity, mass_g, sd_g))
        del self._carried[:-CARRIED_MAX]

    def put(self, items: Items, mass_g: float) -> None:
        """Somebody laid this down: it is carried no longer."""
        for gtin, quantity in items:
            for _ in range(quantity):
                same = [thing for thing in self._carried if thing.gtin == gtin]
                if same:
                    unit_g = mass_g / quantity
                    self._drop_one(min(same, key=lambda thing: abs(thing.mass_g / thing.quantity - unit_g)))

    def _drop_one(self, thing: _Carried) -> None:
        at = self._carried.index(thing)
        if thing.quantity == 1:
            del self._carried[at]
            return
        share = (thing.quantity - 1) / thing.quantity
        left = _Carried(thing.at_us, thing.gtin, thing.quantity - 1, thing.mass_g * share, thing.sd_g)
        self._carried[at] = left

    def carries(self, items: Items) -> bool:
        """Whether somebody carries all of these."""
        for gtin, quantity in items:
            if sum(thing.quantity for thing in self._carried if thing.gtin == gtin) < quantity:
                return False
        return True

    def candidates(self, own: Collection[str], now_us: int) -> list[Weighed]:
        """What might be put down now on a lane of `own` products: each thing alone, and what was taken together."""
        self._carried = [thing for thing in self._carried if now_us - thing.at_us <= CARRIED_US]
        recent = [2.0 ** ((thing.at_us - now_us) / RECENT_US) for thing in self._carried]
        total = sum(recent)
        found: list[Weighed] = []
        for thing, weight in zip(self._carried, recent, strict=True):
            prior = (PRIOR_RETURN if thing.gtin in own else PRIOR_ASTRAY) * weight / total
            found.append(Weighed(((thing.gtin, thing.quantity),), thing.mass_g, thing.sd_g, prior))
            if thing.quantity > 1:
                one_g = thing.mass_g / thing.quantity
                found.append(Weighed(((thing.gtin, 1),), one_g, thing.sd_g + PAIR_SD_SHARE * one_g, prior))
        return found
