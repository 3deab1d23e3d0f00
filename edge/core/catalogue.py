"""The catalogue: products by GTIN, search by GTIN or text, and changes that arrive by command."""

from __future__ import annotations

import dataclasses
import unicodedata

from edge.core.arguments import check_gtin, parse, refused
from edge.core.errors import CommandRejected
from edge.core.ports import Command
from edge.core.site import Product, Site

SEARCH_LIMIT = 50
MAX_PRODUCTS = 200_000


@dataclasses.dataclass(frozen=True, slots=True)
class CatalogueArgs:
    """set_catalogue: rows as in the planogram; replace = True drops the products that are not among them."""

    products: tuple[Product, ...]
    replace: bool = False


def changed_catalogue(site: Site, command: Command) -> tuple[Site, list[Product]]:
    """The site with the command's products, and the products that differ. Raises CommandRejected."""
    args = parse(CatalogueArgs, command)
    if not args.products or len(args.products) > MAX_PRODUCTS:
        raise refused(command, "products", len(args.products), f"1 to {MAX_PRODUCTS} products")
    told: dict[str, Product] = {}
    for index, product in enumerate(args.products):
        row = f"products[{index}]"
        gtin = check_gtin(command, f"{row}.gtin", product.gtin)
        if gtin in told:
            raise refused(command, f"{row}.gtin", product.gtin, "each GTIN only once")
        for name in ("unit_mass_g", "mass_sd_g", "price_minor"):
            value = getattr(product, name)
            if not 0 <= value < 1e9:
                raise refused(command, f"{row}.{name}", value, "a number of 0 or more, below 1e9")
        told[gtin] = dataclasses.replace(product, gtin=gtin)
    if args.replace:
        for gtin in site.homes_by_gtin:
            if gtin not in told:
                text = f"{command.name}: products has no {gtin}, but a shelf is its home"
                raise CommandRejected("in_planogram", text)
    kept = () if args.replace else tuple(told.get(p.gtin, p) for p in site.products)
    known = {product.gtin for product in kept}
    products = kept + tuple(product for gtin, product in told.items() if gtin not in known)
    changed = [product for product in told.values() if site.product_by_gtin.get(product.gtin) != product]
    return dataclasses.replace(site, products=products), changed


def search(site: Site, text: str) -> list[Product]:
    """Products whose GTIN contains the digits, or whose name or category contains every word; best first, ≤ 50."""
    wanted = folded(text).split()
    if not wanted:
        return []
    digits = text.strip()
    found: list[tuple[int, str, Product]] = []
    for product in site.products:
        name = folded(product.name)
        if digits.isdigit() and len(digits) >= 3 and digits in product.gtin:
            rank = 0 if product.gtin == digits.zfill(14) else 1
        elif all(word in name for word in wanted):
            rank = 2 if name.startswith(wanted[0]) else 3
        elif all(word in name or word in folded(product.category) for word in wanted):
            rank = 4
        else:
            continue
        found.append((rank, name, product))
    return [product for _, _, product in sorted(found, key=lambda row: row[:2])[:SEARCH_LIMIT]]


def folded(text: str) -> str:
    """Text for comparison: compatibility forms joined (full-width, half-width kana), case folded."""
    return unicodedata.normalize("NFKC", text).casefold()
