"""Footprint of the gateway of the demo store: memory, start, idle CPU. Median of 5 starts.

`rss_mib`: after the first API call and the first inference, every device connected. `idle_cpu_percent`: of one core,
store and broker gone quiet (the devices' links are closed, so drivers only look for them). `demo_cpu_percent`: with
400 reads/s, 160 samples/s and 10 frames/s coming in, as an extra row.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from edge.demo import Cast
from edge.demo.config import gateway_toml

STARTS = 5
LIVE_S = 8.0
IDLE_S = 15.0


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_percent(pid: int, seconds: float) -> float:
    """Share of one core over the next seconds."""
    before_s = cpu_s(pid)
    time.sleep(seconds)
    return 100 * (cpu_s(pid) - before_s) / seconds


def get(api: str, path: str) -> Any:
    """One API call."""
    with urllib.request.urlopen(api + path, timeout=10) as answer:
        return json.load(answer)


def run(argv: list[str]) -> dict[str, object]:
    """Start it `--starts` times (default 5)."""
    starts = int(argv[argv.index("--starts") + 1]) if "--starts" in argv else STARTS
    ready_s: list[float] = []
    with tempfile.TemporaryDirectory(prefix="footprint-") as folder:
        cast = Cast(Path(folder))
        try:
            store = ["-m", "firmware_sim", "store", "--scenario", "demo", "--seed", "7", "--dir", folder]
            cast.start("store", [*store, "--seconds", "3600"])
            platform = cast.smartstore("platform", "platform", "--dir", folder, "--json")
            config, environment = gateway_toml(Path(folder), platform)
            for number in range(starts):
                started_s = time.perf_counter()
                told = cast.smartstore("gateway", "run", "--config", str(config), "--json", environment=environment)
                ready_s.append(time.perf_counter() - started_s)
                if number < starts - 1:
                    cast.stop("gateway")
            pid = cast.started[-1][1].pid
            time.sleep(4)
            get(told["api"], "/health")
            get(told["api"], "/v1/stock")
            busy = cpu_percent(pid, LIVE_S)
            memory = rss_mib(pid)
            devices = [device["state"] for device in get(told["api"], "/v1/devices")]
            cast.stop("store")
            cast.stop("platform")
            time.sleep(15)  # the first, quick attempts to find the devices again are over
            idle = cpu_percent(pid, IDLE_S)
        finally:
            cast.stop_all()
    return {
        "rss_mib": round(memory, 1),
        "idle_cpu_percent": round(idle, 2),
        "demo_cpu_percent": round(busy, 2),
        "ready_s": round(statistics.median(ready_s), 3),
        "ready_s_all": [round(value, 3) for value in ready_s],
        "devices_online": devices.count("online"),
        "devices": len(devices),
    }
