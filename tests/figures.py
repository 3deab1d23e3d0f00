"""The common front of benchmarks and accuracy commands: finds the module by name, runs it, prints one JSON line."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import time
from typing import Any

CALIBRATION_ROUNDS = 200_000


def cpu_score() -> float:
    """How fast this machine is now: SHA-256 rounds over 64 bytes a microsecond of CPU, one thread."""
    block = b"\x5a" * 64
    started_s = time.process_time()
    for _ in range(CALIBRATION_ROUNDS):
        block = hashlib.sha256(block).digest() * 2
    return round(CALIBRATION_ROUNDS / ((time.process_time() - started_s) * 1e6), 4)


def names(group: str) -> list[str]:
    """The modules of `tests.{group}` that have a `run`."""
    package = importlib.import_module(f"tests.{group}")
    return sorted(name for _, name, _ in pkgutil.iter_modules(package.__path__) if not name.startswith("_"))


def main(group: str, argv: list[str]) -> int:
    """Run one module of the group. Unknown arguments go to it. Exit code 2 for an unknown name."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # one core is what the figures speak of
    parser = argparse.ArgumentParser(prog=f"python -m tests.{group}")
    parser.add_argument("name", choices=[*names(group), "all"])
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    if group == "accuracy":
        parser.add_argument("--seed", type=int, default=1)
    options, rest = parser.parse_known_args(argv)
    if options.name == "all":
        return _all(group, [*(["--seed", str(options.seed)] if group == "accuracy" else []), *rest])
    module = importlib.import_module(f"tests.{group}.{options.name}")
    figures: dict[str, Any] = module.run(options.seed, rest) if group == "accuracy" else module.run(rest)
    if group == "bench":
        figures["cpu_score"] = cpu_score()
    if not options.json:
        for key, value in figures.items():
            print(f"{key:32} {value}")
    print(json.dumps(figures))
    return 0


def _all(group: str, rest: list[str]) -> int:
    """Each one in a process of its own, one line each; the last line has all of them by name. 1 when one failed."""
    found: dict[str, Any] = {}
    codes = set()
    for name in names(group):
        command = [sys.executable, "-m", f"tests.{group}", name, "--json", *rest]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        codes.add(done.returncode)
        lines = done.stdout.splitlines() or ["null"]
        found[name] = json.loads(lines[-1]) if done.returncode == 0 else {"failed": done.returncode}
        print(f"{name:12} {json.dumps(found[name])}", flush=True)
    print(json.dumps(found))
    return int(codes != {0})
