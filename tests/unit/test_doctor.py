"""The doctor finds each likely fault when it is planted, names it, and says nothing of it when it is not."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import socket
import sqlite3
import ssl
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from edge.cli import app
from edge.clock import BUILD_TIME_US, Sources
from edge.crashes import boot_id, boottime_s
from edge.doctor import examine, machine, store, wires
from edge.doctor.finding import Finding, Grade
from edge.journal import JournalSettings, Store
from edge.journal.log import begin_boot

SITE = {
    "store": {
        "id": "s-1",
        "tenant": "t-1",
        "name": "Shop",
        "sgln": "urn:epc:id:sgln:4569951.00101.0",
        "timezone": "Asia/Tokyo",
        "hours": [["09:00", "21:00"]] * 7,
    },
    "zones": [{"id": "z-1"}],
    "products": [],
    "shelves": [],
}


def named(findings: Iterable[Finding], check: str) -> Finding:
    (found,) = [finding for finding in findings if finding.check == check]
    return found


def plant(root: Path, path: str, text: str = "") -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")


def healthy(root: Path) -> None:
    """A Raspberry Pi without a fault."""
    plant(root, "proc/meminfo", "MemTotal: 3884000 kB\nMemAvailable: 2500000 kB\n")
    plant(root, "sys/class/thermal/thermal_zone0/temp", "51234\n")
    plant(root, "sys/devices/platform/soc/soc:firmware/get_throttled", "0\n")
    plant(root, "sys/block/mmcblk0/device/life_time", "0x01 0x02\n")
    plant(root, "dev/watchdog")
    plant(root, "proc/net/route", "Iface Destination Gateway\neth0 00000000 0100A8C0\n")
    plant(root, "run/dbus/system_bus_socket")
    plant(root, "sys/class/bluetooth/hci0/address")
    plant(root, "sys/class/rfkill/rfkill0/type", "bluetooth\n")
    plant(root, "sys/class/rfkill/rfkill0/soft", "0\n")
    plant(root, "sys/class/rfkill/rfkill0/hard", "0\n")


def of_machine(root: Path) -> list[Finding]:
    return [*machine.hardware(root), *machine.network(root), *machine.bluetooth(root, "", ["hci0"])]


def test_a_healthy_machine_has_no_fault(tmp_path: Path) -> None:
    healthy(tmp_path)
    found = of_machine(tmp_path)
    assert len(found) == 8
    assert {finding.grade for finding in found} == {Grade.OK}


@pytest.mark.parametrize(
    ("path", "text", "check", "grade", "says"),
    [
        ("proc/meminfo", "MemAvailable: 51200 kB\n", "memory", Grade.FAULT, "50 MiB"),
        ("sys/class/thermal/thermal_zone0/temp", "84000\n", "temperature", Grade.WARNING, "84"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n", "power", Grade.FAULT, "now"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n", "power", Grade.WARNING, "since"),
        ("sys/block/mmcblk0/device/life_time", "0x01 0x0a\n", "card wear", Grade.WARNING, "100 %"),
        ("proc/net/route", "Iface Destination Gateway\n", "network", Grade.WARNING, "no default route"),
        ("sys/class/rfkill/rfkill0/soft", "1\n", "bluetooth switch", Grade.FAULT, "rfkill0"),
    ],
)
def test_a_fault_of_the_machine_is_named(
    tmp_path: Path, path: str, text: str, check: str, grade: Grade, says: str
) -> None:
    healthy(tmp_path)
    plant(tmp_path, path, text)
    found = named(of_machine(tmp_path), check)
    assert (found.grade, says in found.found, bool(found.action)) == (grade, True, True)


@pytest.mark.parametrize(
    ("path", "check"),
    [("dev/watchdog", "hardware watchdog"), ("run/dbus/system_bus_socket", "d-bus")],
)
def test_what_is_missing_is_named(tmp_path: Path, path: str, check: str) -> None:
    healthy(tmp_path)
    (tmp_path / path).unlink()
    assert named(of_machine(tmp_path), check).grade is not Grade.OK
    assert named(machine.bluetooth(tmp_path, "", ["hci1"]), "adapter hci1").grade is Grade.FAULT


@pytest.mark.parametrize(("early", "synced"), [(True, True), (False, False), (False, True)])
def test_the_clock_is_judged(early: bool, synced: bool) -> None:
    now_ns = (BUILD_TIME_US + (-1 if early else 1) * 10**9) * 1000
    found = list(machine.clock(Sources(realtime_ns=lambda: now_ns, synced=lambda: synced)))
    assert (named(found, "clock").ok, named(found, "ntp").grade is Grade.OK) == (not early, synced)


# --- what the gateway keeps -------------------------------------------------------------------------------------------


def journal_at(path: Path, quota_mib: int = 2048) -> JournalSettings:
    """An empty journal, closed."""
    opened = Store(path)
    begin_boot(opened)
    opened.close()
    return JournalSettings(path=str(path), quota_mib=quota_mib)


def test_a_damaged_journal_is_named_and_a_sound_one_is_not(tmp_path: Path) -> None:
    settings = journal_at(tmp_path / "journal.db")
    assert named(store.journal(settings), "journal").grade is Grade.OK
    raw = bytearray((tmp_path / "journal.db").read_bytes())
    raw[4096:8192] = os.urandom(4096)
    (tmp_path / "journal.db").write_bytes(raw)
    assert named(store.journal(settings), "journal").grade is Grade.FAULT
    (tmp_path / "journal.db").write_bytes(b"no database")
    assert "database" in named(store.journal(settings), "journal").found


def test_a_journal_near_its_quota_is_a_fault(tmp_path: Path) -> None:
    settings = journal_at(tmp_path / "journal.db", quota_mib=1)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        db.execute("CREATE TABLE ballast AS SELECT zeroblob(900000) AS b")
        db.commit()
    assert "quota" in named(store.journal(settings), "journal").found
    assert named(store.journal(settings), "journal").grade is Grade.FAULT


def test_crashes_name_their_culprit(tmp_path: Path) -> None:
    assert named(store.crashes(tmp_path), "crashes").grade is Grade.OK
    kept = {"boot": boot_id(), "running": True, "crashes": [[boottime_s() - 5, "rfid_llrp"]]}
    (tmp_path / "crashes.json").write_text(json.dumps(kept))
    (tmp_path / "last-crash.txt").write_text('File "/opt/devices/rfid_llrp/link.py", line 1 in read\n')
    found = named(store.crashes(tmp_path), "crashes")
    assert (found.grade, "rfid_llrp" in found.found) == (Grade.FAULT, True)


def test_the_disk_and_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(finding.ok for finding in store.disk(tmp_path / "var"))
    monkeypatch.setattr(store, "MIN_FREE_MIB", 1 << 40)
    monkeypatch.setattr(store, "MIN_FREE_INODES", 1 << 62)
    found = list(store.disk(tmp_path / "var"))
    assert (named(found, "disk").ok, named(found, "inodes").ok) == (False, False)
    if os.geteuid() != 0:  # root may write everywhere
        tmp_path.chmod(0o500)
        assert not named(store.disk(tmp_path / "var"), "state folder").ok


def certificate(folder: Path, begins_day: int, ends_day: int) -> Path:
    """A self-signed certificate for localhost, valid from one day to another of today."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today + datetime.timedelta(days=begins_day))
        .not_valid_after(today + datetime.timedelta(days=ends_day))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{begins_day}-{ends_day}.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return path


