"""Faults of the machine: interpreter, clock, memory, card, power, heat, network, Bluetooth.

Everything is read below `root`, so that tests can plant each fault in a folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from edge.clock import BUILD_TIME_US, Sources, kernel_says_synced
from edge.doctor.finding import Finding, Grade, judged

NEEDED_MODULES = ("numpy", "paho.mqtt", "bleak", "onnxruntime", "fastapi", "sqlite_utils", "serial")
MIN_PYTHON = (3, 11)
MIN_MEMORY_MIB = 100
HOT_C = 80.0  # a Raspberry Pi throttles itself from 80 °C on (raspberrypi.com, frequency management)
WORN_TENTHS = 9  # JEDEC eMMC 5.0, EXT_CSD[268..269]: 0x09 = 80 to 90 % of the life time used
UNDERVOLTAGE_NOW, UNDERVOLTAGE_BEFORE = 1 << 0, 1 << 16  # get_throttled of the Raspberry Pi firmware


def read(root: Path, path: str) -> str:
    """A small file below the root, "" where it is not there or cannot be read."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (root / path).read_text(encoding="ascii").strip("\0\n ")
    return ""


def software() -> Iterator[Finding]:
    """Interpreter and packages."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield judged("python", sys.version_info >= MIN_PYTHON, version, "install Python 3.11 or later")
    missing = [name for name in NEEDED_MODULES if importlib.util.find_spec(name.split(".")[0]) is None]
    found = f"missing: {', '.join(missing)}" if missing else "complete"
    yield judged("packages", not missing, found, "run the installer again (here: `make setup`)")


def clock(sources: Sources | None = None) -> Iterator[Finding]:
    """Wall time and who disciplines it."""
    sources = sources or Sources(synced=kernel_says_synced)
    early = sources.realtime_ns() // 1000 < BUILD_TIME_US
    found = "before this software was built" if early else "plausible"
    yield judged("clock", not early, found, "allow NTP (UDP 123), or set an NTP server on the network page")
    synced = sources.synced()
    found = "disciplined by NTP" if synced else "not synchronised"
    action = "check `timedatectl`; until then facts say so, and offers and updates wait"
    yield judged("ntp", synced, found, action, Grade.WARNING)


def hardware(root: Path) -> Iterator[Finding]:
    """Memory, heat, power, card, watchdog."""
    rows = dict(line.split(":", 1) for line in read(root, "proc/meminfo").splitlines() if ":" in line)
    if "MemAvailable" in rows:
        free_mib = int(rows["MemAvailable"].split()[0]) >> 10
        yield judged(
            "memory", free_mib >= MIN_MEMORY_MIB, f"{free_mib} MiB available", "`ps aux --sort -rss` names who has it"
        )
    heats = [read(root, str(zone.relative_to(root))) for zone in root.glob("sys/class/thermal/thermal_zone*/temp")]
    if degrees := [int(heat) / 1000 for heat in heats if heat.lstrip("-").isdigit()]:
        action = "give it air: above 80 °C it slows down"
        yield judged("temperature", max(degrees) < HOT_C, f"{max(degrees):.0f} °C", action, Grade.WARNING)
    yield from _power(root)
    yield from _card(root)
    watchdog = (root / "dev/watchdog").exists()
    found = "/dev/watchdog" if watchdog else "none"
    action = "without it a frozen kernel stays frozen: dtparam=watchdog=on on a Raspberry Pi"
    yield judged("hardware watchdog", watchdog, found, action, Grade.WARNING)


def _power(root: Path) -> Iterator[Finding]:
    told = read(root, "sys/devices/platform/soc/soc:firmware/get_throttled")
    with contextlib.suppress(ValueError):
        bits = int(told, 16)
        if bits & UNDERVOLTAGE_NOW:
            yield Finding("power", Grade.FAULT, "under-voltage now", "use the supply and cable made for this board")
        elif bits & UNDERVOLTAGE_BEFORE:
            action = "a weak supply or cable: USB devices fail first"
            yield Finding("power", Grade.WARNING, "under-voltage since the last start", action)
        else:
            yield Finding("power", Grade.OK, "no under-voltage since the last start")


def _card(root: Path) -> Iterator[Finding]:
    for card in sorted(root.glob("sys/block/mmcblk*/device/life_time")):
        with contextlib.suppress(ValueError):
            used = max(int(value, 16) for value in read(root, str(card.relative_to(root))).split())
            name = card.parents[1].name
            found = f"{name}: at most {used * 10} % of its life used"
            yield judged("card wear", used < WORN_TENTHS, found, "replace it soon; take a backup now", Grade.WARNING)


def network(root: Path) -> Iterator[Finding]:
    """Whether there is a way out at all."""
    lines = [line.split() for line in read(root, "proc/net/route").splitlines()[1:]]
    ways = [line[0] for line in lines if len(line) > 1 and line[1] == "00000000"]
    found = f"default route by {', '.join(ways)}" if ways else "no default route"
    action = "check the cable, the Wi-Fi password, and DHCP; the store goes on working, its facts wait"
    yield judged("network", bool(ways), found, action, Grade.WARNING)


def bluetooth(root: Path, bus_address: str, adapters: list[str]) -> Iterator[Finding]:
    """D-Bus, adapters and their switches; asked only where a local adapter is set up."""
    path = bus_address.partition("path=")[2].partition(",")[0] or "run/dbus/system_bus_socket"
    bus = (root / path.lstrip("/")).exists()
    yield judged("d-bus", bus, path if bus else f"{path} is not there", "install dbus and bluez, and start them")
    for adapter in adapters:
        there = (root / "sys/class/bluetooth" / adapter).exists()
        found = f"{adapter} is there" if there else f"{adapter} is not there"
        yield judged(f"adapter {adapter}", there, found, "`ls /sys/class/bluetooth` lists adapters; plug it in again")
    for switch in sorted(root.glob("sys/class/rfkill/rfkill*")):
        relative = str(switch.relative_to(root))
        blocked = {read(root, f"{relative}/soft"), read(root, f"{relative}/hard")}
        if read(root, f"{relative}/type") == "bluetooth" and "1" in blocked:
            yield Finding("bluetooth switch", Grade.FAULT, f"{switch.name} blocks it", "`rfkill unblock bluetooth`")
