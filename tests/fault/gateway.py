"""The whole gateway as a process: kills, a hung loop or writer and the watchdog, crash loops, a full disk."""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.fault._campaign import Outcome, Promise, Trial
from tests.fault._gateway import prepare
from tests.fault._torment import Victim, read_rows, tmpfs

PROCESS = "tests.fault._gateway"
READY_LIMIT_S = 5.0
LOOKS = 35  # seven seconds: alarms are looked after every five


class SystemdEnd:
    """A fake NOTIFY_SOCKET: when which word came."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self.heard: list[tuple[float, str]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while word := self._socket.recv(4096):
            self.heard.append((time.monotonic(), word.decode().partition("\n")[0]))

    def pings_after(self, moment_s: float) -> list[float]:
        return [at - moment_s for at, word in self.heard if word == "WATCHDOG=1" and at > moment_s]


def start(folder: Path, environment: dict[str, str] | None = None) -> tuple[Victim, int, float]:
    """The gateway, its port, and the seconds from exec to serving."""
    began_s = time.monotonic()
    victim = Victim(PROCESS, [str(folder)], environment or {}).start()
    victim.wait(lambda: any(line.startswith("ready") for line in victim.lines), 60)
    took_s = time.monotonic() - began_s
    line = next(line for line in reversed(victim.lines) if line.startswith("ready"))
    return victim, int(line.split()[1]), took_s


def health(port: int) -> dict:
    """/health, whatever its status code."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def kills(trial: Trial) -> Outcome:
    """kill -9 of the whole gateway; it is back, complete, and says that it crashed."""
    rng, folder, lost, ready = random.Random(trial.seed), trial.folder, 0, []
    prepare(folder)
    for _ in range(trial.count):
        victim, _, took_s = start(folder)
        ready.append(took_s)
        before = victim.acked
        victim.wait(lambda v=victim, b=before: v.acked > b)
        time.sleep(rng.uniform(0, 0.3))
        victim.kill()
        lost += read_rows(folder / "var" / "journal.db").lost(victim.acked)
        (folder / "var" / "crashes.json").unlink(missing_ok=True)  # kills, not crashes: no safe mode here
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    slow = sum(took_s > READY_LIMIT_S for took_s in ready) if busy < 1.5 else 0
    ready_note = "" if busy < 1.5 else f" (READY not judged: {busy:.1f} processes wait for each core)"
    figure = f"lost {lost} of {victim.acked}; READY median {statistics.median(ready):.2f} s, worst {max(ready):.2f} s{ready_note}"
    return Outcome(trial.count, int(lost > 0) + slow, figure)


def hung(trial: Trial) -> Outcome:
    """A hung loop or writer: no ping comes any more, early enough for WatchdogSec=30 to restart it within 60 s."""
    failed, figures = 0, []
    for number in range(trial.count):
        for what, silent_after_s in (("loop", 0.5), ("writer", 21.0)):
            if trial.scale == "quick" and what == "writer":
                continue
            folder = trial.folder / f"{what}{number}"
            prepare(folder)
            end = SystemdEnd(folder)
            victim, _, _ = start(folder, {"NOTIFY_SOCKET": end.path})
            time.sleep(6)
            lively = len(end.heard)
            hung_s = time.monotonic()
            victim.say(f"hang {what} 60")
            time.sleep(silent_after_s + 7)
            last_s = max(end.pings_after(hung_s), default=0.0)
            victim.kill()
            failed += lively < 2 or last_s > silent_after_s + 5
            figures.append(f"{what}: last ping {last_s:.1f} s after the hang")
    return Outcome(len(figures), failed, "; ".join(figures[:2]))


def crash_loop(trial: Trial) -> Outcome:
    """Aborts in a driver: the third start serves, drivers off, the culprit named; a clean stop ends it."""
    failed, figure = 0, ""
    for number in range(trial.count):
        folder = trial.folder / str(number)
        prepare(folder)
        for _ in range(3):
            victim, _, _ = start(folder)
            victim.say("crash rfid_llrp")
            victim.end()
        victim, port, _ = start(folder)
        said = health(port)
        victim.wait(lambda v=victim: v.acked > 0)
        named = "safe_mode" in said["causes"] and "safe_mode" in said["summary"]
        crashes = json.loads((folder / "var" / "crashes.json").read_text())["crashes"]
        culprits = {who for _, who in crashes}
        victim.say("stop")
        clean = victim.end() == 0
        victim, port, _ = start(folder)
        over = "safe_mode" not in health(port)["causes"]
        victim.kill()
        failed += not (named and clean and over and culprits == {"rfid_llrp"})
        figure = f"culprit {', '.join(culprits)}; API and journal alive: {named}; over after a clean stop: {over}"
    return Outcome(trial.count, failed, figure)


def full_disk(trial: Trial) -> Outcome:
    """Somebody fills the disk under the running gateway: /health answers throughout and is well again within 10 s."""
    failed, figure = 0, ""
    for number in range(trial.count):
        (folder := trial.folder / str(number)).mkdir()
        with tmpfs(folder, 8) as disk:
            prepare(disk)
            victim, port, _ = start(disk)
            filler, answers, slowest_s = disk / "filler", 0, 0.0
            said: dict = {}
            for _ in range(LOOKS):
                fill(filler)
                began_s = time.monotonic()
                said = health(port)
                answers += "status" in said
                slowest_s = max(slowest_s, time.monotonic() - began_s)
                time.sleep(0.2)
            filler.unlink()
            freed_s = time.monotonic()
            before = victim.acked
            victim.wait(lambda v=victim, b=before: v.acked > b, 15)
            took_s = time.monotonic() - freed_s
            alarmed = "journal_full" in said["causes"]
            victim.wait(lambda p=port: "journal_full" not in health(p)["causes"], 15)
            well_s = time.monotonic() - freed_s
            victim.kill()
            lost = read_rows(disk / "var" / "journal.db").lost(victim.acked)
        failed += answers < LOOKS or well_s > 10 or lost > 0 or not alarmed
        figure = (
            f"{answers} of {LOOKS} answers, slowest {slowest_s * 1000:.0f} ms, "
            f"{'with' if alarmed else 'WITHOUT'} the alarm; commits again after {took_s:.1f} s, alarm over after "
            f"{well_s:.1f} s; lost {lost}"
        )
    return Outcome(trial.count, failed, figure)


def fill(filler: Path) -> None:
    """Take the rest of the disk."""
    handle = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        while True:
            os.write(handle, bytes(4096))
    except OSError:
        return
    finally:
        os.close(handle)


PROMISES = (
    Promise("kills", "kill -9 of the gateway: nothing told is lost, READY < 5 s", (0, 50, 1000), kills),
    Promise("hung", "hung loop or writer: the watchdog is not fed any more", (0, 1, 5), hung),
    Promise(
        "crash_loop", "3 crashes in 10 min: safe mode, culprit named, API and journal alive", (0, 2, 20), crash_loop
    ),
    Promise(
        "full_disk", "full disk under the gateway: /health always answers, well again < 10 s", (0, 2, 10), full_disk
    ),
)