@pytest.mark.parametrize(
    ("days", "grade", "says"),
    [
        ((-1, 30), Grade.OK, "valid until"),
        ((-30, 3), Grade.WARNING, "valid until"),
        ((-30, -3), Grade.FAULT, "expired"),
        ((3, 30), Grade.FAULT, "valid from"),
    ],
)
def test_certificates_are_judged_by_the_clock(tmp_path: Path, days: tuple[int, int], grade: Grade, says: str) -> None:
    now_s = datetime.datetime.now(datetime.UTC).timestamp()
    found = named(store.certificate(certificate(tmp_path, *days), "certificate", now_s), "certificate")
    assert (found.grade, says in found.found) == (grade, True)
    assert named(store.certificate(tmp_path / "none.pem", "certificate", now_s), "certificate").grade is Grade.FAULT


# --- links ------------------------------------------------------------------------------------------------------------


def test_serial_links(tmp_path: Path) -> None:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    assert wires.serial("d", path).grade is Grade.OK
    fcntl.flock(slave, fcntl.LOCK_EX)
    assert "in use" in wires.serial("d", path).found
    for fd in (master, slave):
        os.close(fd)
    assert "does not exist" in wires.serial("d", str(tmp_path / "ttyUSB0")).found


def test_two_devices_on_one_wire_and_a_link_of_no_known_kind() -> None:
    found = list(wires.devices([("a", "replay:x.tap"), ("b", "replay:x.tap?speed=2"), ("c", "usb:1-1")]))
    assert [finding.check.removeprefix("device ") for finding in found] == ["b", "c"]
    assert "link of a" in found[0].found
    assert "usb:1-1" in found[1].found


def test_a_tcp_device_that_listens_and_one_that_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert wires.tcp("d", f"127.0.0.1:{port}", 5084).ok
        assert wires.api_port("127.0.0.1", port).grade is Grade.WARNING
    refused = wires.tcp("d", f"127.0.0.1:{port}", 5084)
    assert (refused.ok, "nothing listens" in refused.action) == (False, True)
    assert wires.tcp("d", "127.0.0.1:many", 5084).action == "expected host:port"
    assert wires.api_port("127.0.0.1", port).grade is Grade.OK
    assert wires.broker("mqtt://127.0.0.1", "127.0.0.1", port, None).grade is Grade.FAULT


