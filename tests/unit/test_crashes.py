"""Crash loops end in safe mode with the culprit named; power cuts and clean stops do not count."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edge.crashes import WINDOW_S, CrashLog, SafeMode, culprit_of


class Machine:
    """Uptime and identity of a boot, as a test turns them."""

    def __init__(self) -> None:
        self.now_s, self.boot = 100.0, "boot-1"

    def log(self, folder: Path) -> CrashLog:
        return CrashLog(folder, lambda: self.now_s, lambda: self.boot)


def crash(machine: Machine, folder: Path, after_s: float = 60.0) -> SafeMode | None:
    """A start `after_s` after the one before, which did not end on purpose."""
    machine.now_s += after_s
    return machine.log(folder).begin()


def test_the_third_crash_within_ten_minutes_is_one_too_many(tmp_path: Path) -> None:
    machine = Machine()
    assert machine.log(tmp_path).begin() is None
    assert crash(machine, tmp_path) is None
    assert crash(machine, tmp_path) is None
    assert crash(machine, tmp_path) == SafeMode(3, "")


def test_rare_crashes_do_not_add_up(tmp_path: Path) -> None:
    machine = Machine()
    machine.log(tmp_path).begin()
    assert [crash(machine, tmp_path, WINDOW_S / 2 + 1) for _ in range(8)] == [None] * 8


def test_a_power_cut_and_a_clean_stop_are_no_crashes(tmp_path: Path) -> None:
    machine = Machine()
    for number in range(8):
        machine.boot = f"boot-{number}"
        assert machine.log(tmp_path).begin() is None
    for _ in range(8):
        log = machine.log(tmp_path)
        assert log.begin() is None
        log.clean()


def test_a_broken_or_foreign_file_counts_as_none(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"boot": "boot-1", "running": true, "crashes": [1]}'):
        (tmp_path / "crashes.json").write_text(text)
        assert Machine().log(tmp_path).begin() is None


def test_the_culprit_is_the_innermost_driver() -> None:
    native = (
        "Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n"
        '  File "/x/devices/transport/tcp.py", line 1 in read\n  File "/x/devices/rfid_r200/driver.py", line 2 in run\n'
    )
    assert culprit_of(native) == "rfid_r200"
    usual = (
        'Traceback (most recent call last):\n  File "/x/edge/supervisor.py", line 1, in f\n'
        '  File "/x/devices/beacon_ble/driver.py", line 2, in g\n  File "/lib/bleak/x.py", line 3, in h\n'
    )
    assert culprit_of(usual) == "beacon_ble"
    assert culprit_of('  File "/x/models/runner.py", line 2') == "models"
    assert culprit_of("nothing known") == ""


def test_a_real_abort_leaves_a_trace_that_names_the_driver(tmp_path: Path) -> None:
    """What the watchdog does to a hung process: SIGABRT in the middle of a driver's code."""
    folder = tmp_path / "devices" / "rfid_llrp"
    folder.mkdir(parents=True)
    (folder / "hangs.py").write_text("import os\ndef hang():\n    os.abort()\n")
    code = (
        "import sys; from pathlib import Path; from edge.crashes import CrashLog\n"
        f"log = CrashLog(Path({str(tmp_path)!r})); log.begin(); log.arm()\n"
        f"sys.path.insert(0, {str(folder)!r}); import hangs; hangs.hang()\n"
    )
    told = None
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False, capture_output=True)
    told = CrashLog(tmp_path).begin()
    assert told == SafeMode(3, "rfid_llrp")
    assert "rfid_llrp" in str(told)
