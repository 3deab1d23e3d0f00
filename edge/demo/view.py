"""What a person sees of the demo: devices, stock moving, facts by type, the platform's view against the truth."""

from __future__ import annotations

import json
import sys
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

if TYPE_CHECKING:
    from edge.demo import Stage

SHOWN_FACTS = 12
SKIP = {"seq", "type", "time_us", "time_quality", "why", "sources", "confidence"}
STATE_STYLE = {"online": "green", "degraded": "yellow", "offline": "red"}


class View:
    """A live screen, or (quiet) nothing but the result."""

    def __init__(self, *, quiet: bool) -> None:
        self.stage: Stage | None = None
        self._quiet = quiet
        self._console = Console(stderr=quiet)
        self._message = ""
        self._facts: deque[dict[str, Any]] = deque(maxlen=SHOWN_FACTS)
        self._counts: Counter[str] = Counter()
        self._after = 0
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
        self._read_facts()
        columns = Columns([self._devices(), self._totals(), self._agreement()], equal=False, expand=True)
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
        table = Table.grid(padding=(0, 2))
        for device in self._get("/v1/devices") or []:
            table.add_row(device["id"], Text(device["state"], style=STATE_STYLE.get(device["state"], "")))
        return Panel(table, title="devices")

    def _totals(self) -> Panel:
        table = Table.grid(padding=(0, 2))
        for name, count in self._counts.most_common(12):
            table.add_row(name, Text(str(count), justify="right"))
        return Panel(table, title="facts by type")

    def _agreement(self) -> Panel:
        assert self.stage is not None
        wrong = self.stage.mismatches()
        compared = len(self.stage.true_stock())
        rows = self.stage.platform_rows("SELECT MAX(contiguous) FROM stream")
        table = Table.grid(padding=(0, 2))
        table.add_row("committed by the gateway", str(self._after))
        table.add_row("complete at the platform up to", str(rows[0][0] if rows else 0))
        table.add_row("shelf and product pairs", str(compared))
        table.add_row("of them equal to the truth", Text(str(compared - len(wrong)), style="green"))
        for shelf, gtin, true, known in wrong[:6]:
            table.add_row(f"  {shelf} {gtin}", f"{true} true, {'–' if known is None else known} known")
        return Panel(table, title="platform against truth")

    def _newest(self) -> Panel:
        table = Table.grid(padding=(0, 2))
        for fact in reversed(self._facts):
            shown = [f"{key} {value}" for key, value in fact.items() if key not in SKIP and value not in ("", None)]
            table.add_row(
                str(fact["seq"]), Text(fact["type"], style="cyan"), Text(" · ".join(shown), overflow="ellipsis")
            )
        return Panel(table, title="newest facts")

    def result(self, figures: dict[str, Any]) -> None:
        """The summary for people."""
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
