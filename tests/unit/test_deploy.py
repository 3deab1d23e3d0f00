"""deploy/ as far as it can be shown without a Pi: exposure score, shell, idempotence, first settings, backup."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from edge.journal import JournalSettings
from edge.journal.log import open_store
from edge.plan import read_plan

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MAX_EXPOSURE = 2.0


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.parametrize("name", ["smartstore", "smartstore-update"])
def test_the_service_is_sandboxed(name: str, tmp_path: Path) -> None:
    unit = tmp_path / f"{name}.service"
    shutil.copy(DEPLOY / "systemd" / unit.name, unit)
    command = [tool("systemd-analyze"), "security", "--offline=yes", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level.*: ([\d.]+)", done.stdout)
    if found is None:
        pytest.skip(f"systemd-analyze cannot judge a file here: {done.stderr[:200]}")
    assert float(found[1]) <= MAX_EXPOSURE


@pytest.mark.parametrize("name", ["smartstore-update", "smartstore-follow"])
def test_the_other_services_are_understood(name: str, tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / f"{name}.service").read_text()
    unit = tmp_path / f"{name}.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run([tool("systemd-analyze"), "verify", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if f"{name}.service" in line] == []


def test_the_gateway_cannot_write_its_programs_nor_say_where_they_come_from() -> None:
    gateway = (DEPLOY / "systemd" / "smartstore.service").read_text()
    assert "ProtectSystem=strict" in gateway
    assert "ReadWritePaths" not in gateway
    for file in ("gateway.toml", "root.json"):
        assert re.search(rf"^ReadOnlyPaths=.*-/var/lib/smartstore/{file}", gateway, re.MULTILINE)
    updater = (DEPLOY / "systemd" / "smartstore-update.service").read_text()
    assert "\nReadWritePaths=/opt/smartstore /var/lib/smartstore\n" in updater
    assert "\nStateDirectory=smartstore-update\n" in updater
    assert "/opt/smartstore/good/bin/smartstore update run" in updater


def test_systemd_understands_the_service(tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / "smartstore.service").read_text()
    unit = tmp_path / "smartstore.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run([tool("systemd-analyze"), "verify", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "smartstore.service" in line] == []
    for line in ("Type=notify", "WatchdogSec=30", "Restart=always", "StartLimitIntervalSec=0"):
        assert f"\n{line}\n" in text


def test_shell_scripts_are_sound() -> None:
    scripts = [str(path) for path in sorted(DEPLOY.rglob("*.sh"))]
    done = subprocess.run([tool("shellcheck"), *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_first_boot_goes_on_trying_until_the_gateway_is_installed(tmp_path: Path) -> None:
    """`cloud-init schema` itself judges the file in the campaign (`python -m tests.fault deploy --only first_boot`)."""
    text = (DEPLOY / "cloud-init" / "user-data").read_text()
    assert text.startswith("#cloud-config\n")
    data = yaml.safe_load(text)
    script, unit = data["write_files"]
    assert script["permissions"] == "0755"
    (tmp_path / "first-boot").write_text(script["content"])
    sound = subprocess.run(
        [tool("shellcheck"), str(tmp_path / "first-boot")], capture_output=True, text=True, check=False
    )
    assert sound.returncode == 0, sound.stdout
    assert f"ExecStart={script['path']}\n" in unit["content"]
    for line in (
        "Restart=on-failure",
        "StartLimitIntervalSec=0",
        "ConditionPathExists=!/opt/smartstore/good/bin/smartstore",
    ):
        assert f"\n{line}\n" in unit["content"]
    file = tmp_path / Path(unit["path"]).name
    file.write_text(unit["content"].replace(script["path"], "/bin/true"))
    done = subprocess.run([tool("systemd-analyze"), "verify", str(file)], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if file.name in line] == []
    assert ["systemctl", "enable", file.name] in data["runcmd"]


@pytest.mark.skipif(os.geteuid() != 0, reason="the installer needs root")
def test_a_wipe_also_empties_what_is_a_mount_of_the_data_partition(tmp_path: Path) -> None:
    root, state = tmp_path / "root", tmp_path / "root/var/lib/smartstore"
    for folder in (root / "etc/smartstore", state, tmp_path / "data"):
        folder.mkdir(parents=True)
    (root / "etc/smartstore/mqtt-password").write_text("secret")
    if subprocess.run(["mount", "--bind", str(tmp_path / "data"), str(state)], check=False).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        (state / "tls").mkdir()
        (state / "tls/ca.key").write_text("secret")
        done = install(root, "--wipe")
        assert done.returncode == 0, done.stderr
        assert list((tmp_path / "data").iterdir()) == []
        assert not (root / "etc/smartstore").exists()
        assert "facts, settings and keys are gone" in done.stdout
    finally:
        subprocess.run(["umount", str(state)], check=True)


def test_first_settings_are_valid(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "first-settings.toml", tmp_path / "gateway.toml")
    shutil.copy(DEPLOY / "first-site.json", tmp_path / "site.json")
    plan = read_plan(tmp_path / "gateway.toml")
    assert plan.api.https
    assert plan.devices == ()


def install(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ROOT": str(root), "START": "no", "PIP": "no"}
    return subprocess.run(
        ["sh", str(DEPLOY / "install.sh"), *arguments], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="the installer needs root")
def test_the_installer_is_idempotent_checks_and_goes(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("smartstore:x:0:0::/var/lib/smartstore:/usr/sbin/nologin\n")
    assert install(tmp_path, "--check").returncode == 1
    assert list((tmp_path / "etc").iterdir()) == [tmp_path / "etc" / "passwd"]
    first = install(tmp_path)
    assert first.returncode == 0, first.stderr
    assert install(tmp_path).stdout.strip() == "install.sh: nothing to do"
    assert install(tmp_path, "--check").returncode == 0
    assert (tmp_path / "opt/smartstore/current/bin/python").exists()
    kept = tmp_path / "var/lib/smartstore/gateway.toml"
    kept.write_text(kept.read_text() + "# changed by the store\n")
    unit = tmp_path / "etc/systemd/system/smartstore.service"
    unit.write_text("somebody edited this")
    assert "smartstore.service differs" in install(tmp_path, "--check").stdout
    assert install(tmp_path).returncode == 0
    assert unit.read_text() == (DEPLOY / "systemd" / "smartstore.service").read_text()
    assert "changed by the store" in kept.read_text()
    assert install(tmp_path, "--uninstall").returncode == 0
    assert not unit.exists()
    assert kept.exists()
    assert install(tmp_path, "--wipe").returncode == 0
    assert not kept.parent.exists()
    assert install(tmp_path, "--what").returncode == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="the installer needs root")
def test_the_root_of_trust_comes_with_the_release_and_is_never_replaced(tmp_path: Path) -> None:
    release, root = tmp_path / "release", tmp_path / "root"
    shutil.copytree(DEPLOY, release / "deploy")
    shutil.copytree(ROOT / "docs", release / "docs", ignore=shutil.ignore_patterns("*.png"))
    shutil.copy(ROOT / "pyproject.toml", release / "pyproject.toml")
    (release / "deploy" / "root.json").write_text("first")
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("smartstore:x:0:0::/var/lib/smartstore:/usr/sbin/nologin\n")
    environment = {**os.environ, "ROOT": str(root), "START": "no", "PIP": "no"}
    command = ["sh", str(release / "deploy" / "install.sh")]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    trusted = root / "var/lib/smartstore/root.json"
    assert trusted.read_text() == "first"
    (release / "deploy" / "root.json").write_text("second")
    again = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "nothing to do" in again.stdout
    assert trusted.read_text() == "first"


def backup(state: Path, *arguments: str) -> None:
    environment = {**os.environ, "STATE": str(state), "PYTHON": shutil.which("python3") or "python3"}
    subprocess.run(["sh", str(DEPLOY / "backup.sh"), *arguments], env=environment, check=True, capture_output=True)


def test_a_restored_journal_begins_a_new_epoch(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    settings = JournalSettings(path=str(state / "journal.db"))
    store, _ = open_store(settings, "machine-1")
    epoch = store.epoch
    (state / "gateway.toml").write_text("# mine\n")
    backup(state, str(tmp_path / "backup.tgz"))
    store.close()
    (state / "gateway.toml").unlink()
    backup(state, "--restore", str(tmp_path / "backup.tgz"))
    assert (state / "gateway.toml").read_text() == "# mine\n"
    store, kept = open_store(settings, "machine-1")
    assert kept.new_epoch_cause == "cloned"
    assert store.epoch != epoch
    store.close()
    store, kept = open_store(settings, "machine-1")
    assert kept.new_epoch_cause == ""
    store.close()


def test_a_backup_that_is_not_whole_costs_nothing(tmp_path: Path) -> None:
    state, file = tmp_path / "state", tmp_path / "backup.tgz"
    state.mkdir()
    environment = {**os.environ, "STATE": str(state), "PYTHON": shutil.which("python3") or "python3"}

    def tried(*arguments: str) -> tuple[int, str]:
        command = ["sh", str(DEPLOY / "backup.sh"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert tried(str(file)) == (
        2,
        f"backup.sh: {state}: no journal.db there, expected the folder of a gateway (STATE=…)\n",
    )
    store, _ = open_store(JournalSettings(path=str(state / "journal.db")), "machine-1")
    store.close()
    for name in ("platform/store.key", "models/current", "tls/ca.key"):
        (state / name).parent.mkdir(exist_ok=True)
        (state / name).write_text(f"of {name}")
    backup(state, str(file))
    assert file.stat().st_mode & 0o077 == 0, "private keys are in it"
    whole, kept = file.read_bytes(), (state / "journal.db").read_bytes()
    for cut in (whole[: len(whole) // 2], b"no archive"):
        file.write_bytes(cut)
        code, words = tried("--restore", str(file))
        assert (code, "nothing was changed" in words) == (2, True)
        assert (state / "journal.db").read_bytes() == kept
    file.write_bytes(whole)
    shutil.rmtree(state)
    backup(state, "--restore", str(file))
    assert (state / "platform/store.key").read_text() == "of platform/store.key"
    assert (state / "models/current").read_text() == "of models/current"
    assert state.stat().st_mode & 0o077 == 0


def read_only(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(DEPLOY / "read-only-root.sh"), *arguments]
    return subprocess.run(command, env={**os.environ, "ROOT": str(root)}, capture_output=True, text=True, check=False)


def test_the_root_becomes_read_only_and_data_live_on_their_partition(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    fstab = tmp_path / "etc/fstab"
    before = "# static\nPARTUUID=1-02 / ext4 defaults,noatime,rw 0 1\nPARTUUID=1-01 /boot/firmware vfat defaults 0 2\n"
    fstab.write_text(before)
    (tmp_path / "var/lib/smartstore").mkdir(parents=True)
    (tmp_path / "var/lib/smartstore/journal.db").write_text("facts")
    assert read_only(tmp_path, "--check").returncode == 1
    done = read_only(tmp_path, "smartstore-data")
    assert done.returncode == 0, done.stderr
    rows = {row[1]: row for row in (line.split() for line in fstab.read_text().splitlines()) if row[0] != "#"}
    assert rows["/"][3].split(",") == ["ro", "defaults", "noatime"]
    assert rows["/data"][:3] == ["LABEL=smartstore-data", "/data", "ext4"]
    for folder in ("/var/lib/smartstore", "/opt/smartstore", "/var/lib/smartstore-update", "/var/lib/bluetooth"):
        assert rows[folder][0] == f"/data{folder}"
        assert "bind" in rows[folder][3]
    assert {rows[folder][2] for folder in ("/tmp", "/var/tmp", "/var/log")} == {"tmpfs"}
    assert (tmp_path / "data/var/lib/smartstore/journal.db").read_text() == "facts"
    changed = fstab.read_text()
    assert "nothing to do" in read_only(tmp_path, "smartstore-data").stdout
    assert fstab.read_text() == changed
    assert "smartstore-data" in read_only(tmp_path, "--check").stdout
    assert read_only(tmp_path, "--undo").returncode == 0
    rows = {row[1]: row for row in (line.split() for line in fstab.read_text().splitlines()) if row[0] != "#"}
    assert rows["/"][3] == "rw,defaults,noatime"
    assert "/tmp" not in rows
    assert "/var/lib/smartstore" in rows  # else the gateway would start empty
    assert read_only(tmp_path, "--check").returncode == 1
    assert read_only(tmp_path, "smartstore-data").returncode == 0
    again = [line for line in fstab.read_text().splitlines() if line != "# static"]
    assert sorted(again) == sorted(line for line in changed.splitlines() if line != "# static")


def test_a_read_only_root_needs_a_label_and_a_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_text("# empty\n")
    for arguments in ((), ("--what",), ("smartstore-data",)):
        assert read_only(tmp_path, *arguments).returncode == 2
    assert (tmp_path / "etc/fstab").read_text() == "# empty\n"
