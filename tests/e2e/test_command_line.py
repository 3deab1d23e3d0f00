"""What a person gets who types something wrong, or ends a command that waits: one clear message, a code, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.support import wait_until

MAIN = [sys.executable, "-c", "import sys; from edge.cli import main; sys.argv[0] = 'smartstore'; main()"]


def smartstore(*arguments: str) -> tuple[int, str]:
    done = subprocess.run([*MAIN, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("demo", "--seconds", "0"), 2, "--seconds"),
        (("demo", "--seconds", "soon"), 2, "--seconds"),
        (("demo", "--summary", "/no/such/folder/s.json"), 2, "--summary = '/no/such/folder/s.json'"),
        (("demo", "--dir", "/dev/null/x"), 3, "/dev/null/x"),
        (("platform", "--broker", "ftp://x"), 2, "--broker = 'ftp://x': expected"),
        (("platform", "--dir", "/dev/null/x"), 3, "/dev/null/x"),
        (("run", "--config", "/no/such.toml"), 2, "/no/such.toml"),
        (("doctor", "--config", "/no/such.toml"), 1, "/no/such.toml"),
        (("sim", "reader", "--port", "70000"), 2, "70000"),
        (("replay", "/no/tap", "--device", "r", "--planogram", "/no/plan"), 2, "/no/plan"),
        (("footfall", "count", "/no/frames.npz", "--fps", "10"), 2, "/no/frames.npz"),
        (("enrol", "/no/bundle"), 3, "/no/bundle"),
        (("platform", "--port", "70000"), 2, "--port"),
        (("platform", "--postgres", "ftp://me:secret@x"), 2, "--postgres = 'ftp': expected an address such as"),
        (("tell", "t1/s1", "place_hold", "x"), 2, "argument = 'x': expected name=value"),
        (("export", "everything"), 2, "export = 'everything': expected one of catalogue"),
        (("sim", "reader", "--port", "high"), 2, "high: expected a whole number"),
        (("replay", "/no/tap"), 2, "recording = '/no/tap': expected a tap"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_bad_input_names_itself(arguments: tuple[str, ...], code: int, said: str) -> None:
    found, text = smartstore(*arguments)
    assert said in text
    assert "Traceback" not in text
    assert "Correct the named key" not in text or ".toml" in text or "/no/plan" in text
    assert "secret" not in text
    assert found == code, text


@pytest.mark.slow
def test_a_platform_whose_broker_is_down_says_so_and_can_be_stopped(tmp_path: Path) -> None:
    command = [*MAIN, "platform", "--dir", str(tmp_path), "--broker", "mqtt://127.0.0.1:1"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
    wait_until(lambda: "mqtt://127.0.0.1:1 does not answer" in (tmp_path / "said").read_text(), 40, "its complaint")
    process.terminate()
    assert process.wait(20) == 0
    assert "Traceback" not in (tmp_path / "said").read_text()


def processes_of(directory: Path) -> list[str]:
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = one.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line and int(one.parent.name) != os.getpid():
            found.append(line)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_the_demo_ends_its_processes(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*MAIN, "demo", "--dir", str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: len(processes_of(tmp_path)) >= 4, 60, "the processes of the demo")
    time.sleep(1)
    process.send_signal(number)
    process.wait(60)
    assert processes_of(tmp_path) == []