@pytest.mark.parametrize(
    ("days", "trusted", "says"),
    [((-1, 30), True, ""), ((-1, 30), False, "not the platform's broker"), ((3, 30), True, "clock is wrong"),
     ((-30, -3), True, "has expired")],
)  # fmt: skip
def test_a_broker_and_its_certificate(tmp_path: Path, days: tuple[int, int], trusted: bool, says: str) -> None:
    file = certificate(tmp_path, *days)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(file)
    trust = ssl.create_default_context(cafile=str(file if trusted else certificate(tmp_path, -2, 40)))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            raw, _ = server.accept()
            try:
                served.wrap_socket(raw, server_side=True).close()
            except (ssl.SSLError, OSError):
                raw.close()

        thread = threading.Thread(target=serve)
        thread.start()
        found = wires.broker("mqtts://localhost", "localhost", server.getsockname()[1], trust)
        thread.join()
    assert (found.grade is Grade.OK, says in found.action) == (says == "", True)


# --- as a person runs it ----------------------------------------------------------------------------------------------


def settings_file(folder: Path, more: str = "") -> Path:
    (folder / "site.json").write_text(json.dumps(SITE))
    (folder / "gateway.toml").write_text(f'[gateway]\nplanogram = "site.json"\n[api]\nport = 0\n{more}')
    return folder / "gateway.toml"


def test_the_command_shows_findings_and_its_exit_code_says_whether_there_is_a_fault(tmp_path: Path) -> None:
    config = settings_file(tmp_path)
    answer = CliRunner().invoke(app, ["doctor", "-c", str(config), "--json"])
    rows = {row["check"]: row for row in json.loads(answer.stdout)["findings"]}
    assert answer.exit_code == (0 if all(row["ok"] for row in rows.values()) else 1)
    assert {"python", "ntp", "memory", "disk", "settings", "crashes", "model", "api port", "broker"} <= rows.keys()
    assert rows["broker"]["grade"] == "warning"
    shown = CliRunner().invoke(app, ["doctor", "-c", str(config)])
    assert f"{len(rows)} checks" in shown.stdout


def test_wrong_settings_are_a_finding_and_a_tampered_model_too(tmp_path: Path) -> None:
    found = named(examine(settings_file(tmp_path, "tls = 3\n")), "settings")
    assert (found.ok, "tls" in found.found) == (False, True)
    model = tmp_path / "var" / "models" / "bad"
    model.mkdir(parents=True)
    (model / "manifest.toml").write_text("format = 1\n")
    (model.parent / "current").write_text("bad")
    found = named(examine(settings_file(tmp_path)), "model")
    assert found.grade is Grade.FAULT
    assert named(examine(settings_file(tmp_path)), "last good model").ok


def test_a_broker_in_the_settings_is_tried(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        found = examine(settings_file(tmp_path, f'[uplink]\nhosts = ["{address}"]\n'))
    assert named(found, f"broker {address}").ok
    assert named(found, "platform keys").grade is Grade.WARNING


def test_updates_are_looked_at_without_asking_anybody(tmp_path: Path) -> None:
    more = f'[updates]\nurl = "https://127.0.0.1:9/"\nslots = "{tmp_path}/opt"\ntrust_dir = "{tmp_path}/trust"\n'
    config = settings_file(tmp_path, more)
    findings = examine(config)
    assert named(findings, "update root").grade is Grade.FAULT
    assert named(findings, "good release").grade is Grade.FAULT
    assert "never reached yet" in named(findings, "update repository").found
    plant(tmp_path, "root.json", "{}")
    plant(tmp_path, "opt/slots/1.0.0/.complete")
    (tmp_path / "opt/good").symlink_to("slots/1.0.0")
    plant(tmp_path, "opt/trial.json", "{}")
    now_us = Sources().realtime_ns() // 1000
    status = {"checked_us": now_us - 9 * 86_400 * 10**6, "refused": "freeze: timestamp.json: expired"}
    plant(tmp_path, "var/updates/status.json", json.dumps(status))
    findings = examine(config)
    assert named(findings, "update root").ok
    assert named(findings, "good release").ok
    assert "freeze" in named(findings, "updates").found
    assert named(findings, "updates").grade is Grade.WARNING
    assert "9 days ago" in named(findings, "update repository").found
    assert named(findings, "update trial").ok


def test_a_state_folder_that_is_a_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "var").touch()
    found = named(store.disk(tmp_path / "var"), "state folder")
    assert (found.grade, found.found) == (Grade.FAULT, f"{tmp_path / 'var'} is a file; expected a folder")


def test_a_file_that_the_uplink_names_and_that_is_not_there(tmp_path: Path) -> None:
    (found,) = wires.uplink_file("password_file", str(tmp_path / "gone"))
    assert (found.check, found.grade) == ("uplink password_file", Grade.FAULT)
    assert found.found == f"{tmp_path / 'gone'} does not exist"
    (tmp_path / "here").touch()
    (found,) = wires.uplink_file("password_file", str(tmp_path / "here"))
    assert found.grade is Grade.OK
    assert list(wires.uplink_file("proxy_file", "")) == []
    assert list(wires.uplink_file("password_file", "/run/credentials/smartstore.service/mqtt-password")) == []
