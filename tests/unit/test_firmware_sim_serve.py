"""The virtual store as processes: real ports, real ptys, a truth that settles, a clean end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _start(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "firmware_sim", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    line = process.stdout.readline()
    assert line, process.stderr.read().decode()
    return process, json.loads(line)


def _stop(process):
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err.decode()
    assert err == b""
    return out


def test_a_store_runs_settles_and_ends_cleanly(tmp_path):
    process, ready = _start(
        "store", "--dir", str(tmp_path), "--seconds", "20", "--speed", "40", "--open-after", "0", "--no-bluez"
    )
    try:
        assert ready["ready"] is True
        devices = json.loads((tmp_path / "devices.json").read_text())
        assert devices == ready["devices"]
        kinds = [device["kind"] for device in devices]
        assert sorted(kinds) == sorted(["rfid_llrp"] * 4 + ["shelf_mcu"] * 2 + ["ble_scanner"] * 2 + ["door_array"])
        site = json.loads((tmp_path / "site.json").read_text())
        assert {r["device"] for r in site["readers"]} <= {device["id"] for device in devices}
        for device in devices:
            _talk(device)
        deadline = time.monotonic() + 20
        truth = {}
        while not truth.get("settled") and time.monotonic() < deadline:
            time.sleep(0.2)
            truth = json.loads((tmp_path / "truth.json").read_text())
        assert truth["settled"]
        assert truth["crossings"]["door-1"]["in"] == truth["crossings"]["door-1"]["out"]
        assert len(truth["on_hand"]) >= 50
    finally:
        _stop(process)
    assert not list(tmp_path.glob("tty-*"))


def _talk(device):
    """First bytes of a device, on its real wire."""
    moniker = device["moniker"]
    if moniker.startswith("tcp:"):
        with socket.create_connection(("127.0.0.1", int(moniker.rsplit(":", 1)[1])), timeout=5) as link:
            assert link.recv(100)[:2] == b"\x04\x3f"  # version 1, READER_EVENT_NOTIFICATION
        return
    path = moniker.removeprefix("serial:").split("?")[0]
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    data = b""
    deadline = time.monotonic() + 5
    while b"\x00" not in data and time.monotonic() < deadline:
        data += os.read(fd, 4096)
    os.close(fd)
    assert b"\x00" in data  # a whole SDP/1 frame


@pytest.mark.parametrize("role", ["r200", "shelf", "door", "scanner", "sics", "modbus"])
def test_every_serial_role_runs_alone_on_a_pty_and_on_tcp(role, tmp_path):
    link = tmp_path / "tty"
    process, ready = _start(role, "--link", str(link), "--seed", "3")
    assert ready["moniker"].startswith(f"serial:{link}?baud=")
    os.close(os.open(link, os.O_RDWR | os.O_NOCTTY))
    _stop(process)
    process, ready = _start(role, "--port", "0")
    socket.create_connection(("127.0.0.1", ready["port"]), timeout=5).close()
    _stop(process)


def test_the_reader_runs_alone_and_a_taken_port_is_named():
    process, ready = _start("reader", "--port", "0", "--tags", "50", "--seed", "5")
    with socket.create_connection(("127.0.0.1", ready["port"]), timeout=5) as link:
        assert link.recv(100)[:2] == b"\x04\x3f"
    second = subprocess.run(
        [sys.executable, "-m", "firmware_sim", "reader", "--port", str(ready["port"])],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert second.returncode == 1
    assert str(ready["port"]) in second.stderr.decode()
    assert b"Traceback" not in second.stderr
    _stop(process)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["reader", "--port", "70000"], "70000"),
        (["reader", "--tags", "0"], "above 0"),
        (["store", "--dir", "x", "--scenario", "nowhere"], "saturday-rush"),
        (["toaster"], "invalid choice"),
    ],
)
def test_wrong_arguments_say_what_is_expected(arguments, says):
    done = subprocess.run(
        [sys.executable, "-m", "firmware_sim", *arguments], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert says in done.stderr.decode()
