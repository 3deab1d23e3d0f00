"""The processes of the demo."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from edge.core.errors import GatewayError

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
MAIN = "import sys; from edge.cli import main; sys.argv[0] = 'smartstore'; main()"


class DemoError(GatewayError):
    """A process of the demo that did not do its part; its log is named."""

    hint = "Read the named log; run `smartstore doctor` for what this machine lacks."


@dataclass
class Cast:
    """The processes of the demo, started in order and stopped in reverse."""

    directory: Path
    started: list[tuple[str, subprocess.Popen[str]]] = field(default_factory=list)

    def start(self, name: str, arguments: list[str], environment: dict[str, str] | None = None) -> dict[str, Any]:
        """Start a process and wait for the JSON line that says it is ready. Raises DemoError naming its log."""
        log = self.directory / f"{name}.log"
        with log.open("w", encoding="utf-8") as errors:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # Ctrl-C is for the demo, which then stops the others in order
            )
        self.started.append((name, process))
        return self._ready(name, process, log)

    def smartstore(self, name: str, *arguments: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
        """Start a `smartstore` command, by this interpreter."""
        return self.start(name, ["-c", MAIN, *arguments], environment)

    def _ready(self, name: str, process: subprocess.Popen[str], log: Path) -> dict[str, Any]:
        assert process.stdout is not None
        line = read_line(process.stdout, READY_TIMEOUT_S)
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if isinstance(told, dict) and told.get("ready"):
                return told
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        said = " / ".join(tail) or line.strip() or "nothing"
        raise DemoError(f"{name} did not get ready (exit code {process.poll()}); it said: {said} (log: {log})")

    def stop(self, name: str) -> None:
        """Stop one process, kindly first."""
        for index, (started, process) in enumerate(self.started):
            if started == name:
                del self.started[index]
                end(process)
                return

    def stop_all(self) -> None:
        """Stop everything that still runs, last started first."""
        while self.started:
            end(self.started.pop()[1])

    def dead(self) -> str:
        """Name of a process that ended by itself, "" while all live."""
        return next((name for name, process in self.started if process.poll() is not None), "")


def read_line(stream: IO[str], timeout_s: float) -> str:
    """The first line of a pipe, "" when it does not come in time."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return stream.readline() if selector.select(timeout_s) else ""


def end(process: subprocess.Popen[str]) -> None:
    """SIGTERM, and SIGKILL for who does not listen."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
