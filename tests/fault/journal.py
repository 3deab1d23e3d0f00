"""The journal under torment: kills, power cuts, full disk, quota, a disk that fails at fsync, damaged files, clones."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
import time
from pathlib import Path

from edge.core.errors import JournalError
from edge.core.ports import Commit
from edge.journal import InlineWriter, Journal, JournalSettings, ThreadWriter
from edge.journal.log import begin_boot, open_store
from edge.journal.store import Store
from tests.fault._campaign import NotHere, Outcome, Promise, Trial
from tests.fault._journal import FATAL_EXIT, heat, instant, stock
from tests.fault._torment import Victim, ext4, mount_loop, read_rows, run_tool, tmpfs, unmount
from tests.virtual_time import run_virtual

PROCESS = "tests.fault._journal"


def kills(trial: Trial) -> Outcome:
    """kill -9 at random moments of a busy journal, again and again over the same file."""
    rng, path = random.Random(trial.seed), trial.folder / "j.db"
    lost = told = 0
    for _ in range(trial.count):
        victim = Victim(PROCESS, [str(path)]).start()
        victim.wait(lambda v=victim: v.acked > 0)
        time.sleep(rng.uniform(0.0, 0.12))
        victim.kill()
        told = max(told, victim.acked)
        lost += read_rows(path).lost(victim.acked)
    rows = read_rows(path)
    twice = len(rows.seqs) - len(set(rows.seqs))
    holes = rows.seqs[-1] - len(rows.seqs)
    return Outcome(
        trial.count, int(lost + twice + holes > 0), f"{told} acknowledged; lost {lost}, twice {twice}, holes {holes}"
    )


def power_cuts(trial: Trial) -> Outcome:
    """The file system loses its power; judged are the seqs told before the switch."""
    rng = random.Random(trial.seed)
    lost = told = broken = 0
    with ext4(trial.folder) as (point, cut):
        path = point / "j.db"
        for _ in range(trial.count):
            victim = Victim(PROCESS, [str(path)]).start()
            victim.wait(lambda v=victim: v.acked > 20)
            time.sleep(rng.uniform(0.0, 0.4))
            acked = victim.acked
            cut()
            victim.kill()
            unmount(point)
            mount_loop(trial.folder / "disk.img", point)
            gone = read_rows(path).lost(acked)
            lost, told, broken = lost + gone, told + acked, broken + bool(gone)
            path.unlink()
            for rest in point.glob("j.db*"):
                rest.unlink()
    return Outcome(trial.count, broken, f"{lost} of {told} acknowledged facts lost")


SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int fails(void) {
    static int said; const char *f = getenv("FSYNC_FAILS");
    if (!f || access(f, F_OK) != 0) return 0;
    if (!said) { said = 1; usleep(1000000); (void)!write(1, "fails\\n", 6); }
    return 1; }
int fsync(int fd) {
    static int (*real)(int); if (!real) real = dlsym(RTLD_NEXT, "fsync");
    if (fails()) { errno = EIO; return -1; } return real(fd); }
int fdatasync(int fd) {
    static int (*real)(int); if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    if (fails()) { errno = EIO; return -1; } return real(fd); }
"""


