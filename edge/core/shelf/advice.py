"""What the planogram editor warns of before goods are laid out: unit weights that a scale cannot tell apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from edge.core.shelf.decode import MASS_SD_SHARE, Unit, near_equal
from edge.core.site import Lane, Product, Site

APART_SD: Final = 4.0
"""2 g apart at 250 g ± 1.5 g are told apart in 68 % of picks, 10 g in 99.5 % (measured)."""
CELL_SD_G: Final = 0.3
"""Noise of a settled weighing with an ordinary cell."""
LIGHT_SD: Final = 8.0


@dataclass(frozen=True, slots=True)
class WeightWarning:
    """One warning. kind: near_equal, multiple, unknown_mass, too_light; apart_sd where it is about a pair."""

    lane: str
    kind: str
    gtins: tuple[str, ...]
    detail: str
    apart_sd: float | None = None


def weight_warnings(site: Site, cell_sd_g: float = CELL_SD_G) -> list[WeightWarning]:
    """All warnings of a planogram, lane by lane."""
    return [warning for lane in site.lanes for warning in _of_lane(lane, site, cell_sd_g)]


def _of_lane(lane: Lane, site: Site, cell_sd_g: float) -> list[WeightWarning]:
    found: list[WeightWarning] = []
    known: list[tuple[Product, Unit]] = []
    for gtin in lane.gtins:
        product = site.product_by_gtin[gtin]
        if product.unit_mass_g <= 0.0:
            detail = f"{product.name or gtin} has no unit mass: weigh one and enter it"
            found.append(WeightWarning(lane.id, "unknown_mass", (gtin,), detail))
            continue
        unit = Unit(gtin, product.unit_mass_g, product.mass_sd_g)
        known.append((product, unit))
        noise_g = cell_sd_g * math.sqrt(len(lane.cells))
        if unit.mass_g < LIGHT_SD * noise_g:
            detail = f"{product.name or gtin} weighs {unit.mass_g:g} g; these cells need {LIGHT_SD * noise_g:.1f} g"
            found.append(WeightWarning(lane.id, "too_light", (gtin,), detail))
    for first, second in combinations(known, 2):
        found += _of_pair(lane, first, second, cell_sd_g)
    return found


def _of_pair(
    lane: Lane, first: tuple[Product, Unit], second: tuple[Product, Unit], cell_sd_g: float
) -> list[WeightWarning]:
    (light, light_unit), (heavy, heavy_unit) = sorted((first, second), key=lambda entry: entry[1].mass_g)
    gtins = (light.gtin, heavy.gtin)
    names = f"{light.name or light.gtin} and {heavy.name or heavy.gtin}"
    apart_sd = near_equal(light_unit, heavy_unit, cell_sd_g)
    if apart_sd < APART_SD:
        detail = (
            f"{names} weigh {light_unit.mass_g:g} g and {heavy_unit.mass_g:g} g, {apart_sd:.1f} standard deviations "
            f"apart; expected at least {APART_SD:g}: move one of them to another lane"
        )
        return [WeightWarning(lane.id, "near_equal", gtins, detail, round(apart_sd, 2))]
    multiple = round(heavy_unit.mass_g / light_unit.mass_g)
    spread_g = max(light_unit.sd_g, MASS_SD_SHARE * light_unit.mass_g)
    several = Unit(light.gtin, multiple * light_unit.mass_g, math.sqrt(multiple) * spread_g)
    apart_sd = near_equal(several, heavy_unit, cell_sd_g)
    if 2 <= multiple <= 6 and apart_sd < APART_SD:
        detail = f"one {heavy.name or heavy.gtin} weighs as much as {multiple} of {light.name or light.gtin}"
        return [WeightWarning(lane.id, "multiple", gtins, detail, round(apart_sd, 2))]
    return []
