"""``smartstore replay``: the table of what another profile or antenna set would have changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge.core.errors import SettingsError
from edge.core.presence import Profile, load_profile
from edge.core.site import Site, load_site
from edge.main import read_json
from edge.replay import Comparison, Setting, compare, reads_of_tap
from edge.store_engine import identity_of

SHOWN = 40


def replay_recording(
    recording: Path, device: str, planogram: Path, other: Path | None, profile: str
) -> tuple[dict[str, Any], Callable[[], None]]:
    """The comparison as plain data, and the way to print it. Raises SettingsError and SiteError by name."""
    site = _site(planogram)
    before, after = Setting(site, load_profile()), Setting(_site(other) if other else site, _profile(profile))
    if device not in {reader.device for reader in site.readers}:
        known = ", ".join(reader.device for reader in site.readers)
        raise SettingsError(str(planogram), "--device", device, f"one of the readers {known}")
    try:
        compared = compare(reads_of_tap(recording, device), identity_of, before, after)
    except (OSError, ValueError) as error:
        raise SettingsError(
            str(recording), "recording", str(error), "a tap made with the moniker option tap="
        ) from None
    return asdict(compared), lambda: _print(compared)


def _profile(name: str) -> Profile:
    try:
        return load_profile(name)
    except KeyError:
        expected = "learned, window, asset-tracking or retail-garment"
        raise SettingsError("command line", "--profile", name, expected) from None


def _site(path: Path) -> Site:
    return load_site(read_json(path, "planogram"))


def _print(compared: Comparison) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    console.print(f"{compared.reads} reads of {compared.tags} tags in {compared.seconds:.0f} s")
    facts = Table("facts", "now", "then", box=None)
    for kind, (before, after) in compared.facts.items():
        facts.add_row(kind, str(before), str(after))
    console.print(facts)
    tags = Table("tag", "now at", "then at", "disagreed for", box=None)
    for row in compared.differences[:SHOWN]:
        tags.add_row(row.epc, row.before or "nowhere", row.after or "nowhere", f"{row.disagreed_s:.0f} s")
    console.print(tags)
    if len(compared.differences) > SHOWN:
        console.print(f"… and {len(compared.differences) - SHOWN} more (--json has all)")
