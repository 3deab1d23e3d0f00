"""Inventory: tags, weight, tills, deliveries and recounts in; one explained count for each (shelf, product) out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol

from edge.core import catalogue
from edge.core.fact import JsonValue
from edge.core.facts import (
    BackInStock,
    Discrepancy,
    GoodsReceived,
    ItemExitedUnpaid,
    ItemMisplaced,
    OnHandChanged,
    PhantomSuspected,
    StockOut,
    StockUnknown,
)
from edge.core.instant import US_PER_S, Instant
from edge.core.inventory import saved
from edge.core.inventory.books import Books
from edge.core.inventory.clerk import Clerk
from edge.core.inventory.fading import Key
from edge.core.inventory.fusion import Fusion
from edge.core.inventory.inbox import Entry, Inbox
from edge.core.inventory.pair import Estimate, Pair
from edge.core.inventory.pmf import Pmf, quantile
from edge.core.part import LaneLevel, LaneStep, PlaceHealth, Said, Signal, TagBelief, earliest
from edge.core.plain import PlainError, build
from edge.core.ports import Command
from edge.core.site import AntennaRole, Product, Site

LASTS_US = 120 * US_PER_S  # a disagreement shorter than this is only a slow sensor
REFRESH_US = 30 * US_PER_S  # a changed interval alone is told no more often
WHY_IN_FACT = 3


class Promises(Protocol):
    """What is promised of the stock: implemented by `edge.core.holds.Holds`."""

    def available_to_promise(self, gtin: str, now_us: int) -> int:
        """Items that may still be promised."""
        ...

    def open_quantity(self, gtin: str) -> int:
        """Items held and not yet picked."""
        ...


class Inventory:
    """The inventory part. `site` is the planogram with the present catalogue."""

    COMMANDS: ClassVar[frozenset[str]] = frozenset(
        {"goods_sold", "goods_expected", "goods_returned", "recount", "set_catalogue"}
    )

    def __init__(self, site: Site) -> None:
        self.fusion = Fusion(site)
        self.inbox = Inbox()
        self.promises: Promises | None = None
        self._books = Books()
        self._clerk = Clerk(self.fusion, self._books, self.inbox)
        self._planned = site
        self._unknown: dict[str, str] = {}  # shelf → cause
        self._disputed: dict[Key, int] = {}  # since when tags and count differ
        self._said: set[str] = set()

    @property
    def site(self) -> Site:
        """The planogram with the present catalogue."""
        return self.fusion.site

    # --- evidence -----------------------------------------------------------------------------------------------------

    def handle(self, signal: Signal, now: Instant) -> list[Signal]:
        """Take one signal of another part."""
        return self.handle_all((signal,), now)

    def handle_all(self, signals: Iterable[Signal], now: Instant) -> list[Signal]:
        """Take signals in order and answer once: what is news after all of them."""
        out: list[Signal] = []
        fusion = self.fusion
        for signal in signals:
            if isinstance(signal, TagBelief):
                if signal.shelf and signal.epc not in fusion.tags and signal.role == AntennaRole.SHELF:
                    self._books.arrived(signal.gtin, 1, signal.at_us)
                fusion.tag(signal)
            elif isinstance(signal, LaneStep):
                fusion.step(signal)
                self._step_arrivals(signal)
            elif isinstance(signal, LaneLevel):
                fusion.level(signal)
            elif isinstance(signal, PlaceHealth):
                if signal.shelf in self.site.shelf_by_id and fusion.health(signal):
                    self._tell_unknown(signal.shelf, now, out)
            elif isinstance(signal, ItemMisplaced | ItemExitedUnpaid | PhantomSuspected):
                self._note(signal)
        self._publish(now, out)
        return out

    def _step_arrivals(self, step: LaneStep) -> None:
        if step.candidates:
            gtin, quantity, probability = step.candidates[0]
            if quantity > 0 and probability > 0.5 and not self.fusion.is_tagged(gtin):
                self._books.arrived(gtin, quantity, step.at_us)

    def _note(self, told: ItemMisplaced | ItemExitedUnpaid | PhantomSuspected) -> None:
        """Put what a person should look at into the inbox."""
        name = self._name(told.gtin)
        if isinstance(told, PhantomSuspected):
            text = f"the books show {told.on_hand} of {name}, nothing sold in {told.quiet_hours:g} h: count it"
            self.inbox.raise_(Entry(f"phantom-{told.gtin}", "phantom", text, told.at_us, told.gtin))
        elif isinstance(told, ItemExitedUnpaid):
            text = f"{name} ({told.epc}) left by {told.exit} and no till had sold it"
            self.inbox.raise_(Entry(f"exited-{told.epc}", "shrink", text, told.at_us, told.gtin))
        elif told.resolved:
            self.inbox.resolve(f"misplaced-{told.epc}")
        else:
            text = f"{name} stands on shelf {told.shelf}; its home is {told.home_shelf or 'no shelf'}"
            entry = Entry(f"misplaced-{told.epc}", "misplaced", text, told.at_us, told.gtin, told.shelf)
            self.inbox.raise_(entry)

    def _tell_unknown(self, shelf: str, now: Instant, out: list[Signal]) -> None:
        causes = [
            f"{source}: {cause}" if cause else source
            for (place, source), cause in self.fusion.down.items()
            if place == shelf and self._needed(shelf, source)
        ]
        cause = "; ".join(causes)
        before = self._unknown.get(shelf)
        if bool(before) == bool(cause):
            return
        entry_id = f"unknown-{shelf}"
        if cause:
            self._unknown[shelf] = cause
            text = f"what stands on shelf {shelf} cannot be known now ({cause}); the last counts are kept"
            self.inbox.raise_(Entry(entry_id, "stock_unknown", text, now.mono_us, "", shelf))
        else:
            del self._unknown[shelf]
            self.inbox.resolve(entry_id)
        self._said.add(f"h/{shelf}")
        out.append(StockUnknown(at_us=now.mono_us, shelf=shelf, cause=cause or before or "", known=not cause))

    def _needed(self, shelf: str, source: str) -> bool:
        """Whether the counts of a shelf hang on this source."""
        place = self.site.shelf_by_id.get(shelf)
        products = place.products if place else ()
        present = [pair.gtin for pair in self.fusion.on_shelf.get(shelf, ()) if pair.tags]
        if source == "rfid":
            return any(self.fusion.is_tagged(gtin) for gtin in (*products, *present))
        return any(not self.fusion.is_tagged(gtin) for gtin in products)

    # --- commands -----------------------------------------------------------------------------------------------------

    def execute(self, command: Command, now: Instant) -> list[Signal]:
        """Carry out a command; the same command again does nothing. Raises CommandRejected and then changed nothing."""
        if not self._books.is_new(command.id):
            return []
        out: list[Signal] = list(self._clerk.carry_out(command, now))
        self._publish(now, out)
        return out

    def fetched(self, gtin: str, quantity: int, now: Instant, reference: str) -> list[Signal]:
        """Staff fetched goods of a hold from the shelves."""
        self._clerk.fetched(gtin, quantity, now.mono_us, reference)
        out: list[Signal] = []
        self._publish(now, out)
        return out

    def replan(self, site: Site, now: Instant) -> list[Signal]:
        """Use a new planogram. What stands where it no longer has a home stays counted and is named in the inbox."""
        self._planned = site
        self.fusion.use(site)
        for (shelf, gtin), pair in self.fusion.pairs.items():
            entry_id = f"orphan-{shelf}-{gtin}"
            homeless = shelf not in site.shelf_by_id or gtin not in site.shelf_by_id[shelf].products
            if homeless and pair.published and pair.published.on_hand:
                text = f"{pair.published.on_hand} of {self._name(gtin)} stand on {shelf}, which is no longer their home"
                self.inbox.raise_(Entry(entry_id, "orphaned", text, now.mono_us, gtin, shelf))
            else:
                self.inbox.resolve(entry_id)
        self.fusion.dirty.update(self.fusion.pairs)
        out: list[Signal] = []
        self._publish(now, out)
        return out

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self, now: Instant) -> list[Signal]:
        """Let doubts fade, old steps close, lasting disagreements be told, arrivals be told."""
        out: list[Signal] = []
        self.fusion.recheck(now.mono_us)
        self._publish(now, out)
        for key, since_us in list(self._disputed.items()):
            if now.mono_us >= since_us + LASTS_US:
                self._tell_discrepancy(self.fusion.pairs[key], now, out)
        return out

    def next_deadline_us(self) -> int | None:
        """When `tick` has something to do."""
        disputes = [at + LASTS_US for key, at in self._disputed.items() if not self.fusion.pairs[key].told]
        return earliest(self.fusion.next_recheck_us(), min(disputes, default=None), self._books.next_us())

    def _tell_discrepancy(self, pair: Pair, now: Instant, out: list[Signal]) -> None:
        if pair.told or pair.published is None:
            return
        pair.told = True
        seen, tags = pair.published.on_hand, pair.tags
        explanation = "untagged" if seen > tags else "misplaced"
        if seen > tags and pair.ghosts:
            explanation = "tag_lost"
        name, shelf = self._name(pair.gtin), pair.shelf
        text = f"{name} on {shelf}: tags say {tags}, all evidence says {seen}; probably {explanation.replace('_', ' ')}"
        self.inbox.raise_(Entry(f"discrepancy-{shelf}-{pair.gtin}", "discrepancy", text, now.mono_us, pair.gtin, shelf))
        self._said.add(_key(pair))
        out.append(
            Discrepancy(
                at_us=now.mono_us, gtin=pair.gtin, shelf=shelf, expected=tags, seen=seen, explanation=explanation
            )
        )

    # --- what is published --------------------------------------------------------------------------------------------

    def _publish(self, now: Instant, out: list[Signal]) -> None:
        for delivery, gtin, line in self._books.receipts_due(now.mono_us):
            quantity = line.received - line.told
            self._books.told(delivery, line)
            out.append(
                GoodsReceived(
                    at_us=now.mono_us, gtin=gtin, quantity=quantity, delivery=delivery, expected=line.expected
                )
            )
        if not self.fusion.dirty:
            return
        touched = sorted(self.fusion.dirty)
        self.fusion.dirty.clear()
        for key in touched:
            pair = self.fusion.pairs[key]
            self._watch_dispute(pair, self._publish_pair(pair, now, out), now, out)
        for gtin in dict.fromkeys(gtin for _, gtin in touched):
            self._publish_product(gtin, now, out)
        self.fusion.wake(now.mono_us)

    def _publish_pair(self, pair: Pair, now: Instant, out: list[Signal]) -> Estimate | None:
        if not pair.counted:
            return None
        new, old = self.fusion.estimate(pair, now.mono_us), pair.published
        if old is None and new.on_hand == 0 and not pair.why and not pair.tags:
            return new
        untagged = max(0, new.on_hand - pair.tags)
        same = old is not None and new.on_hand == old.on_hand
        if same and old is not None:
            shifted = (new.low, new.high) != (old.low, old.high) or abs(new.confidence - old.confidence) > 0.2
            due_us = pair.published_us + REFRESH_US
            if shifted and now.mono_us < due_us:
                self.fusion.fading.withhold(pair, due_us)
            if not shifted or now.mono_us < due_us:
                return old
        pair.sources = self._sources(pair)
        last = pair.why[-1].text if pair.why else "tags"
        pair.reason = "confidence" if same else last
        pair.published, pair.published_us, pair.untagged = new, now.mono_us, untagged
        self._said.add(_key(pair))
        out.append(
            OnHandChanged(
                at_us=now.mono_us,
                gtin=pair.gtin,
                shelf=pair.shelf,
                on_hand=new.on_hand,
                low=new.low,
                high=new.high,
                confidence=round(new.confidence, 4),
                sources=pair.sources,
                reason=pair.reason,
                untagged=untagged,
                why=[why.as_json() for why in list(pair.why)[-WHY_IN_FACT:]],
            )
        )
        return new

    def _sources(self, pair: Pair) -> list[str]:
        found = {why.source for why in pair.why}
        if pair.tags and (pair.shelf, "rfid") not in self.fusion.down:
            found.add("rfid")
        if pair.levels:
            found.add("weight")
        return sorted(found)

    def _watch_dispute(self, pair: Pair, now_is: Estimate | None, now: Instant, out: list[Signal]) -> None:
        key = (pair.shelf, pair.gtin)
        differs = now_is is not None and self.fusion.is_tagged(pair.gtin) and now_is.on_hand != pair.tags
        if differs and self.fusion.seen_by_tags(*key):
            self._disputed.setdefault(key, now.mono_us)
        elif self._disputed.pop(key, None) is not None and pair.told:
            pair.told = False
            self._said.add(_key(pair))
            self.inbox.resolve(f"discrepancy-{pair.shelf}-{pair.gtin}")
            out.append(
                Discrepancy(
                    at_us=now.mono_us,
                    gtin=pair.gtin,
                    shelf=pair.shelf,
                    expected=pair.tags,
                    seen=now_is.on_hand if now_is else 0,
                    explanation="resolved",
                    resolved=True,
                )
            )

    def _publish_product(self, gtin: str, now: Instant, out: list[Signal]) -> None:
        if gtin not in self.site.product_by_gtin:
            return
        told = [pair.published for pair in self.fusion.of_product.get(gtin, ()) if pair.published]
        on_hand = sum(one.on_hand for one in told)
        is_out = gtin in self._books.out_of_stock
        if told and on_hand == 0 and not is_out:
            self._books.mark_out(gtin, True)
            out.append(StockOut(at_us=now.mono_us, gtin=gtin))
        elif on_hand > 0 and is_out:
            self._books.mark_out(gtin, False)
            out.append(BackInStock(at_us=now.mono_us, gtin=gtin, on_hand=on_hand))

    # --- what others ask ----------------------------------------------------------------------------------------------

    def on_hand(self, gtin: str) -> int:
        """Published count of a product over all shelves."""
        return sum(pair.published.on_hand for pair in self.fusion.of_product.get(gtin, ()) if pair.published)

    def distribution(self, gtin: str, now_us: int) -> Pmf:
        """Distribution of a product's count over all shelves."""
        return self.fusion.total([p for p in self.fusion.of_product.get(gtin, ()) if p.counted], now_us)

    def at_least(self, gtin: str, now_us: int, risk: float = 0.1) -> int:
        """The count that is there but for this risk (P10 by default)."""
        return quantile(self.distribution(gtin, now_us), risk)

    def stock_document(self, gtin: str, now: Instant) -> dict[str, JsonValue]:
        """All that is known of a product's stock, as published under ``state/stock/{gtin}`` and by the API."""
        product = self.site.product_by_gtin.get(gtin)
        shelves: list[JsonValue] = [
            self._pair_document(pair, now.mono_us) for pair in self.fusion.of_product.get(gtin, ()) if pair.published
        ]
        promises = self.promises
        return {
            "gtin": gtin,
            "name": product.name if product else "",
            "on_hand": self.on_hand(gtin),
            "available_to_promise": promises.available_to_promise(gtin, now.mono_us) if promises else 0,
            "held": promises.open_quantity(gtin) if promises else 0,
            "out_of_stock": gtin in self._books.out_of_stock,
            "shelves": shelves,
        }

    def _pair_document(self, pair: Pair, now_us: int) -> dict[str, JsonValue]:
        told = self.fusion.estimate(pair, now_us)  # doubts fade without a fact; the number changes only with one
        if pair.published and (pair.is_hearsay or told.on_hand != pair.published.on_hand):
            told = pair.published
        return {
            "shelf": pair.shelf,
            "on_hand": told.on_hand,
            "low": told.low,
            "high": told.high,
            "confidence": round(told.confidence, 4),
            "sources": list(pair.sources),
            "tags": pair.tags,
            "untagged": pair.untagged,
            "as_of_us": pair.as_of_us,
            "last_verified_us": pair.verified_us,
            "known": pair.shelf not in self._unknown,
            "reason": pair.reason,
            "why": [why.as_json() for why in pair.why],
        }

    def exceptions(self) -> list[dict[str, JsonValue]]:
        """The exceptions inbox, oldest first."""
        return self.inbox.entries()

    def search(self, text: str, now: Instant) -> list[dict[str, JsonValue]]:
        """Products by GTIN or text with what is in stock of each."""
        rows: list[dict[str, JsonValue]] = []
        for product in catalogue.search(self.site, text):
            document = self.stock_document(product.gtin, now)
            row: dict[str, JsonValue] = {
                "gtin": product.gtin,
                "name": product.name,
                "category": product.category,
                "price_minor": product.price_minor,
                "currency": product.currency,
                "on_hand": document["on_hand"],
                "available_to_promise": document["available_to_promise"],
                "shelves": [pair.shelf for pair in self.fusion.of_product.get(product.gtin, ()) if pair.published],
            }
            rows.append(row)
        return rows

    def _name(self, gtin: str) -> str:
        product = self.site.product_by_gtin.get(gtin)
        return product.name if product and product.name else gtin

    # --- restarts -----------------------------------------------------------------------------------------------------

    def drain_said(self) -> Said:
        """Changed entries: ``p/`` pairs, ``t/`` tags, ``h/`` unknown shelves, ``k/`` catalogue, books and inbox."""
        out: Said = {}
        if not (self._said or self.fusion.moved_tags or self._books.changed or self.inbox.changed):
            return out
        for key in sorted(self._said):
            kind, _, name = key.partition("/")
            if kind == "p":
                shelf, _, gtin = name.partition("/")
                out[key] = saved.pair_row(self.fusion.pairs[shelf, gtin])
            else:
                out[key] = self._unknown.get(name)
        self._said.clear()
        for epc, place in self.fusion.moved_tags.items():
            out[f"t/{epc}"] = list(place) if place else None
        self.fusion.moved_tags.clear()
        for key in sorted(k for k in self._books.changed if k.startswith("k/")):
            self._books.changed.discard(key)
            out[key] = dataclasses.asdict(self.site.product_by_gtin[key[2:]])
        return out | self._books.drain() | self.inbox.drain()

    def restore(self, said: Mapping[str, JsonValue], now: Instant) -> None:
        """Take back what facts have said: counts stay what they were until new evidence speaks."""
        products: list[Product] = []
        for key, value in said.items():
            kind, _, name = key.partition("/")
            if kind == "h" and isinstance(value, str):
                self._unknown[name] = value
            elif kind == "k":
                try:
                    products.append(build(Product, value))
                except PlainError:
                    continue
            elif kind == "x":
                self.inbox.restore(value)
            elif kind in ("s", "o", "d"):
                self._books.restore(key, value, now.mono_us)
        if products:
            self._restore_products(products)
        saved.restore_tags(self.fusion, said, now.mono_us)
        self._disputed.update(saved.restore_pairs(self.fusion, said, now.mono_us))

    def _restore_products(self, products: list[Product]) -> None:
        told = {product.gtin: product for product in products}
        known = tuple(told.pop(product.gtin, product) for product in self.site.products)
        self.fusion.use(dataclasses.replace(self.site, products=known + tuple(told.values())))

    def internals(self) -> JsonValue:
        """Distributions of the offsets and learned trust; without them a restart knows the counts and is less sure."""
        return saved.internals(self.fusion)

    def restore_internals(self, internals: JsonValue) -> None:
        """Take back `internals`."""
        saved.restore_internals(self.fusion, internals)


def _key(pair: Pair) -> str:
    return f"p/{pair.shelf}/{pair.gtin}"
