"""The reference store through the whole gateway: its share of one core and its memory, everything on.

16 readers at 400 reads/s, 20,000 tags, 200 cells at 10 samples/s, 500 adverts/s, 2 doors of 24x32 at 16 frames/s, with
journal (FULL), bridge to a real broker, reference platform and API. The devices are a process of their own, as are
broker and platform; none of them is counted. The row says what the devices sent and what the gateway took of it, and
compares the platform's stock of the weighed lanes with the truth, so that a gateway that drops its load fails.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from edge.demo import Cast, Stage, read_line
from edge.demo.config import gateway_toml
from tests.bench import _store_feed as feed
from tests.bench.footprint import cpu_s, get, rss_mib

SETTLE_S = 60.0
"""The first inventory: 20,000 tags at 6,400 reads/s are met 19 times each, and every lane is weighed."""
MEASURED_S = 60.0


def run(argv: list[str]) -> dict[str, object]:
    """`--seconds N` measures for so long (default 60)."""
    seconds = float(argv[argv.index("--seconds") + 1]) if "--seconds" in argv else MEASURED_S
    with tempfile.TemporaryDirectory(prefix="reference-store-") as folder:
        cast = Cast(Path(folder))
        try:
            return _measure(cast, seconds)
        finally:
            cast.stop_all()


def _measure(cast: Cast, seconds: float) -> dict[str, object]:
    cast.start("store", ["-m", "tests.bench._store_feed", str(cast.directory)])
    store = cast.started[-1][1]
    platform = cast.smartstore("platform", "platform", "--dir", str(cast.directory), "--json")
    config, environment = gateway_toml(cast.directory, platform)
    gateway = cast.smartstore("gateway", "run", "--config", str(config), "--json", environment=environment)
    pid, api = cast.started[-1][1].pid, str(gateway["api"])
    time.sleep(SETTLE_S)
    get(api, "/health"), get(api, "/v1/stock")

    def sent() -> dict[str, int]:
        store.send_signal(10)  # SIGUSR1: say what you sent
        assert store.stdout is not None
        told: dict[str, int] = json.loads(read_line(store.stdout, 10))
        return told

    stage = Stage(cast.directory, api)
    before, taken_before, cpu_before_s, began_s = sent(), _taken(api), cpu_s(pid), time.monotonic()
    facts_before = len(stage.committed()[1])
    time.sleep(seconds)
    share = (cpu_s(pid) - cpu_before_s) / (time.monotonic() - began_s)
    after, taken_after, memory = sent(), _taken(api), rss_mib(pid)
    facts = len(stage.committed()[1]) - facts_before
    return {
        "core_share": round(share, 4),
        "rss_mib": round(memory, 1),
        "seconds": seconds,
        **{f"{name}_sent_per_s": round((after[name] - before[name]) / seconds, 1) for name in _PER_S},
        **{f"{name}_taken_per_s": round((taken_after[name] - taken_before[name]) / seconds, 1) for name in _PER_S},
        "dropped": after["dropped"],
        "facts_per_s": round(facts / seconds, 2),
        "lanes_right": _lanes_right(stage, after["taken"]),
        "lanes": feed.MCUS * feed.CELLS,
        "devices_online": sum(device["state"] == "online" for device in _devices(api)),
    }


_PER_S = ("reads", "samples", "adverts", "frames")
_COUNTED = {
    "rfid_llrp": ("reads", 1),
    "shelf_mcu": ("samples", feed.CELLS),
    "ble_scanner": ("adverts", 1),
    "door_array": ("frames", 1),
}
"""What a device's counter of frames (of tags for a reader) means in the load's own unit."""


def _devices(api: str) -> list[dict[str, Any]]:
    devices: list[dict[str, Any]] = get(api, "/v1/devices")
    return devices


def _taken(api: str) -> dict[str, int]:
    """What the gateway's own counters say that it took, since its start."""
    taken = dict.fromkeys(_PER_S, 0)
    for device in _devices(api):
        name, unit = _COUNTED[device["kind"]]
        taken[name] += unit * device["counters"].get("tags_in" if name == "reads" else "frames", 0)
    return taken


def _lanes_right(stage: Stage, taken: int) -> int:
    """Weighed lanes whose (shelf, SKU) the platform counts exactly, of what was so a moment ago."""
    known, units = stage.platform_stock(), feed.Tags().units
    left = [len(of) for of in units]
    for number in range(max(0, taken - 1)):  # the last one may still be on its way
        left[number % (feed.MCUS * feed.CELLS)] -= 1
    return sum(
        known.get((f"s{m}", feed.gtin(m * feed.CELLS + c))) in {left[m * feed.CELLS + c], left[m * feed.CELLS + c] - 1}
        for m in range(feed.MCUS)
        for c in range(feed.CELLS)
    )
