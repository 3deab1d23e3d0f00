"""``smartstore replay``: the table of what another profile or antenna set would have changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge.core.plain import PlainError
from edge.core.presence import Profile, load_profile
from edge.core.site import Site, load_site
from edge.plan import read_json
from edge.replay import Comparison, Setting, compare, reads_of_tap
from edge.store_engine import identity_of

SHOWN = 40
ASSUMED_READER = "reader"


def replay_recording(
    recording: Path, device: str, planogram: Path | None, other: Path | None, profile: str
) -> tuple[dict[str, Any], Callable[[], None]]:
    """The comparison as plain data, and the way to print it. Raises PlainError, SettingsError and SiteError by name.

    Without a planogram each antenna counts as a shelf, and the products are those whose tags were read.
    """
    after_profile = _profile(profile)
    try:
        site = _site(planogram) if planogram else _as_read(recording, device or ASSUMED_READER)
        device = device or _only_reader(site, recording)
        if device not in {reader.device for reader in site.readers}:
            raise PlainError("--device", device, f"one of the readers {_readers(site)}")
        before, after = Setting(site, load_profile()), Setting(_site(other) if other else site, after_profile)
        compared = compare(reads_of_tap(recording, device), identity_of, before, after)
    except PlainError:
        raise
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise PlainError("recording", str(recording), f"a tap made with the moniker option tap= ({why})") from None
    return asdict(compared), lambda: _print(compared)


def _only_reader(site: Site, recording: Path) -> str:
    """The reader that the file is named after, else the planogram's only one."""
    devices = [reader.device for reader in site.readers]
    named = recording.name.partition(".")[0]
    if named in devices or len(devices) != 1:
        return named
    return devices[0]


def _readers(site: Site) -> str:
    return ", ".join(reader.device for reader in site.readers)


def _as_read(recording: Path, device: str) -> Site:
    """A store of what the recording holds."""
    ports: set[int] = set()
    tags: set[bytes] = set()
    for reads in reads_of_tap(recording, device):
        ports.update(reads.antenna.tolist())
        tags.update(epc.tobytes() for epc in reads.epc)
    gtins = sorted({gtin for epc in tags if (gtin := identity_of(epc)[0])})
    store = {"id": "recording", "tenant": "none", "name": "", "sgln": "urn:epc:id:sgln:0000000.00000.0"}
    return load_site(
        {
            "store": {**store, "timezone": "UTC", "hours": [["00:00", "24:00"]] * 7},
            "zones": [{"id": "floor"}],
            "products": [{"gtin": gtin, "tagged": True} for gtin in gtins],
            "shelves": [{"id": f"antenna-{port}", "zone": "floor"} for port in sorted(ports)],
            "readers": [
                {"device": device, "antennas": [{"port": port, "shelf": f"antenna-{port}"} for port in sorted(ports)]}
            ],
        }
    )


def _profile(name: str) -> Profile:
    try:
        return load_profile(name)
    except KeyError:
        raise PlainError("--profile", name, "learned, window, asset-tracking or retail-garment") from None


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