def fsync_errors(trial: Trial) -> Outcome:
    """fsync fails from a random moment on: exit with 74 within 5 s, nothing acknowledged is missing afterwards.

    The first fsync that fails takes a second, so that what was committed before is told, then says ``fails`` on the same
    pipe: every seq told after that word would be a lie.
    """
    if shutil.which("cc") is None:
        raise NotHere("cc is not installed")
    source, shim, switch = trial.folder / "shim.c", trial.folder / "shim.so", trial.folder / "fails"
    source.write_text(SHIM)
    run_tool("cc", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl")
    environment = {"LD_PRELOAD": str(shim), "FSYNC_FAILS": str(switch)}
    rng, path, failed, told = random.Random(trial.seed), trial.folder / "j.db", 0, 0
    for _ in range(trial.count):
        victim = Victim(PROCESS, [str(path)], environment).start()
        victim.wait(lambda v=victim: v.acked > 10)
        time.sleep(rng.uniform(0, 0.2))
        switch.touch()
        code = victim.end(6)  # the slow fsync, and five seconds
        switch.unlink()
        after = victim.acked - victim.acked_at.get("fails", 0)
        told = victim.acked
        failed += code != FATAL_EXIT or after > 0 or read_rows(path).lost(victim.acked) > 0
    return Outcome(
        trial.count, failed, f"{told} acknowledged, exit code {FATAL_EXIT} each time, none lost" if not failed else ""
    )


def damaged_files(trial: Trial) -> Outcome:
    """Pages overwritten, files cut short or emptied: put aside, a new epoch, never a refusal to start."""
    rng, failed, aside = random.Random(trial.seed), 0, 0
    for number in range(trial.count):
        folder = trial.folder / str(number)
        folder.mkdir()
        path = folder / "j.db"
        epoch = asyncio.run(_fill(path, 3_000))
        how = _damage(path, rng)
        try:
            aside += _survives(path, epoch)
        except (AssertionError, JournalError, sqlite3.Error) as error:
            trial.say(f"damage {how!r}: {type(error).__name__}: {error}")
            failed += 1
    return Outcome(trial.count, failed, f"{aside} put aside with a new epoch, the others hurt only free pages")


async def _fill(path: Path, count: int) -> str:
    settings = JournalSettings(path=str(path))
    store, kept = open_store(settings)
    journal = Journal(store, InlineWriter(), settings, kept.boot, _never)
    for _ in range(count // 100):
        now = instant()
        await journal.append(Commit([(stock(now.mono_us), now)] * 100, {"k": "v" * 50}), now)
    await journal.close()
    return store.epoch


def _never(error: JournalError) -> None:
    raise AssertionError(error)


def _damage(path: Path, rng: random.Random) -> str:
    how = rng.choice(("pages", "bits", "first page", "head", "short", "empty", "noise"))
    size = path.stat().st_size
    with path.open("r+b") as file:
        if how == "pages":
            for _ in range(rng.randrange(1, 20)):
                file.seek(4096 * rng.randrange(1, size // 4096))
                file.write(rng.randbytes(4096))
        elif how in ("bits", "first page"):  # SQLite keeps no checksums: found only when a value or a name is used
            for _ in range(rng.randrange(1, 200) if how == "bits" else rng.randrange(1, 4)):
                at = rng.randrange(size if how == "bits" else 4096)
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes((byte ^ 1 << rng.randrange(8),)))
        elif how == "head":
            file.write(rng.randbytes(rng.randrange(1, 4096)))
        elif how == "short":
            file.truncate(rng.randrange(1, size))
        elif how == "empty":
            file.truncate(0)
        else:
            file.write(rng.randbytes(size))
    return how


def _survives(path: Path, epoch: str) -> bool:
    """Two starts: the second one after the background check marked the file, as `Gateway._check_file` does."""
    settings = JournalSettings(path=str(path))
    for _ in range(3):
        store, kept = open_store(settings)
        if store.epoch != epoch:
            store.close()
            return True
        if store.quick_check():
            store.close()
            return False

        async def mark(store: Store = store, boot: int = kept.boot) -> None:
            fatal: list[JournalError] = []
            journal = Journal(store, InlineWriter(), settings, boot, fatal.append)
            waiter = journal.mark_damaged()
            done, _ = await asyncio.wait([waiter], timeout=1)
            assert done
            assert fatal or waiter.exception() is None

        asyncio.run(mark())
        store.close()
    raise AssertionError("the damaged file was opened three times and never put aside")


def full_disk(trial: Trial) -> Outcome:
    """A 4 MB disk fills up, stays full, and gets room again: losses covered once, stock kept, back in < 10 s."""
    failed, figures = 0, []
    for number in range(trial.count):
        folder = trial.folder / str(number)
        folder.mkdir()
        with tmpfs(folder, 4) as disk:
            wrong, figure = asyncio.run(_fill_up(disk, random.Random(trial.seed + number)))
        failed += wrong
        figures.append(figure)
    return Outcome(trial.count, failed, figures[-1])


async def _fill_up(disk: Path, rng: random.Random) -> tuple[bool, str]:
    path = disk / "j.db"
    settings = JournalSettings(path=str(path), quota_mib=64, urgent_delay_s=0.005, telemetry_delay_s=0.05)
    store, kept = open_store(settings)
    assert store.keep_ballast()
    journal = Journal(store, ThreadWriter(), settings, kept.boot, _never)
    loop, stocks, filler = asyncio.get_running_loop(), [], disk / "filler"
    for phase, seconds in (("filling", 3.0), ("full", 3.0)):
        until_s = loop.time() + seconds
        while loop.time() < until_s:
            if phase == "full":
                _take_all(filler)
            now = instant()
            journal.append(Commit([(heat(now.mono_us), now)] * rng.randrange(5, 60), {}), now)
            if rng.random() < 0.05:
                journal.append(Commit([(stock(now.mono_us), now)], {}), now)
                stocks.append(journal._next_seq)
            await asyncio.sleep(0.005)
    was_full = journal.full
    filler.unlink(missing_ok=True)
    freed_s = loop.time()
    while (journal.full or journal.pending) and loop.time() - freed_s < 15:
        await asyncio.sleep(0.05)
    took_s = loop.time() - freed_s
    last = journal.last_seq
    try:
        await asyncio.wait_for(journal.close(), 15)
    except TimeoutError:
        return True, f"still full {took_s:.0f} s after the room came back: {journal.pending} facts wait"
    rows = read_rows(path)
    have = set(rows.seqs)
    lost_stock = sum(seq not in have for seq in stocks)
    uncovered, twice = rows.lost(last), rows.covered_twice()
    dropped = sum(high - low + 1 for low, high in rows.gaps)
    wrong = bool(lost_stock or uncovered or twice or took_s > 10 or not was_full)
    return wrong, (
        f"{dropped} of {last} dropped, uncovered {uncovered}, covered twice {twice}, stock lost {lost_stock} of "
        f"{len(stocks)}, back after {took_s:.1f} s"
    )


def _take_all(filler: Path) -> None:
    """Somebody else's file takes the rest of the disk."""
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def quota(trial: Trial) -> Outcome:
    """Nobody acknowledges and the quota is small: the file stays within it, each drop is covered once."""
    failed, figure = 0, ""
    for number in range(trial.count):
        path = trial.folder / f"{number}.db"
        wrong, figure = run_virtual(_exceed(path, random.Random(trial.seed + number)))
        failed += wrong
    return Outcome(trial.count, failed, figure)


async def _exceed(path: Path, rng: random.Random) -> tuple[bool, str]:
    settings = JournalSettings(path=str(path), quota_mib=2)
    store, kept = open_store(settings)
    journal = Journal(store, InlineWriter(), settings, kept.boot, _never)
    stocks = []
    for _ in range(900):
        now = instant()
        journal.append(Commit([(heat(now.mono_us), now)] * rng.randrange(20, 80), {}), now)
        if rng.random() < 0.2:
            await journal.append(Commit([(stock(now.mono_us), now)], {}), now)
            stocks.append(journal.last_seq)
        await asyncio.sleep(1)
    await journal.flush()
    last = journal.last_seq
    await journal.close()
    size_mib = path.stat().st_size / 2**20
    rows = read_rows(path)
    have = set(rows.seqs)
    lost_stock = sum(seq not in have for seq in stocks)
    uncovered, twice = rows.lost(last), rows.covered_twice()
    dropped = sum(high - low + 1 for low, high in rows.gaps)
    wrong = bool(lost_stock or uncovered or twice or size_mib > 2.01 or not dropped)
    return (
        wrong,
        f"{dropped} of {last} dropped, uncovered {uncovered}, twice {twice}, stock lost {lost_stock}; {size_mib:.2f} of 2 MiB",
    )


def clones(trial: Trial) -> Outcome:
    """A copied card on another machine, and a restored one, never go on with the old epoch."""
    failed = 0
    for number in range(trial.count):
        path = trial.folder / f"{number}.db"
        settings = JournalSettings(path=str(path))
        store, _ = open_store(settings, "machine-1")
        first = store.epoch
        store.close()
        copy = trial.folder / f"{number}-copy.db"
        shutil.copy(path, copy)
        store, kept = open_store(JournalSettings(path=str(copy)), "machine-2")
        failed += store.epoch == first or kept.new_epoch_cause != "cloned"
        store.close()
        store, kept = open_store(settings, "machine-1")
        failed += store.epoch != first
        store.close()
    return Outcome(trial.count, failed, "the copy began a new epoch, the original went on")


def dead_disk(trial: Trial) -> Outcome:
    """A card that dies under an open journal: the next write ends in a named JournalError, never in a hang or a lie."""
    failed = 0
    with ext4(trial.folder, 16) as (point, cut):
        for number in range(trial.count):
            store = Store(point / f"{number}.db")
            begin_boot(store)
            cut()
            try:
                begin_boot(store)
                failed += 1
            except JournalError:
                pass
            store.close()
            unmount(point)
            mount_loop(trial.folder / "disk.img", point)
    return Outcome(trial.count, failed, "JournalError each time" if not failed else "a write was reported as done")


PROMISES = (
    Promise("kills", "kill -9 of a writing journal: nothing acknowledged lost, nothing twice", (2, 200, 1000), kills),
    Promise("power_cuts", "power cut (ext4 shutdown): nothing acknowledged before it lost", (1, 60, 300), power_cuts),
    Promise(
        "fsync_errors", "fsync fails: the process ends at once, nothing acknowledged lost", (1, 10, 50), fsync_errors
    ),
    Promise("damaged_files", "damaged journal: put aside, new epoch, always starts", (3, 60, 500), damaged_files),
    Promise("full_disk", "full disk: each loss in one Gap, 0 stock facts lost, back in < 10 s", (0, 5, 20), full_disk),
    Promise("quota", "quota: the file stays within it, each loss in one Gap, 0 stock facts lost", (1, 5, 20), quota),
    Promise("clones", "cloned or restored card: always a new epoch", (3, 20, 100), clones),
    Promise("dead_disk", "disk dies under the open journal: a named error", (1, 3, 10), dead_disk),
)
