"""The installer in a fresh Debian (debootstrap); the gateway under a real systemd: killed, hung, updated, taken back."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from tests.fault._campaign import Outcome, Promise, Trial
from tests.fault._machine import Chroot, Machine, booted, debian

MAX_EXPOSURE = 2.0
GATE_S = 20
SMARTSTORE = "/opt/smartstore/current/bin/smartstore"
HEALTH = """/opt/smartstore/good/bin/python -c '
import json
from pathlib import Path
from edge.updates.judge import HealthPage
print(json.dumps(dict(HealthPage("127.0.0.1", 8443, True, Path("/var/lib/smartstore/tls"))())))'"""
AS_SERVICE = "setpriv --reuid smartstore --regid smartstore --clear-groups"
WANT = (
    AS_SERVICE
    + """ /opt/smartstore/good/bin/python -c '
from pathlib import Path
from edge.updates.files import Exchange
Exchange(Path("/var/lib/smartstore/updates")).want({{"gateway": "{version}"}})'"""
)


def installer(trial: Trial) -> Outcome:
    """One Debian, every way in and out."""
    debian(trial.folder / "debian")
    at = Chroot(trial.folder / "debian")
    unit = at.folder / "etc/systemd/system/smartstore.service"
    base, state = at.folder / "opt/smartstore", at.folder / "var/lib/smartstore"
    wrong: list[str] = []

    def expect(what: str, holds: bool, said: object = "") -> None:
        if not holds:
            wrong.append(f"{what}: {said}"[:300])

    code, said = at.install("--check")
    expect("--check of a bare system finds something to do", code == 1, said)
    expect("--check changes nothing", not unit.exists() and not base.exists())
    code, said = at.install()
    expect("installs", code == 0, said)
    expect("the user is there, without a shell", "smartstore" in at.sh("grep nologin /etc/passwd").stdout)
    release = str((base / "current").readlink())
    expect("current and good are the release", str((base / "good").readlink()) == release, release)
    expect(
        "Debian's Python runs in the slot", at.sh("/opt/smartstore/current/bin/python -c 'print(7)'").stdout == "7\n"
    )
    expect("the updater may write slots", at.sh("stat -c %U /opt/smartstore/slots").stdout == "smartstore\n")
    expect("state is for the gateway only", at.sh("stat -c %a,%U /var/lib/smartstore").stdout == "700,smartstore\n")
    code, said = at.install()
    expect("a second time there is nothing to do", (code, said) == (0, "install.sh: nothing to do"), said)
    expect("--check agrees", at.install("--check")[0] == 0)
    gate = at.sh("SLOTS=/opt/smartstore RUN=/tmp/run sh /usr/lib/smartstore/gate.sh start; echo $?")
    expect("the gate runs in Debian's sh", gate.stdout.endswith("0\n"), gate.stdout + gate.stderr)
    unit.write_text("somebody edited this")
    (base / "slots" / Path(release).name / ".complete").unlink()
    code, said = at.install("--check")
    expect("--check names what differs", code == 1 and "smartstore.service differs" in said, said)
    code, said = at.install()
    expect("repairs", code == 0 and at.install("--check")[0] == 0, said)
    (state / "facts").write_text("kept")
    code, said = at.install("--uninstall")
    expect(
        "--uninstall keeps facts",
        code == 0 and not base.exists() and not unit.exists() and (state / "facts").exists(),
        said,
    )
    code, said = at.install("--wipe")
    expect("--wipe leaves nothing", code == 0 and not state.exists(), said)
    for line in wrong:
        trial.say(f"  {line}")
    return Outcome(1, len(wrong), "; ".join(wrong) or "installed, repaired, removed, wiped in a fresh Debian 12")


UNPACK = r"""
import sys, pathlib, yaml
for file in yaml.safe_load(open("/root/smartstore/deploy/cloud-init/user-data"))["write_files"]:
    path = pathlib.Path(file["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file["content"])
    path.chmod(int(file.get("permissions", "0644"), 8))
"""


