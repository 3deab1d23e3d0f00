"""``python -m tests.fault [PART …] [--quick|--full] [--seed N] [--only NAME]``: the fault campaign.

Parts are the modules of this package; without one, all of them. Prints progress, a table promise | tried | failed |
figure, and one JSON object on the last line. Exit code 1 when a promise was broken. ``--full`` goes on where an
interrupted run stopped (``--fresh`` begins anew); ``--report`` writes docs/reliability.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import tests.fault
from tests.fault._campaign import Campaign, Promise, Row, table, write_report

BRIDGE_COUNTS = {"default": ["--kills", "20", "--stall-s", "30", "--outage-h", "1"], "full": []}


def names() -> list[str]:
    """The modules of `tests.fault` that are parts."""
    found = (name for _, name, _ in pkgutil.iter_modules(tests.fault.__path__))
    return sorted(name for name in found if not name.startswith(("_", "test_")))


def promises(part: str) -> tuple[Promise, ...]:
    """What a part checks."""
    module = importlib.import_module(f"tests.fault.{part}")
    return tuple(getattr(module, "PROMISES", ()))


def bridge_rows(scale: str, rest: list[str]) -> list[Row]:
    """The bridge's campaign has its own counts; ``--quick`` leaves it to the tests of the bridge."""
    if scale == "quick" and not rest:
        return []
    module = importlib.import_module("tests.fault.bridge")
    told = module.run(rest or BRIDGE_COUNTS[scale])
    return [
        Row(row["promise"], row["tried"], row["failed"], row["figure"], "bridge", row["name"], 0, row["seconds"])
        for row in told["rows"]
    ]


def main(argv: list[str]) -> int:
    """Run; 1 when a promise was broken, 2 for a name that is not there."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(names())}; default: all")
    parser.add_argument("--quick", action="store_const", dest="scale", const="quick", default="default")
    parser.add_argument("--default", action="store_const", dest="scale", const="default")
    parser.add_argument("--full", action="store_const", dest="scale", const="full")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="one promise by its name")
    parser.add_argument("--count", type=int, help="so many times instead of the scale's count")
    parser.add_argument("--fresh", action="store_true", help="forget what an interrupted run has done")
    parser.add_argument("--report", action="store_true", help="write docs/reliability.md")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    options, rest = parser.parse_known_args(argv)
    unknown = [part for part in options.parts if part not in names()]
    if unknown:
        parser.error(f"part {unknown[0]!r}: expected one of {', '.join(names())}")

    def say(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    def keep(rows: list[Row]) -> None:
        if options.report:
            write_report(options.scale, options.seed, rows)

    rows = run_parts(options, rest, say, keep)
    say("\n" + table(rows))
    print(json.dumps({"scale": options.scale, "seed": options.seed, "rows": [asdict(row) for row in rows]}))
    return 1 if any(row.failed for row in rows) or not rows else 0


def run_parts(
    options: argparse.Namespace, rest: list[str], say: Callable[[str], None], keep: Callable[[list[Row]], None]
) -> list[Row]:
    """Every row asked for; `keep` sees the rows so far after each. Only --full keeps its state between runs."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        state = None if options.scale == "full" and options.count is None else Path(scratch) / "state.json"
        campaign = Campaign(options.scale, options.seed, say, resume=not options.fresh, state=state)
        for part in options.parts or names():
            if part == "bridge":
                rows += _bridge(options, rest)
                keep(rows)
                continue
            for promise in promises(part):
                if options.only not in (None, promise.name):
                    continue
                if options.count is not None:
                    promise = Promise(promise.name, promise.text, (options.count,) * 3, promise.check)
                row = campaign.run(part, promise)
                if row is not None:
                    rows.append(row)
                    keep(rows)
    return rows


def _bridge(options: argparse.Namespace, rest: list[str]) -> list[Row]:
    known = [row.__name__ for row in importlib.import_module("tests.fault.bridge").ROWS]
    if options.only is None:
        return bridge_rows(options.scale, rest)
    if options.only not in known:
        return []
    return bridge_rows(options.scale, [*(rest or BRIDGE_COUNTS.get(options.scale, [])), "--only", options.only])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
