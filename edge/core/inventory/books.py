"""Books: what tills, deliveries and customers' returns say. They explain a count; they never overrule a sensor."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.core.fact import JsonValue
from edge.core.instant import US_PER_DAY, US_PER_MIN

REMEMBER_US = 7 * US_PER_DAY  # contract: command ids are remembered 7 days
RECEIPT_QUIET_US = US_PER_MIN  # a delivery that goes on arriving is told in one fact a minute at most


@dataclass(slots=True)
class Line:
    """One product of a delivery."""

    expected: int
    received: int = 0
    told: int = 0
    last_us: int = 0


@dataclass(slots=True)
class Books:
    """Remembered commands and till lines, open deliveries, totals by product; `changed` are keys to be stored."""

    seen: dict[str, int] = field(default_factory=dict)  # command or till line → when
    deliveries: dict[str, dict[str, Line]] = field(default_factory=dict)
    out_of_stock: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)

    def is_new(self, key: str) -> bool:
        """Whether this command or till line has not been carried out before."""
        return key not in self.seen

    def remember(self, key: str, now_us: int) -> None:
        """It has been carried out."""
        self.seen[key] = now_us
        self.changed.add(f"s/{key}")

    def forget(self, now_us: int) -> None:
        """Let go what is older than 7 days."""
        for key, at_us in list(self.seen.items()):
            if at_us > now_us - REMEMBER_US:
                break
            del self.seen[key]
            self.changed.add(f"s/{key}")

    def expect(self, delivery: str, gtin: str, quantity: int) -> None:
        """Goods are announced; a second line of the same product adds."""
        lines = self.deliveries.setdefault(delivery, {})
        lines.setdefault(gtin, Line(0)).expected += quantity
        self.changed.add(f"d/{delivery}")

    def arrived(self, gtin: str, quantity: int, now_us: int) -> None:
        """Items that were never here before came: they are the oldest delivery that still lacks them."""
        for delivery, lines in self.deliveries.items():
            line = lines.get(gtin)
            missing = line.expected - line.received if line else 0
            if line and missing > 0 and quantity > 0:
                taken = min(missing, quantity)
                line.received += taken
                line.last_us = now_us
                quantity -= taken
                self.changed.add(f"d/{delivery}")

    def receipts_due(self, now_us: int) -> list[tuple[str, str, Line]]:
        """(delivery, product, line) whose arrival should be told: complete, or quiet for a minute."""
        return [
            (delivery, gtin, line)
            for delivery, lines in self.deliveries.items()
            for gtin, line in lines.items()
            if line.received > line.told
            and (line.received >= line.expected or now_us >= line.last_us + RECEIPT_QUIET_US)
        ]

    def told(self, delivery: str, line: Line) -> None:
        """Its arrival has been told; a complete delivery is closed."""
        line.told = line.received
        self.changed.add(f"d/{delivery}")
        if all(row.told >= row.expected for row in self.deliveries[delivery].values()):
            del self.deliveries[delivery]

    def next_us(self) -> int | None:
        """When a receipt becomes due."""
        waits = [
            line.last_us + RECEIPT_QUIET_US
            for lines in self.deliveries.values()
            for line in lines.values()
            if line.received > line.told
        ]
        return min(waits, default=None)

    def mark_out(self, gtin: str, out: bool) -> None:
        """A product went out of stock or came back."""
        (self.out_of_stock.add if out else self.out_of_stock.discard)(gtin)
        self.changed.add(f"o/{gtin}")

    def drain(self) -> dict[str, JsonValue]:
        """Changed entries, None where they are gone."""
        out: dict[str, JsonValue] = {}
        for key in sorted(self.changed):
            kind, _, name = key.partition("/")
            if kind == "s":
                out[key] = self.seen.get(name)
            elif kind == "o":
                out[key] = True if name in self.out_of_stock else None
            else:
                lines = self.deliveries.get(name)
                out[key] = None if lines is None else {g: [v.expected, v.received, v.told] for g, v in lines.items()}
        self.changed.clear()
        return out

    def restore(self, key: str, value: JsonValue, now_us: int) -> None:
        """Take back one drained entry."""
        kind, _, name = key.partition("/")
        if kind == "s" and isinstance(value, int):
            self.seen[name] = value
        elif kind == "o":
            self.out_of_stock.add(name)
        elif kind == "d" and isinstance(value, dict):
            lines = self.deliveries[name] = {}
            for gtin, row in value.items():
                if isinstance(row, list) and len(row) == 3:
                    expected, received, told = (int(n) if isinstance(n, int) else 0 for n in row)
                    lines[gtin] = Line(expected, received, told, now_us)
