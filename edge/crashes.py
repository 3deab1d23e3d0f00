"""Crash loops: who crashes three times within 10 minutes comes up in safe mode, with the culprit named.

The memory is a small file of its own, because the journal may be what fails. Crashes count only within one boot of
the machine (elapsed time is CLOCK_BOOTTIME): a power cut is no crash. What the process was doing when it died is
taken from the traceback that `faulthandler` leaves (SIGSEGV, SIGABRT of the watchdog …) or that an exception left.
"""

from __future__ import annotations

import contextlib
import faulthandler
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

from edge.files import read_table, write_json

WINDOW_S = 600.0
CRASHES = 3
SAFE_MODE_S = 600.0
"""Then the drivers start again, without the culprit: nobody may come by for weeks."""

_FRAME = re.compile(r'File "(?P<path>[^"]+)"')
_ROOM = re.compile(r"/(?:devices/(?P<kind>[a-z0-9_]+)/|(?P<room>models|cloud_bridge)/)")
_SHARED = ("transport", "sdp")


@dataclass(frozen=True, slots=True)
class SafeMode:
    """How many crashes there were, and who did it: a driver's kind, a room, "" where that is unknown."""

    crashes: int
    culprit: str

    def __str__(self) -> str:
        who = f"the last thing it did was {self.culprit}" if self.culprit else "the cause is not known"
        return f"{self.crashes} crashes within {WINDOW_S / 60:.0f} min; {who}; drivers are off"


def boot_id() -> str:
    """Identity of this boot of the machine, "" where the kernel does not tell."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def boottime_s() -> float:
    """Seconds since the machine started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def culprit_of(trace: str) -> str:
    """The innermost driver or room in a traceback, either of Python's two orders; "" where none is in it."""
    paths = [match["path"] for match in _FRAME.finditer(trace)]
    if "most recent call first" not in trace:
        paths.reverse()
    for path in paths:
        found = _ROOM.search(path)
        if found and found["kind"] not in _SHARED:
            return found["kind"] or found["room"]
    return ""


class CrashLog:
    """The crashes of this machine's boot, in `folder`."""

    FILE, TRACE = "crashes.json", "last-crash.txt"

    def __init__(
        self, folder: Path, now_s: Callable[[], float] = boottime_s, boot: Callable[[], str] = boot_id
    ) -> None:
        self._file, self._trace = folder / self.FILE, folder / self.TRACE
        self._now_s, self._boot = now_s, boot
        self._handle: TextIO | None = None
        self._crashes: list[tuple[float, str]] = []
        self._version = ""

    def begin(self, version: str = "") -> SafeMode | None:
        """Note that the gateway starts; the answer says whether carefully. A broken file counts as none.

        Crashes of another release count for nothing: an update that crashed and was taken back is not our fault.
        """
        now_s, boot, self._version = self._now_s(), self._boot(), version
        with contextlib.suppress(ValueError, KeyError, TypeError):
            kept = read_table(self._file)
            if kept["boot"] == boot and kept.get("version", "") == version:
                self._crashes = [(float(at), str(who)) for at, who in kept["crashes"] if 0 <= now_s - at < WINDOW_S]
                if kept["running"]:
                    self._crashes.append((now_s, culprit_of(self._read_trace())))
        self._write(running=True)
        if len(self._crashes) < CRASHES:
            return None
        named = Counter(who for _, who in self._crashes if who)
        return SafeMode(len(self._crashes), named.most_common(1)[0][0] if named else "")

    def arm(self) -> None:
        """From now on whatever kills the process leaves its traceback."""
        with contextlib.suppress(OSError):
            self._handle = self._trace.open("w", encoding="utf-8")
            faulthandler.enable(self._handle)
            sys.excepthook = self._excepthook

    def clean(self) -> None:
        """The gateway ended on purpose."""
        self._write(running=False)
        if self._handle is not None:
            faulthandler.disable()
            sys.excepthook = sys.__excepthook__
            self._handle.close()
            self._handle = None

    def _excepthook(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if self._handle is not None:
            self._handle.write("".join(traceback.format_exception(kind, error, trace)))
            self._handle.flush()
        sys.__excepthook__(kind, error, trace)

    def _read_trace(self) -> str:
        with contextlib.suppress(OSError):
            return self._trace.read_text(encoding="utf-8", errors="replace")[-20_000:]
        return ""

    def _write(self, *, running: bool) -> None:
        """Best effort: on a full disk the gateway still starts."""
        kept = {
            "boot": self._boot(),
            "version": self._version,
            "running": running,
            "crashes": self._crashes if running else [],
        }
        with contextlib.suppress(OSError):
            write_json(self._file, kept)
