"""The running demo as its processes publish it: truth of the simulator, database of the platform, the journal."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.demo.offers import phones_said


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A database of another process, read-only."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
        yield database


@dataclass(slots=True)
class Stage:
    """The running demo and the ways to look at it."""

    directory: Path
    api: str = ""
    token: str = ""  # of a script that may look

    @property
    def truth(self) -> dict[str, Any]:
        """The simulator's own export."""
        return json.loads((self.directory / "truth.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    def product_names(self) -> dict[str, str]:
        """GTIN → name, by the store's planogram."""
        site = json.loads((self.directory / "site.json").read_text(encoding="utf-8"))
        return {product["gtin"]: product["name"] for product in site["products"]}

    def platform_rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the platform's database; none while it is being made."""
        try:
            with reading(self.directory / "platform.db") as database:
                return database.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []

    def platform_stock(self) -> dict[tuple[str, str], int]:
        """(shelf, GTIN) → the count that the platform knows."""
        return {(s, g): n for s, g, n in self.platform_rows("SELECT shelf, gtin, on_hand FROM stock")}

    def true_stock(self) -> dict[tuple[str, str], int]:
        """(shelf, GTIN) → the count that is so."""
        return {(row["shelf"], row["gtin"]): row["count"] for row in self.truth["on_hand"]}

    def mismatches(self) -> list[tuple[str, str, int, int | None]]:
        """(shelf, GTIN, true, known) wherever the platform is wrong; an item that is nowhere must be known as 0."""
        known, truth = self.platform_stock(), self.true_stock()
        pairs = sorted(known.keys() | truth.keys())
        return [(*pair, truth.get(pair, 0), known.get(pair)) for pair in pairs if truth.get(pair, 0) != known.get(pair)]

    def committed(self) -> tuple[str, set[int]]:
        """Epoch and every seq that the gateway's journal ever committed."""
        with reading(self.directory / "var" / "journal.db") as journal:
            meta = dict(journal.execute("SELECT key, value FROM meta").fetchall())
            stored = {seq for (seq,) in journal.execute("SELECT seq FROM fact")}
        last = max(stored, default=0)
        return json.loads(meta["epoch"]), set(range(1, last + 1))

    def summary(self, seconds: float) -> dict[str, Any]:
        """The demo in figures."""
        epoch, committed = self.committed()
        received = self.platform_rows(
            f"SELECT event.seq, event.fact FROM event JOIN stream ON stream.id = stream WHERE epoch = '{epoch}'"
        )
        have = {seq for seq, _ in received}
        top = max(have, default=0)
        truth = self.truth
        facts = Counter(fact for _, fact in received)
        devices = json.loads((self.directory / "devices.json").read_text(encoding="utf-8"))
        return {
            "seconds": seconds,
            "facts": dict(sorted(facts.items())),
            "devices": dict(sorted(Counter(device["kind"] for device in devices).items())),
            "facts_committed": len(committed),
            "platform_received": len(have),
            "platform_gaps": len(set(range(1, top + 1)) - have),
            "facts_lost": len(committed - have),
            "stock_compared": len(self.true_stock()),
            "stock_mismatches": len(self.mismatches()),
            "mismatches": [list(row) for row in self.mismatches()],
            "crossings_true": sum(door["in"] + door["out"] for door in truth["crossings"].values()),
            "crossings_counted": facts["footfall.Occupancy"],  # one for each crossing
            "phones": phones_said(self.directory),
        }
