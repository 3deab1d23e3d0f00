"""The structured log: one JSON object a line on stderr, where journald keeps it in memory; the newest also for the API.

It repeats what facts of the classes device, security and system have said (after their commit) and what the rooms
around the engine notice. A flapping device must not drown the rest nor wear a card: each thing may say five lines at
once and one a minute later on, all together one a second; what was held back is counted on the next line of the same
thing. Nothing about shoppers is ever written: their facts are of other classes.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, TextIO

from edge.core.fact import Fact, FactClass, body_fields, kind_of
from edge.core.facts import CommandRefused, Degraded, Gap, LowBattery, Offline, SignedIn, SplitBrain, SpoofingSuspected
from edge.core.instant import US_PER_MIN, US_PER_S, Instant

KEPT_LINES = 1_000
BURST, REFILL_US = 5, US_PER_MIN
TOTAL_BURST, TOTAL_REFILL_US = 200, US_PER_S
KEPT_THINGS = 1_000
LOGGED = frozenset({FactClass.DEVICE, FactClass.SECURITY, FactClass.SYSTEM})
WARNINGS = (Offline, Degraded, Gap, LowBattery, CommandRefused, SpoofingSuspected, SplitBrain)


class Level(IntEnum):
    """Severities of syslog (RFC 5424, 6.2.1)."""

    ERROR = 3
    WARNING = 4
    INFO = 6


@dataclass(slots=True)
class _Bucket:
    """So many lines may still be written."""

    left: float
    at_us: int
    held_back: int = 0

    def take(self, now_us: int, burst: int, refill_us: int) -> bool:
        self.left = min(burst, self.left + (now_us - self.at_us) / refill_us)
        self.at_us = now_us
        if self.left < 1:
            self.held_back += 1
            return False
        self.left -= 1
        return True


def write_line(line: str, level: Level, stream: TextIO | None = None) -> None:
    """To stderr, with the level as journald reads it (sd-daemon(3)) where journald listens."""
    out = stream or sys.stderr
    prefix = "" if out.isatty() else f"<{level.value}>"
    out.write(f"{prefix}{line}\n")
    out.flush()


class Logbook:
    """Lives on the loop. `now` tells engine and wall time; `write` gets each line."""

    def __init__(self, now: Callable[[], Instant], write: Callable[[str, Level], None] = write_line) -> None:
        self._now, self._write = now, write
        self._rows: deque[dict[str, Any]] = deque(maxlen=KEPT_LINES)
        self._number = 0
        self._buckets: dict[str, _Bucket] = {}
        self._total = _Bucket(TOTAL_BURST, 0)
        self._waiting: deque[tuple[int, Fact]] = deque()
        self._alarms: set[str] = set()
        self._uplink = ("off", "")

    def note(self, level: Level, event: str, subject: str = "", **fields: Any) -> None:
        """One line, unless this thing has said too much lately."""
        now = self._now()
        key = f"{event} {subject}"
        bucket = self._buckets.pop(key, None) or _Bucket(BURST, now.mono_us)
        self._buckets[key] = bucket  # the most recent last
        if len(self._buckets) > KEPT_THINGS:
            del self._buckets[next(iter(self._buckets))]
        if not bucket.take(now.mono_us, BURST, REFILL_US):
            return
        if not self._total.take(now.mono_us, TOTAL_BURST, TOTAL_REFILL_US):
            bucket.held_back += 1
            return
        self._number += 1
        row: dict[str, Any] = {
            "n": self._number,
            "time": datetime.fromtimestamp(now.wall_us / US_PER_S, UTC).isoformat(timespec="milliseconds"),
            "time_quality": now.quality.value,
            "mono_us": now.mono_us,
            "level": level.name.lower(),
            "event": event,
        }
        row |= {"subject": subject} if subject else {}
        row |= {name: value for name, value in fields.items() if value not in ("", None)}
        row |= {"held_back": bucket.held_back} if bucket.held_back else {}
        bucket.held_back = 0
        self._rows.append(row)
        self._write(json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=str), level)

    def await_commit(self, seq: int, facts: Iterable[Fact]) -> None:
        """These facts are written down once `seq` is committed."""
        self._waiting.extend((seq, fact) for fact in facts if fact.CLASS in LOGGED and fact.URGENT)

    def committed(self, last_seq: int) -> None:
        """Everything up to `last_seq` is on the disk."""
        while self._waiting and self._waiting[0][0] <= last_seq:
            self._told(self._waiting.popleft()[1])

    def _told(self, fact: Fact) -> None:
        failed = isinstance(fact, SignedIn) and not fact.ok
        level = Level.WARNING if failed or isinstance(fact, WARNINGS) else Level.INFO
        fields = {name: getattr(fact, name) for name in body_fields(type(fact))}
        subject = str(fields.pop(fact.SUBJECT, "")) if fact.SUBJECT else ""
        self.note(level, kind_of(type(fact)), subject, **fields)

    def watch(self, alarms: Mapping[str, str], uplink: str, uplink_cause: str) -> None:
        """Say what has changed since the last look: alarms that came or went, the bridge's connection.

        A connection that is missing is told with its cause, once the cause is known, and again when it is another one:
        not at each attempt.
        """
        for name in sorted(alarms.keys() - self._alarms):
            self.note(Level.ERROR, "alarm.raised", name, detail=alarms[name])
        for name in sorted(self._alarms - alarms.keys()):
            self.note(Level.INFO, "alarm.cleared", name)
        self._alarms = set(alarms)
        missing = uplink == "disconnected"
        seen = (uplink, uplink_cause if missing else "")
        if seen != self._uplink and (uplink_cause or not missing):
            self.note(Level.WARNING if missing else Level.INFO, f"uplink.{uplink}", detail=seen[1])
            self._uplink = seen

    def rows(self, after: int = 0, limit: int = KEPT_LINES) -> list[dict[str, Any]]:
        """The kept lines whose number is above `after`, oldest first, at most `limit`."""
        return [row for row in self._rows if row["n"] > after][:limit]