def first_boot(trial: Trial) -> Outcome:
    """The user-data by cloud-init's own schema; its service's program without and with network, in a fresh Debian."""
    debian(trial.folder / "debian")
    at = Chroot(trial.folder / "debian")
    wrong: list[str] = []
    at.with_network("apt-get update -q && apt-get install -yq --no-install-recommends cloud-init")
    said = at.sh("cloud-init schema --config-file /root/smartstore/deploy/cloud-init/user-data")
    if "Valid" not in said.stdout:
        wrong.append(f"schema: {said.stdout}{said.stderr}"[:300])
    at.sh(f"python3 -c '{UNPACK}'")
    at.sh("mkdir -p /boot/firmware; cp -r /root/smartstore /root/release; rm -rf /root/smartstore")
    at.sh("tar -czf /boot/firmware/smartstore.tar.gz -C /root release; rm /etc/resolv.conf")
    alone = at.sh("/usr/local/sbin/smartstore-first-boot", PIP="yes")
    if alone.returncode == 0 or (at.folder / "opt/smartstore/good").exists():
        wrong.append("without a network it claims to be done")
    at.with_network("/usr/local/sbin/smartstore-first-boot")
    version = at.sh("/opt/smartstore/good/bin/smartstore version").stdout.strip()
    if not version:
        wrong.append("no gateway is installed")
    figure = f"valid for cloud-init's schema; without a network an error, tried again, then release {version}"
    return Outcome(1, len(wrong), "; ".join(wrong) or figure)


def _releases(at: Chroot) -> None:
    """A repository with 9.0.1, which does well, and 9.0.2, which answers `version` and crashes when it is to serve."""
    at.with_network("cd /srv && " + SMARTSTORE + " release init --dir repository")
    edits = {"9.0.1": "", "9.0.2": r"printf '\ndef run_forever(*_):\n    raise SystemExit(1)\n' >>copy/edge/main.py"}
    for version, edit in edits.items():
        at.with_network(
            "cd /srv && rm -rf copy && cp -r /root/smartstore copy && "
            f"sed -i 's/^version = .*/version = \"{version}\"/' copy/pyproject.toml && {edit or 'true'} && "
            f"{SMARTSTORE} release pack {version}.tar --source copy && "
            f"{SMARTSTORE} release software --dir repository --version {version} {version}.tar && rm {version}.tar"
        )


