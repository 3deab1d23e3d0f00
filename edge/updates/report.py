"""What a technician sees of updates: what runs from which slot, what the repository has, what happened last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from edge.core.fact import JsonValue
from edge.files import read_table
from edge.updates.errors import REASONS
from edge.updates.files import Exchange
from edge.updates.settings import UpdatePaths

LAST: Final = "updates/last"
"""Where the gateway keeps the newest outcome (`edge.updates.rollout`)."""
LINKS: Final = ("current", "good", "previous")


class UpdateDesk:
    """The gateway's view of its updater, which is a process of its own and wakes by a file."""

    def __init__(
        self,
        paths: UpdatePaths | None,
        last: Callable[[], JsonValue],
        aside: Callable[..., Awaitable[Any]] = asyncio.to_thread,
    ) -> None:
        """paths: None where no repository is named; last: the newest outcome; aside: work on files off the loop."""
        self._paths, self._last, self._aside = paths, last, aside

    @property
    def on(self) -> bool:
        """Whether a publisher's repository is named."""
        return self._paths is not None

    async def state(self) -> dict[str, Any]:
        """Slots, trial, wanted, newest signed, when it was looked, the last refusal and the last outcome."""
        if self._paths is None:
            return {"repository": "", "follow": "", **dict.fromkeys(LINKS, ""), "last": None}
        found: dict[str, Any] = await self._aside(_read, self._paths)
        return {**found, "last": _with_hint(self._last())}

    async def look(self) -> None:
        """Wake the updater: it asks the repository and does what is wanted. A path unit watches the file."""
        if self._paths is not None:
            exchange = Exchange(self._paths.state / "updates")
            await self._aside(lambda: exchange.want(exchange.wanted()))


def _read(paths: UpdatePaths) -> dict[str, Any]:
    exchange = Exchange(paths.state / "updates")
    known = exchange.status()
    return {
        "repository": paths.settings.url,
        "follow": paths.settings.follow.value,
        **{link: _slot(paths.slots / link) for link in LINKS},
        "trial": str(read_table(paths.slots / "trial.json").get("version", "")),
        "wanted": exchange.wanted(),
        "available": known.get("available", {}),
        "checked_us": known.get("checked_us", 0),
        "signed_us": known.get("signed_us", 0),
        "refused": known.get("refused", ""),
    }


def _slot(link: Path) -> str:
    """The release that a link names, "" where there is none: a gateway may run without slots."""
    try:
        return link.readlink().name
    except OSError:
        return ""


def _with_hint(last: JsonValue) -> dict[str, Any] | None:
    if not isinstance(last, dict):
        return None
    return {**last, "hint": REASONS.get(str(last.get("reason", "")), "")}
