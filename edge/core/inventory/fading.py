"""When a count is looked at again although nothing was told of it: its doubts fade with the time."""

from __future__ import annotations

import math
from collections.abc import Mapping

from edge.core.inventory.ledger import LOOK_US
from edge.core.inventory.pair import Pair
from edge.core.inventory.trust import HALVING_US, STUBBORN_HALVING_US, STUBBORN_SHARE

Key = tuple[str, str]
LEFT = 0.7  # doubts are looked at again when so much of them is left
JUST_NOW = -1


class Fading:
    """Pairs that time alone changes, and changes that are withheld; by (shelf, gtin)."""

    def __init__(self) -> None:
        self._touched_us: dict[Key, int] = {}
        self._withheld: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._touched_us) + len(self._withheld)

    def touch(self, pair: Pair) -> None:
        """Evidence changed a pair, which is estimated at once for that."""
        if pair.warm:
            self._touched_us[pair.shelf, pair.gtin] = JUST_NOW

    def withhold(self, pair: Pair, due_us: int) -> None:
        """A change of a pair is to be told then, if it is still one."""
        self._withheld[pair.shelf, pair.gtin] = due_us

    def due(self, pairs: Mapping[Key, Pair], now_us: int) -> list[Key]:
        """What is to be estimated again now; doubts that have faded are dropped."""
        found = []
        for key, touched_us in list(self._touched_us.items()):
            pair = pairs[key]
            if touched_us == JUST_NOW:
                self._touched_us[key] = now_us
            elif pair.recheck_us > now_us:
                continue
            else:
                pair.settle(now_us)
                found.append(key)
            pair.recheck_us = now_us + max(LOOK_US, fades_within_us(LEFT, now_us - self._touched_us[key]))
            if not pair.warm:
                del self._touched_us[key]
        told = [key for key, due_us in self._withheld.items() if due_us <= now_us]
        for key in told:
            del self._withheld[key]
        return found + told


def fades_within_us(left: float, age_us: int) -> int:
    """After how long this share is left of a doubt that is `age_us` old now: most halve soon, what remains is stubborn.

    It goes on at the pace of now, which only becomes slower: so rather a little early.
    """
    soon = (1.0 - STUBBORN_SHARE) * 0.5 ** (age_us / HALVING_US)
    stubborn = STUBBORN_SHARE * 0.5 ** (age_us / STUBBORN_HALVING_US)
    halvings_per_us = (soon / HALVING_US + stubborn / STUBBORN_HALVING_US) / (soon + stubborn)
    return int(-math.log2(left) / halvings_per_us)
