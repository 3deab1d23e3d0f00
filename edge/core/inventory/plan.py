"""What fusion needs of the planogram: where goods belong, and which lanes and antennas could see them."""

from __future__ import annotations

from collections.abc import Set

from edge.core.inventory.ledger import Mass
from edge.core.site import AntennaRole, Site


class Plan:
    """One planogram with its catalogue, read once; a new one makes a new plan."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._tagged = {product.gtin for product in site.products if product.tagged}
        self._antennas = {a.shelf for r in site.readers for a in r.antennas if a.role is AntennaRole.SHELF}
        self._lanes: dict[str, dict[str, tuple[str, ...]]] = {}
        self._on_lanes: dict[str, set[str]] = {}
        self._single_lanes: dict[tuple[str, str], int] = {}
        for lane in site.lanes:
            products = lane.gtins or site.shelf_by_id[lane.shelf].products
            self._lanes.setdefault(lane.shelf, {})[lane.id] = products
            self._on_lanes.setdefault(lane.shelf, set()).update(products)
        self._whole = {
            shelf.id
            for shelf in site.shelves
            if shelf.products and self._on_lanes.get(shelf.id, set()).issuperset(shelf.products)
        }

    def is_tagged(self, gtin: str) -> bool:
        """Whether items of this product carry tags by the catalogue."""
        return gtin in self._tagged

    def is_home(self, shelf: str, gtin: str) -> bool:
        """Whether a product belongs on a shelf."""
        place = self.site.shelf_by_id.get(shelf)
        return place is not None and gtin in place.products

    def lanes(self, shelf: str) -> dict[str, tuple[str, ...]]:
        """The lanes of a shelf with their products."""
        return self._lanes.get(shelf, {})

    def on_lane(self, shelf: str, gtin: str) -> bool:
        """Whether a lane of the shelf is meant for this product."""
        return gtin in self._on_lanes.get(shelf, ())

    def on_lanes(self, shelf: str) -> Set[str]:
        """The products that the lanes of a shelf are meant for."""
        return self._on_lanes.get(shelf, frozenset())

    def single_lanes(self, shelf: str, gtin: str) -> int:
        """How many lanes carry this product and no other; 0 where one that carries it is mixed."""
        found = self._single_lanes.get((shelf, gtin))
        if found is None:
            lanes = [products for products in self.lanes(shelf).values() if gtin in products]
            found = len(lanes) if all(len(products) == 1 for products in lanes) else 0
            self._single_lanes[shelf, gtin] = found
        return found

    def over_lane(self, shelf: str, gtin: str) -> bool:
        """Whether a lane would show this product: its own, or, for a stranger, where lanes carry all of the shelf."""
        return self.on_lane(shelf, gtin) or (shelf in self._whole and not self.is_home(shelf, gtin))

    def in_antenna(self, shelf: str, gtin: str) -> bool:
        """Whether tags would show this product on the shelf."""
        return gtin in self._tagged and shelf in self._antennas

    def unit_mass_g(self, gtin: str) -> float:
        """Mass of one unit, 0 where it is not known."""
        product = self.site.product_by_gtin.get(gtin)
        return product.unit_mass_g if product else 0.0

    def mass(self, shelf: str, gtin: str) -> Mass:
        """What a step of this product weighs, and how many come or go at once where it belongs or does not."""
        product = self.site.product_by_gtin.get(gtin)
        if product is None:
            return Mass()
        return Mass(product.unit_mass_g, product.mass_sd_g, 1 if self.on_lane(shelf, gtin) else 2)