class Watched:
    """What is asked of the gateway on a booted machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.wrong: list[str] = []

    def expect(self, what: str, holds: bool, said: object = "") -> None:
        if not holds:
            self.wrong.append(f"{what}: {said}"[:300])

    def health(self) -> dict[str, object]:
        said = self.machine.sh(HEALTH).stdout.strip()
        found: dict[str, object] = json.loads(said) if said else {}
        return found

    def main_pid(self) -> int:
        return int(self.machine.show("smartstore", "MainPID") or 0)

    def returns(self, what: str, before: int, limit_s: float) -> float:
        """Seconds until another process serves."""

        def serves() -> bool:
            return self.main_pid() not in (0, before) and self.machine.show("smartstore", "ActiveState") == "active"

        took_s = self.machine.wait(serves, limit_s)
        self.expect(what, took_s < limit_s and bool(self.health()), f"{took_s:.0f} s")
        return took_s

    def updated(self, version: str) -> str:
        """Want a release and wait for the end of the updater; what the links name then."""
        journal = self.machine.sh("journalctl -u smartstore-update -o cat | grep -c gateway-").stdout
        self.machine.sh(WANT.format(version=version))
        self.machine.wait(
            lambda: self.machine.sh("journalctl -u smartstore-update -o cat | grep -c gateway-").stdout != journal, 60
        )
        self.machine.wait(lambda: self.machine.show("smartstore-update", "ActiveState") in ("inactive", "failed"), 400)
        self.machine.wait(lambda: self.health() != {}, 30)
        return self.machine.sh("readlink /opt/smartstore/current /opt/smartstore/good").stdout.strip()


def under_systemd(trial: Trial) -> Outcome:
    """Installed by the installer, started by its units, killed, hung, updated to a good and to a bad release."""
    debian(trial.folder / "debian")
    at = Chroot(trial.folder / "debian")
    at.with_network("sh /root/smartstore/deploy/install.sh")
    _releases(at)
    settings = at.folder / "var/lib/smartstore/gateway.toml"
    with settings.open("a", encoding="utf-8") as file:
        file.write(f'\n[updates]\nurl = "http://127.0.0.1:8000"\ngate_s = {GATE_S}.0\n')
    at.sh(
        "cp /srv/repository/metadata/1.root.json /var/lib/smartstore/root.json; "
        "chown smartstore: /var/lib/smartstore/root.json; rm /etc/systemd/system/smartstore*"
    )
    with booted(at.folder) as machine:
        seen = Watched(machine)
        figure = _life(machine, seen)
    for line in seen.wrong:
        trial.say(f"  {line}")
    return Outcome(1, len(seen.wrong), "; ".join(seen.wrong) or figure)


def _understood(machine: Machine, seen: Watched) -> None:
    """journald, systemd and udev have read our files: each names a line that it does not understand by file and line."""
    said = machine.sh("journalctl -b -o cat | grep -E 'smartstore[a-z-]*\\.(conf|service|path|timer):[0-9]+'").stdout
    seen.expect("no line of ours is unknown to systemd", not said, said)
    said = machine.sh("udevadm test /sys/class/mem/null 2>&1 | grep 60-smartstore").stdout
    seen.expect("udev reads the rules", "60-smartstore.rules" in said and "rules:" not in said, said)
    kept = machine.sh("systemd-analyze cat-config systemd/journald.conf | grep -c ^Storage=volatile").stdout.strip()
    where = machine.sh("ls -d /run/log/journal/*/ /var/log/journal/*/ 2>/dev/null").stdout
    seen.expect("logs live in memory", kept == "1" and "/run/log" in where and "/var/log" not in where, where)
    watchdog = machine.sh("systemctl show -p RuntimeWatchdogUSec --value").stdout.strip()
    seen.expect("the hardware watchdog is asked for", watchdog == "14s", watchdog)


def _life(machine: Machine, seen: Watched) -> str:
    done = machine.sh("sh /root/smartstore/deploy/install.sh")
    seen.expect("the installer starts the units", done.returncode == 0, done.stdout + done.stderr)
    machine.wait(lambda: machine.show("smartstore", "ActiveState") == "active", 60)
    stamps = [
        machine.show("smartstore", name)
        for name in ("ActiveEnterTimestampMonotonic", "ExecMainStartTimestampMonotonic")
    ]
    ready_s = (int(stamps[0] or 0) - int(stamps[1] or 0)) / 1e6
    first = seen.health()
    seen.expect("it serves", first.get("status") == "ok", first)
    for unit in ("smartstore", "smartstore-update"):
        said = machine.sh(f"systemd-analyze security --no-pager {unit}").stdout
        found = re.search(r"exposure level.*: ([\d.]+)", said)
        seen.expect(f"exposure of {unit}", bool(found) and float(found[1]) <= MAX_EXPOSURE, found and found[1])  # type: ignore[index]
    _understood(machine, seen)
    before = seen.main_pid()
    root = f"nsenter -t {before} -m setpriv --reuid smartstore --regid smartstore --clear-groups touch"
    for path in ("/opt/smartstore/x", "/usr/x", "/var/lib/smartstore/gateway.toml"):
        seen.expect(f"it cannot write {path}", machine.sh(f"{root} {path}").returncode != 0)
    machine.sh(f"kill -9 {before}")
    killed_s = seen.returns("served again after kill -9", before, 30)
    seen.expect("the same journal goes on", seen.health().get("epoch") == first.get("epoch"))
    before = seen.main_pid()
    machine.sh(f"kill -STOP {before}")
    hung_s = seen.returns("served again after it hung", before, 75)
    said = machine.sh("journalctl -u smartstore -o cat | grep -i 'watchdog timeout'").stdout
    seen.expect("the watchdog ended it", bool(said.strip()))
    machine.sh("cd /srv/repository && setsid python3 -m http.server --bind 127.0.0.1 8000 >/dev/null 2>&1 &")
    began_s = time.monotonic()
    links = seen.updated("9.0.1")
    updated_s = time.monotonic() - began_s
    seen.expect("a good release is kept", links == "slots/9.0.1\nslots/9.0.1", links)
    seen.expect("and runs", seen.health().get("version") == "9.0.1", seen.health().get("version"))
    links = seen.updated("9.0.2")
    seen.expect("a bad release is taken back", links == "slots/9.0.1\nslots/9.0.1", links)
    seen.expect("and the good one runs", seen.health().get("version") == "9.0.1", seen.health().get("version"))
    status = machine.sh(
        f"setpriv --reuid smartstore --regid smartstore --clear-groups {SMARTSTORE} "
        "update status --json -c /var/lib/smartstore/gateway.toml"
    ).stdout
    seen.expect("the refusal is named", "unhealthy" in status, status)
    seen.expect("facts go on in the same journal", seen.health().get("epoch") == first.get("epoch"))
    return (
        f"READY {ready_s:.1f} s, after kill -9 {killed_s:.0f} s, after a hang {hung_s:.0f} s (watchdog); "
        f"updated in {updated_s:.0f} s with a gate of {GATE_S} s, a crashing release taken back"
    )


PROMISES = (
    Promise("installer", "installer: idempotent, --check, --uninstall, --wipe in a fresh Debian", (0, 1, 1), installer),
    Promise("first_boot", "first boot by cloud-init: valid, tries until it is installed", (0, 1, 1), first_boot),
    Promise(
        "systemd", "real systemd: installed, killed, hung, updated, a bad release taken back", (0, 1, 1), under_systemd
    ),
)
