"""Starts a simulated device, or a whole store, as a process: `smartstore sim ROLE --help`.

Every role prints one JSON object with `"ready": true` and how to reach it, then plays until SIGTERM or Ctrl-C.
Exit codes: 0 stopped as told, 1 a wire could not be opened, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

from firmware_sim import alone
from firmware_sim.scenario import SCENARIOS
from firmware_sim.serve import StoreOptions, run_store


@dataclass(frozen=True, slots=True)
class _Solo:
    """A role on its own: its name, what it is, and what plays it."""

    name: str
    title: str
    baud: int
    play: Callable[[argparse.Namespace], Coroutine[None, None, None]]


SOLOS = (
    _Solo("reader", "LLRP reader (TCP)", 0, alone.reader),
    _Solo("r200", "serial UHF module of the YRM100/M100/R200 family", 115_200, alone.r200),
    _Solo("shelf", "shelf MCU (SDP/1): the first weight controller of the demo store", 115_200, alone.shelf),
    _Solo("door", "door array 8x8 (SDP/1): the door of the demo store", 460_800, alone.door),
    _Solo("scanner", "BLE scanner MCU (SDP/1): the first scanner of the demo store", 115_200, alone.scanner),
    _Solo("sics", "scale that speaks MT-SICS", 9_600, alone.sics),
    _Solo("modbus", "weight transmitter that speaks Modbus RTU", 9_600, alone.modbus),
)


PHONES = "Phones of shoppers in the demo store. The till's token is read from SMARTSTORE_TILL_TOKEN."


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = _number(kind, text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
        return value

    return read


def _number(kind: type[int] | type[float], text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"{text}: expected {expected}") from None


def _port(text: str) -> int:
    value = int(_number(int, text))
    if not 0 <= value < 65_536:
        raise argparse.ArgumentTypeError(f"port {text}: expected 0 (any free port) to 65535")
    return value


def _seed(text: str) -> int:
    return int(_number(int, text))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("smartstore sim", description=(__doc__ or "").split("\n\n")[1])
    roles = parser.add_subparsers(dest="role", required=True, metavar="ROLE")
    store = roles.add_parser("store", help="a whole virtual store", description="A whole virtual store.")
    store.add_argument("--dir", type=Path, required=True, help="where site.json, devices.json, truth.json and ttys go")
    store.add_argument("--scenario", choices=sorted(SCENARIOS), default="demo", help="default: demo")
    store.add_argument("--seed", type=_seed, default=7, help="same seed, same store and same day (default: 7)")
    store.add_argument("--seconds", type=_positive(float), default=40.0, help="how long shoppers come (default: 40)")
    store.add_argument("--speed", type=_positive(float), default=1.0, help="simulated seconds a real one (default: 1)")
    store.add_argument("--tags", type=_positive(int), default=400, help="items with tags (default: 400)")
    store.add_argument("--open-after", type=float, default=15.0, help="open even if not all devices were contacted")
    store.add_argument("--no-bluez", action="store_true", help="no private D-Bus: all scanners on serial ports")
    phones = roles.add_parser("phones", help="shoppers' phones, one of which cheats", description=PHONES)
    phones.add_argument("--api", required=True, help="http address of the store's gateway")
    phones.add_argument("--dir", type=Path, required=True, help="where phones.json goes")
    phones.add_argument("--seed", type=_seed, default=7, help="that of the store (default: 7)")
    phones.set_defaults(play=alone.phones)
    for solo in SOLOS:
        _add_solo(roles.add_parser(solo.name, help=solo.title, description=solo.title + "."), solo)
    return parser


def _add_solo(one: argparse.ArgumentParser, solo: _Solo) -> None:
    one.set_defaults(play=solo.play, baud=solo.baud)
    one.add_argument("--port", type=_port, default=0 if solo.name == "reader" else None, help="TCP port; 0: a free one")
    if solo.baud:
        one.add_argument("--link", type=Path, help="symlink to the pseudo-terminal (without --port)")
    one.add_argument("--seed", type=_seed, default=1, help="same seed, same readings (default: 1)")
    one.add_argument("--speed", type=_positive(float), default=1.0, help="simulated seconds a real one (default: 1)")
    if solo.name in ("reader", "r200"):
        one.add_argument("--tags", type=_positive(int), default=100, help="tags in front of it (default: 100)")
        one.add_argument(
            "--radio",
            choices=("mild", "field"),
            default="mild",
            help="mild: a good shop fitter's; field: neighbours are read too, people stand before tags (default: mild)",
        )
    if solo.name == "reader":
        one.add_argument("--antennas", type=_positive(int), default=4, help="antenna ports (default: 4)")
        one.add_argument("--omit-unchanged", action="store_true", help="leave out ids equal to the tag's before")
        one.add_argument("--llrp-1-1", action="store_true", help="also speak LLRP 1.1")
    if solo.name in ("shelf", "door", "scanner"):
        one.add_argument("--scenario", choices=sorted(SCENARIOS), default="quiet-morning")
        one.add_argument("--seconds", type=_positive(float), default=3600.0, help="how long shoppers come")


def main(argv: list[str] | None = None) -> int:
    """Run one role; returns the exit code."""
    options = _parser().parse_args(argv)
    if options.role == "store":
        story = run_store(
            StoreOptions(
                options.dir,
                options.scenario,
                options.seed,
                options.seconds,
                options.speed,
                int(options.tags),
                options.open_after,
                not options.no_bluez,
            )
        )
    else:
        story = options.play(options)
    try:
        asyncio.run(story)
    except OSError as error:
        sys.stderr.write(f"smartstore sim {options.role}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
