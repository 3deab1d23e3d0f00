"""A small store for tests of stock: shelves a and b with antennas, lanes under a, products tagged and not."""

from __future__ import annotations

import itertools
from typing import Any

from edge.core.fact import Fact
from edge.core.gtin import check_digit
from edge.core.instant import US_PER_S, Instant
from edge.core.part import LaneLevel, LaneStep, Signal, TagBelief
from edge.core.ports import Command
from edge.core.site import Site, load_site


def gtin(number: int) -> str:
    """A valid 14-digit GTIN."""
    digits = f"0400000{number:06d}"
    return digits + str(check_digit(digits))


SHIRT, SOCKS, MUG, SALT = gtin(1), gtin(2), gtin(3), gtin(4)
_ids = itertools.count(1)


def site(**changes: Any) -> Site:
    """Shelf a: shirts (tagged, one-SKU lane a1), socks and mugs (mixed lane a2); shelf b: socks; shelf c: salt."""
    document: dict[str, Any] = {
        "store": {
            "id": "s1",
            "tenant": "t1",
            "name": "Test",
            "sgln": "urn:epc:id:sgln:4012345.00001.0",
            "timezone": "Asia/Tokyo",
            "hours": [["09:00", "21:00"]] * 7,
        },
        "zones": [{"id": "floor"}],
        "products": [
            {"gtin": SHIRT, "name": "White shirt", "unit_mass_g": 250.0, "tagged": True, "category": "textile"},
            {"gtin": SOCKS, "name": "Socks", "unit_mass_g": 80.0, "tagged": True, "category": "textile"},
            {"gtin": MUG, "name": "マグカップ Mug", "unit_mass_g": 320.0, "category": "kitchen"},
            {"gtin": SALT, "name": "Salt", "category": "food"},
        ],
        "shelves": [
            {"id": "a", "zone": "floor", "products": [SHIRT, SOCKS, MUG]},
            {"id": "b", "zone": "floor", "products": [SOCKS]},
            {"id": "c", "zone": "floor", "products": [SALT]},
        ],
        "lanes": [
            {"id": "a1", "shelf": "a", "cells": [{"device": "m1", "cell": 0}], "gtins": [SHIRT]},
            {"id": "a2", "shelf": "a", "cells": [{"device": "m1", "cell": 1}], "gtins": [SOCKS, MUG]},
        ],
        "readers": [{"device": "r1", "antennas": [{"port": 1, "shelf": "a"}, {"port": 2, "shelf": "b"}]}],
    }
    return load_site(document | changes)


def at(seconds: float) -> Instant:
    """An instant this many seconds into the test; engine time and wall time differ by 10^15 µs."""
    mono_us = round(seconds * US_PER_S)
    return Instant(mono_us, 1_700_000_000 * US_PER_S + mono_us)


def tag(seconds: float, epc: str, product: str, shelf: str | None, probability: float = 0.97) -> TagBelief:
    """Evidence of presence."""
    return TagBelief(round(seconds * US_PER_S), epc, product, shelf, probability)


def step(seconds: float, lane: str, *candidates: tuple[str, int, float], delta_g: float = 0.0) -> LaneStep:
    """Evidence of weight: a decoded change on shelf a."""
    return LaneStep(round(seconds * US_PER_S), "a", lane, delta_g, 1.0, candidates)


def level(seconds: float, mean: float, sd: float = 0.1, lane: str = "a1", product: str = SHIRT) -> LaneLevel:
    """Evidence of weight: an absolute count of a one-SKU lane on shelf a."""
    return LaneLevel(round(seconds * US_PER_S), "a", lane, product, mean, sd)


def command(name: str, **args: Any) -> Command:
    """A command with a fresh id."""
    return Command(f"c{next(_ids)}", name, args)


def of(signals: list[Signal], *kinds: type[Fact]) -> list[Any]:
    """The facts of these kinds."""
    return [signal for signal in signals if isinstance(signal, kinds)]
