"""Faults of updates: no root of trust, refusals, a repository that has not been reached for long, a trial under way."""

from __future__ import annotations

from collections.abc import Iterator

from edge.core.instant import US_PER_S
from edge.doctor.finding import Finding, Grade, judged
from edge.updates.files import Exchange
from edge.updates.settings import UpdatePaths

LONG_US = 7 * 86_400 * US_PER_S  # as long as a timestamp of the publisher lives


def look(paths: UpdatePaths, wall_us: int) -> Iterator[Finding]:
    """What `smartstore update` would stumble over; nothing is fetched. wall_us: now (µs since 1970)."""
    action = "put the publisher's root metadata there (`smartstore release init` makes it), or correct updates.root"
    yield judged("update root", paths.root.is_file(), str(paths.root), action)
    good = paths.slots / "good"
    whole = (good / ".complete").exists()
    found = str(good.readlink()) if good.is_symlink() else f"{good} is not there"
    yield judged("good release", whole, found, "run the installer again: it fills a slot and turns the links")
    status = Exchange(paths.state / "updates").status()
    refused = str(status.get("refused", ""))
    action = "docs/operations.md, Updates, says what each reason means; `smartstore update check` asks again"
    yield judged("updates", not refused, refused or "none was refused", action, Grade.WARNING)
    checked_us = status.get("checked_us", 0)
    silent = not isinstance(checked_us, int) or wall_us - checked_us > LONG_US
    days = (wall_us - checked_us) / 86_400 / US_PER_S if isinstance(checked_us, int) and checked_us else 0
    found = f"last reached {days:.0f} days ago" if days else "never reached yet"
    action = "check updates.url and the network, and `systemctl list-timers smartstore-update.timer`"
    yield judged("update repository", not silent, found, action, Grade.WARNING)
    if (paths.slots / "trial.json").exists():
        yield Finding("update trial", Grade.OK, "a new release is being judged; it is kept or taken back by itself")
