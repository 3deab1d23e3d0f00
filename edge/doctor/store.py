"""Faults of what the gateway keeps: disk, state folder, journal, crashes, model, owner."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from edge.crashes import CrashLog, boot_id, boottime_s, culprit_of
from edge.doctor.finding import Finding, Grade, judged
from edge.journal import JournalSettings

MIN_FREE_MIB = 200
MIN_FREE_INODES = 1_000
FULL_SHARE = 0.8
OLD_BACKLOG_S = 3_600.0


def disk(state_dir: Path) -> Iterator[Finding]:
    """Room, inodes, and whether it can be written at all."""
    existing = next(parent for parent in (state_dir, *state_dir.parents) if parent.exists())
    free_mib = shutil.disk_usage(existing).free >> 20
    action = "free space (`du -xh / | sort -h | tail`), or lower journal.quota_mib"
    yield judged("disk", free_mib >= MIN_FREE_MIB, f"{free_mib} MiB free at {existing}", action)
    state = os.statvfs(existing)
    if state.f_files:
        few = state.f_favail < MIN_FREE_INODES
        yield judged("inodes", not few, f"{state.f_favail} free at {existing}", "too many small files: remove some")
    read_only = bool(state.f_flag & os.ST_RDONLY)
    if read_only:
        action = "after a card error the kernel mounts it so: `dmesg`, take a backup, replace the card"
        yield Finding("state folder", Grade.FAULT, f"{existing} is mounted read-only", action)
    else:
        writable = existing.is_dir() and os.access(existing, os.W_OK)
        trouble = "cannot be written by this user" if existing.is_dir() else "is a file; expected a folder"
        found = str(state_dir) if writable else f"{existing} {trouble}"
        yield judged("state folder", writable, found, "give the service's user write access to a folder")


def journal(settings: JournalSettings) -> Iterator[Finding]:
    """Integrity, room and what the platform has not taken yet."""
    path = Path(settings.path)
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)) as db:
            sound = db.execute("PRAGMA quick_check").fetchone()[0] == "ok"
            meta = {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM meta")}
            last = int(db.execute("SELECT max(seq) FROM fact").fetchone()[0] or 0)
    except (sqlite3.Error, ValueError) as error:
        yield _damaged(path, str(error))
        return
    if not sound:
        yield _damaged(path, "the integrity check failed")
        return
    used = path.stat().st_size / (settings.quota_mib << 20)
    waiting = max(0, last - int(meta.get("acked", 0)))
    found = f"sound, {used:.0%} of its quota used, {waiting} facts wait for the platform"
    action = "restore the link to the platform, or raise journal.quota_mib"
    yield judged("journal", used < FULL_SHARE, found, action)


def _damaged(path: Path, why: str) -> Finding:
    action = "nothing now: at the next start it is put aside and a new epoch begins; replace the card soon"
    return Finding("journal", Grade.FAULT, f"{path}: {why}", action)


def crashes(state_dir: Path) -> Iterator[Finding]:
    """Crashes of this boot, with the culprit."""
    recent: list[str] = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads((state_dir / CrashLog.FILE).read_text(encoding="utf-8"))
        if kept["boot"] == boot_id():
            recent = [str(who) for at, who in kept["crashes"] if 0 <= boottime_s() - at < OLD_BACKLOG_S]
    if not recent:
        yield Finding("crashes", Grade.OK, "none lately")
        return
    who = culprit_of((state_dir / CrashLog.TRACE).read_text(encoding="utf-8", errors="replace")) or recent[-1]
    found = f"{len(recent)} within the hour" + (f"; the last was in {who}" if who else "")
    yield Finding("crashes", Grade.FAULT, found, f"report it with {state_dir / CrashLog.TRACE}; after three, safe mode")


def certificate(path: Path, check: str, now_s: float) -> Iterator[Finding]:
    """Whether a certificate is there and valid now; it says so when the clock is the cause."""
    from cryptography import x509  # noqa: PLC0415 (only where there is one)

    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        yield Finding(check, Grade.FAULT, f"{path}: {error}", "enrol the gateway again")
        return
    begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    if now_s < begins.timestamp():
        action = "the clock is wrong: allow NTP; the certificate is well"
        yield Finding(check, Grade.FAULT, f"valid from {begins:%Y-%m-%d} on", action)
    elif now_s > ends.timestamp():
        yield Finding(check, Grade.FAULT, f"expired on {ends:%Y-%m-%d}", "enrol the gateway again")
    else:
        days = (ends.timestamp() - now_s) / 86_400
        action = "it should have been renewed by itself: check the link to the platform's CA"
        yield judged(check, days > 7, f"valid until {ends:%Y-%m-%d}", action, Grade.WARNING)
