"""What a person sees of the demo: devices, stock moving, facts by type, the platform's view against the truth."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections import Counter, deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edge.demo.offers import in_words
from edge.demo.telling import row

if TYPE_CHECKING:
    from edge.demo.stage import Stage

KEPT_FACTS = 100
FACTS_MIN = 4
ABOVE_ROWS = 19  # title, three panels and the frame of the newest facts
BAR = 16
LOOKS = 12  # rates are of the last so many looks
HEARD = {"tags_in": "reads", "adverts": "adverts", "frames": "frames"}
"""What a device's counter of what it hears is called, and what it counts."""
STATE_STYLE = {"online": "green", "degraded": "yellow", "offline": "red"}


class View:
    """A live screen, or (quiet) nothing but the result."""

    def __init__(self, *, quiet: bool) -> None:
        self.stage: Stage | None = None
        self._quiet = quiet
        self._console = Console(stderr=quiet)
        self._message = ""
        self._facts: deque[dict[str, Any]] = deque(maxlen=KEPT_FACTS)
        self._counts: Counter[str] = Counter()
        self._after = 0
        self._products: dict[str, str] = {}
        self._heard: dict[str, deque[tuple[float, int]]] = {}
        self._most: dict[str, int] = {}
        self._live = Live(console=self._console, auto_refresh=False, screen=False)

    def __enter__(self) -> Self:
        if not self._quiet:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._quiet:
            self._live.stop()

    def say(self, message: str) -> None:
        """One line on what happens now."""
        self._message = message
        if self._quiet:
            sys.stderr.write(f"{message}\n")
        else:
            self.refresh()

    def refresh(self) -> None:
        """Look again and draw."""
        if self._quiet:
            return
        self._live.update(self._drawing(), refresh=True)

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _drawing(self) -> Group:
        title = Text(self._message, style="bold")
        if self.stage is None:
            return Group(title)
        if not self._products:
            self._products = self.stage.product_names()
        self._read_facts()
        columns = Columns([self._devices(), self._totals(), self._stock()], equal=False, expand=False)
        return Group(title, columns, self._newest())

    def _get(self, path: str) -> Any:
        assert self.stage is not None
        try:
            headers = {"Authorization": f"Bearer {self.stage.token}"}
            request = urllib.request.Request(self.stage.api + path, headers=headers)
            with urllib.request.urlopen(request, timeout=2) as answer:
                return json.load(answer)
        except (urllib.error.URLError, TimeoutError, ValueError):
            return None

    def _read_facts(self) -> None:
        for fact in self._get(f"/v1/facts?after={self._after}&limit=1000") or []:
            self._after = fact["seq"]
            self._counts[fact["type"]] += 1
            self._facts.append(fact)

    def _devices(self) -> Panel:
        table = Table.grid(padding=(0, 1))
        for device in self._get("/v1/devices") or []:
            name = next((name for name in HEARD if name in device["counters"]), "")
            looks = self._heard.setdefault(device["id"], deque(maxlen=LOOKS))
            looks.append((time.monotonic(), device["counters"].get(name, 0)))
            (then_s, before), (now_s, total) = looks[0], looks[-1]
            rate = f"{(total - before) / (now_s - then_s):.0f} {HEARD[name]}/s" if name and now_s > then_s else ""
            state = Text("● " + device["id"], style=STATE_STYLE.get(device["state"], ""))
            table.add_row(state, Text(rate, justify="right", style="dim"))
        return Panel(table, title="devices")

    def _totals(self) -> Panel:
        table = Table.grid(padding=(0, 1))
        for name, count in self._counts.most_common(10):
            table.add_row(name.rpartition(".")[2], Text(str(count), justify="right"))
        return Panel(table, title="facts")

    def _stock(self) -> Panel:
        """What the platform knows of each shelf, and how many of its products are just as they truly are."""
        assert self.stage is not None
        known, truth = self.stage.platform_stock(), self.stage.true_stock()
        rows = self.stage.platform_rows("SELECT MAX(contiguous) FROM stream")
        table = Table.grid(padding=(0, 1))
        table.add_row("shelf", Text("what the platform knows", style="dim"), "", Text("products right", style="dim"))
        for shelf in sorted({shelf for shelf, _ in truth}):
            pairs = [pair for pair in truth.keys() | known.keys() if pair[0] == shelf]
            right = sum(known.get(pair, 0) == truth.get(pair, 0) for pair in pairs)
            units = sum(known.get(pair, 0) for pair in pairs)
            self._most[shelf] = max(self._most.get(shelf, 1), units)
            full = round(BAR * units / self._most[shelf])
            bar = Text("█" * full, style="cyan").append("░" * (BAR - full), style="dim")
            sound = "green" if right == len(pairs) else "yellow"
            table.add_row(shelf, bar, Text(str(units), justify="right"), Text(f"{right} of {len(pairs)}", style=sound))
        complete = rows[0][0] if rows else 0
        said = Text(f"fact {self._after} at the gateway, complete to {complete or 0} at the platform", style="dim")
        return Panel(Group(table, said), title="stock, live")

    def _newest(self) -> Panel:
        room = max(FACTS_MIN, self._console.height - ABOVE_ROWS)
        table = Table.grid(padding=(0, 2))
        for fact in list(self._facts)[: -room - 1 : -1]:
            table.add_row(*row(fact, self._products))
        return Panel(table, title="newest facts")

    def result(self, figures: dict[str, Any], *, settled: bool) -> None:
        """The summary for people; `settled`: the store was quiet when it was compared."""
        table = Table(title="The demo in figures", box=None, show_header=False)
        for key, value in figures.items():
            if key == "mismatches":
                continue
            if key == "phones":
                table.add_row(key, in_words(value))
                continue
            shown = (
                ", ".join(f"{name} {count}" for name, count in value.items()) if isinstance(value, dict) else str(value)
            )
            table.add_row(key, shown)
        Console().print(table)
        if not settled:
            hint = (
                "Ended while shoppers moved goods: mismatches are what was on its way. With --seconds 40 the demo waits"
            )
            Console().print(Text(f"{hint} until the store is quiet, and then compares.", style="dim"))
