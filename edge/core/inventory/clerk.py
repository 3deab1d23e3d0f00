"""The clerk carries out the commands that move or count goods: everything is checked before anything is changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge.core.arguments import check_gtin, check_quantity, check_text, parse, refused
from edge.core.catalogue import changed_catalogue
from edge.core.errors import CommandRejected
from edge.core.fact import Fact, JsonValue
from edge.core.facts import Discrepancy, GoodsReceived, GoodsReturned, ItemSold
from edge.core.instant import Instant
from edge.core.inventory.books import Books
from edge.core.inventory.fusion import Fusion
from edge.core.inventory.inbox import Entry, Inbox
from edge.core.inventory.ledger import make_step
from edge.core.inventory.pair import Pair, Why
from edge.core.ports import Command

MAX_LINES = 1_000
_CARD_KEY = re.compile(r"card|pan\Z|cvv|cvc|track[_-]?[12]|iban|expiry|account", re.IGNORECASE)
_CARD_NUMBER = re.compile(  # issuer ranges of ISO/IEC 7812-1 that payment cards use
    r"(?<!\d)(?:4\d{12}(?:\d{3})?(?:\d{3})?|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|35\d{14}|6\d{15})(?!\d)"
)


@dataclass(frozen=True, slots=True)
class SoldLine:
    """One line of a till receipt; epc where the till reads tags."""

    line: int
    gtin: str
    quantity: int = 1
    epc: str = ""


@dataclass(frozen=True, slots=True)
class SoldArgs:
    """goods_sold."""

    receipt: str
    lines: tuple[SoldLine, ...]


@dataclass(frozen=True, slots=True)
class ExpectedLine:
    """One product of an announced delivery."""

    gtin: str
    quantity: int


@dataclass(frozen=True, slots=True)
class ExpectedArgs:
    """goods_expected; arrived = True says that the goods are in the store now."""

    delivery: str
    lines: tuple[ExpectedLine, ...]
    arrived: bool = False


@dataclass(frozen=True, slots=True)
class ReturnedArgs:
    """goods_returned."""

    order: str
    gtin: str
    quantity: int = 1
    sellable: bool = True
    online: bool = False


@dataclass(frozen=True, slots=True)
class RecountArgs:
    """recount: a person counted one product on one shelf."""

    shelf: str
    gtin: str
    quantity: int


class Clerk:
    """Carries out goods_sold, goods_expected, goods_returned, recount and set_catalogue."""

    def __init__(self, fusion: Fusion, books: Books, inbox: Inbox) -> None:
        self._fusion, self._books, self._inbox = fusion, books, inbox

    def carry_out(self, command: Command, now: Instant) -> list[Fact]:
        """Facts of a command that has not been carried out before. Raises CommandRejected; then nothing has changed."""
        actions = {
            "goods_sold": self._sold,
            "goods_expected": self._expected,
            "goods_returned": self._returned,
            "recount": self._recount,
            "set_catalogue": self._catalogue,
        }
        facts = actions[command.name](command, now.mono_us)
        self._books.remember(command.id, now.mono_us)
        self._books.forget(now.mono_us)
        return facts

    # --- the till -----------------------------------------------------------------------------------------------------

    def _sold(self, command: Command, now_us: int) -> list[Fact]:
        refuse_card_data(command)
        args = parse(SoldArgs, command)
        check_text(command, "receipt", args.receipt)
        self._check_lines(command, args.lines)
        lines = [(line, check_gtin(command, f"lines[{i}].gtin", line.gtin)) for i, line in enumerate(args.lines)]
        for index, (line, _) in enumerate(lines):
            check_quantity(command, f"lines[{index}].quantity", line.quantity)
        known = self._fusion.site.product_by_gtin
        unknown = [(line, gtin) for line, gtin in lines if gtin not in known]
        facts: list[Fact] = [self._unknown(args.receipt, line, gtin, now_us) for line, gtin in unknown]
        if len(unknown) == len(lines):
            gtin = unknown[0][1]
            raise CommandRejected(
                "unknown_gtin", f"goods_sold: lines[0].gtin = {gtin!r}: expected a GTIN of the catalogue"
            )
        for line, gtin in lines:
            key = f"{args.receipt}#{line.line}"
            if gtin in known and self._books.is_new(key):
                self._books.remember(key, now_us)
                facts.append(
                    ItemSold(at_us=now_us, gtin=gtin, quantity=line.quantity, receipt=args.receipt, line=line.line)
                )
                self._move_unsensed(gtin, -line.quantity, now_us, f"till receipt {args.receipt}")
        return facts

    def _unknown(self, receipt: str, line: SoldLine, gtin: str, now_us: int) -> Fact:
        text = f"till receipt {receipt}, line {line.line}: GTIN {gtin} is not in the catalogue; the line was refused"
        self._inbox.raise_(Entry(f"unknown-gtin-{gtin}", "unknown_gtin", text, now_us, gtin))
        return Discrepancy(
            at_us=now_us, gtin=gtin, shelf="", expected=0, seen=line.quantity, explanation="unknown_gtin"
        )

    # --- deliveries and returns ---------------------------------------------------------------------------------------

    def _expected(self, command: Command, now_us: int) -> list[Fact]:
        args = parse(ExpectedArgs, command)
        check_text(command, "delivery", args.delivery)
        self._check_lines(command, args.lines)
        lines = [
            (
                self._known(command, f"lines[{i}].gtin", line.gtin),
                check_quantity(command, f"lines[{i}].quantity", line.quantity),
            )
            for i, line in enumerate(args.lines)
        ]
        if not args.arrived:
            if args.delivery in self._books.deliveries:
                text = f"goods_expected: delivery = {args.delivery!r}: expected one that is not yet announced"
                raise CommandRejected("known_delivery", text)
            for gtin, quantity in lines:
                self._books.expect(args.delivery, gtin, quantity)
            return []
        announced = self._books.deliveries.pop(args.delivery, {})
        self._books.changed.add(f"d/{args.delivery}")
        facts: list[Fact] = []
        for gtin, quantity in lines:
            row = announced.get(gtin)
            rest = quantity - (row.told if row else 0)
            if rest <= 0:
                continue
            expected = row.expected if row else quantity
            facts.append(
                GoodsReceived(at_us=now_us, gtin=gtin, quantity=rest, delivery=args.delivery, expected=expected)
            )
            self._move_unsensed(gtin, rest, now_us, f"delivery {args.delivery}")
        return facts

    def _returned(self, command: Command, now_us: int) -> list[Fact]:
        args = parse(ReturnedArgs, command)
        check_text(command, "order", args.order)
        gtin = self._known(command, "gtin", args.gtin)
        check_quantity(command, "quantity", args.quantity)
        if args.sellable:
            self._move_unsensed(gtin, args.quantity, now_us, f"customer's return of order {args.order}")
        return [
            GoodsReturned(
                at_us=now_us,
                gtin=gtin,
                quantity=args.quantity,
                order=args.order,
                sellable=args.sellable,
                online=args.online,
            )
        ]

    def _recount(self, command: Command, now_us: int) -> list[Fact]:
        args = parse(RecountArgs, command)
        if args.shelf not in self._fusion.site.shelf_by_id:
            raise refused(command, "shelf", args.shelf, "the id of a shelf of the planogram")
        gtin = self._known(command, "gtin", args.gtin)
        quantity = check_quantity(command, "quantity", args.quantity, low=0)
        pair = self._fusion.pair(args.shelf, gtin)
        before = pair.published.on_hand if pair.published else None
        why = Why(now_us, "recount", f"counted by {command.actor}: {quantity}", quantity)
        self._fusion.anchor(pair, quantity, now_us, why)
        self._inbox.resolve(f"phantom-{gtin}")
        if before is None or before == quantity:
            return []
        return [
            Discrepancy(
                at_us=now_us, gtin=gtin, shelf=args.shelf, expected=before, seen=quantity, explanation="recount"
            )
        ]

    def _catalogue(self, command: Command, now_us: int) -> list[Fact]:
        site, changed = changed_catalogue(self._fusion.site, command)
        self._fusion.use(site)
        for product in changed:
            self._inbox.resolve(f"unknown-gtin-{product.gtin}")
            self._books.changed.add(f"k/{product.gtin}")
        return []

    # --- people who fetch goods ---------------------------------------------------------------------------------------

    def fetched(self, gtin: str, quantity: int, now_us: int, reference: str) -> None:
        """Staff took goods off the shelves (or, negative, brought them back): counted at once, once.

        Sensors tell the same move on their own; a recent move that they told is this one.
        """
        for pair in sorted(self._fusion.of_product.get(gtin, ()), key=_published, reverse=True):
            taken = min(quantity, _published(pair)) if quantity > 0 else 0
            if taken:
                why = Why(now_us, "hold", f"fetched for hold {reference}: {-taken}", -taken)
                self._take(pair, taken, now_us, why)
                quantity -= taken

    def _take(self, pair: Pair, quantity: int, now_us: int, why: Why) -> None:
        if not self._fusion.sensed(pair.shelf, pair.gtin):
            self._fusion.shift(pair, -quantity, now_us, why)
            return
        told = self._fusion.ledger(pair.shelf).claim(pair.gtin, quantity, now_us)
        if told < quantity:
            step = make_step(now_us, ((pair.gtin, told - quantity, 0.98),), source="hold")
            self._fusion.enter(pair.shelf, step)
        pair.why.append(why)

    def _move_unsensed(self, gtin: str, quantity: int, now_us: int, cause: str) -> None:
        """Move the count of a product that no sensor sees: to its first home, from where there is most."""
        homes = self._fusion.site.homes_by_gtin.get(gtin, ())
        unsensed = [self._fusion.pair(shelf, gtin) for shelf in homes if not self._fusion.sensed(shelf, gtin)]
        if not unsensed or len(unsensed) < len(homes):
            return
        pair = max(unsensed, key=_published) if quantity < 0 else unsensed[0]
        self._fusion.shift(pair, quantity, now_us, Why(now_us, "books", f"{cause}: {quantity:+d}", quantity))

    def _known(self, command: Command, field: str, value: str) -> str:
        gtin = check_gtin(command, field, value)
        if gtin not in self._fusion.site.product_by_gtin:
            raise CommandRejected(
                "unknown_gtin", f"{command.name}: {field} = {value!r}: expected a GTIN of the catalogue"
            )
        return gtin

    @staticmethod
    def _check_lines(command: Command, lines: tuple[object, ...]) -> None:
        if not 1 <= len(lines) <= MAX_LINES:
            raise refused(command, "lines", len(lines), f"1 to {MAX_LINES} lines")


def refuse_card_data(command: Command) -> None:
    """Raises CommandRejected("card_data") where a till line carries payment card data, which it never repeats."""
    for path, key, value in _walk(command.args, ""):
        if _CARD_KEY.search(key):
            raise CommandRejected("card_data", f"{command.name}: {path} must not be sent: no card data here")
        digits = re.sub(r"[ -]", "", value) if isinstance(value, str) else str(value)
        if key not in ("gtin", "epc") and any(_luhn(number) for number in _CARD_NUMBER.findall(digits)):
            raise CommandRejected(
                "card_data", f"{command.name}: {path} looks like a card number: expected the till's own reference"
            )


def _walk(value: JsonValue | Mapping[str, JsonValue], path: str) -> Iterable[tuple[str, str, JsonValue]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            inner = f"{path}.{key}" if path else key
            yield inner, key, item if not isinstance(item, Mapping | list) else None
            yield from _walk(item, inner)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            inner = f"{path}[{index}]"
            yield inner, "", item if not isinstance(item, Mapping | list) else None
            yield from _walk(item, inner)


def _published(pair: Pair) -> int:
    return pair.published.on_hand if pair.published else 0


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B check digit of a card number."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
