"""What the rows of the campaign share: processes with a pipe held outside, private file systems, the power switch."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edge.core.fact import unpack
from edge.core.facts import Gap
from tests.fault._campaign import NotHere

ROOT = Path(__file__).parents[2]
EXT4_IOC_SHUTDOWN = 0x8004587D  # fs/ext4/ext4.h: _IOR('X', 125, __u32)
NOLOGFLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH: nothing that waits is written any more


@dataclass
class Victim:
    """A process that tells committed seqs, one a line."""

    module: str
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    opened: str = ""
    acked: int = 0
    lines: list[str] = field(default_factory=list)
    acked_at: dict[str, int] = field(default_factory=dict)
    """What it had told when it said another word."""

    def start(self) -> Victim:
        command = [sys.executable, "-m", self.module, *self.arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, **self.environment}, text=True
        )
        self.acked, self.opened, self.acked_at = 0, "", {}
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def _read(self) -> None:
        for line in self.process.stdout:
            if not line.endswith("\n"):
                return  # cut by the kill: never told
            word = line.strip()
            if word.isdigit():
                self.acked = max(self.acked, int(word))
            elif word.startswith("open "):
                self.opened = word
            else:
                self.acked_at[word] = self.acked
                self.lines.append(word)

    def wait(self, condition: Callable[[], bool], limit_s: float = 30.0) -> None:
        deadline_s = time.monotonic() + limit_s
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.process.stderr.read()[-300:]}")
            if time.monotonic() > deadline_s:
                raise AssertionError(f"nothing came of it within {limit_s:.0f} s")
            time.sleep(0.002)

    def say(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """kill -9; what it told before is read to the end."""
        self.process.kill()
        self.end()

    def end(self, limit_s: float = 30.0) -> int:
        """Wait for its end; its exit code."""
        code = self.process.wait(limit_s)
        self._thread.join(5)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                stream.close()
        return code


def needs_root() -> None:
    if os.geteuid() != 0:
        raise NotHere("needs root (mount)")


@contextlib.contextmanager
def ext4(folder: Path, mib: int = 64) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A private loop-mounted ext4: (mount point, the power switch). The switch comes back with power on."""
    needs_root()
    image, point = folder / "disk.img", folder / "disk"
    point.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(mib << 20)
    run_tool("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
    mount_loop(image, point)

    def cut() -> None:
        handle = os.open(point, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(handle)

    try:
        yield point, cut
    finally:
        unmount(point)


def mount_loop(image: Path, point: Path) -> None:
    run_tool("mount", "-o", "loop", str(image), str(point))


def unmount(point: Path) -> None:
    for _ in range(50):
        if subprocess.run(["umount", str(point)], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-l", str(point)], capture_output=True, check=False)


@contextlib.contextmanager
def tmpfs(folder: Path, mib: int) -> Iterator[Path]:
    """A disk that is soon full."""
    needs_root()
    point = folder / "small"
    point.mkdir()
    run_tool("mount", "-t", "tmpfs", "-o", f"size={mib}m", "small", str(point))
    try:
        yield point
    finally:
        unmount(point)


def run_tool(*command: str) -> None:
    """Run it; NotHere where it is missing or not allowed."""
    if shutil.which(command[0]) is None:
        raise NotHere(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotHere(f"{' '.join(command[:2])}: {done.stderr.strip()[:120]}")


@dataclass(frozen=True)
class Rows:
    """What a journal file holds, read without our code."""

    seqs: list[int]
    gaps: list[tuple[int, int]]
    epoch: str

    def lost(self, acked: int, first: int = 1) -> int:
        """Seqs up to `acked` that are neither there nor covered by a Gap fact."""
        have = set(self.seqs)
        for low, high in self.gaps:
            have.update(range(low, high + 1))
        return sum(1 for seq in range(first, acked + 1) if seq not in have)

    def covered_twice(self) -> int:
        """Seqs in two Gap facts, or dropped and there."""
        covered = [seq for low, high in self.gaps for seq in range(low, high + 1)]
        return len(covered) - len(set(covered)) + len(set(covered) & set(self.seqs))


def read_rows(path: Path) -> Rows:
    """Straight from SQLite."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        seqs = [seq for (seq,) in db.execute("SELECT seq FROM fact ORDER BY seq")]
        bodies = [body for (body,) in db.execute("SELECT body FROM fact WHERE code = ?", (Gap.CODE,))]
        (epoch,) = db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    gaps = [(low, high) for body in bodies for low, high in unpack(Gap.CODE, body)["missing"]]
    return Rows(seqs, gaps, json.loads(epoch))
