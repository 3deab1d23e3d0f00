"""The installer in a fresh Debian (debootstrap): twice, checked, edited and repaired, removed, wiped."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.fault._campaign import NotHere, Outcome, Promise, Trial

ROOT = Path(__file__).parents[2]
DEBIAN = ("bookworm", "http://deb.debian.org/debian")
PACKAGES = "python3,python3-venv,passwd"
LEFT_OUT = shutil.ignore_patterns(".venv", ".git", "var", "__pycache__", "*.png", "node_modules")


def _debian(folder: Path) -> None:
    """A minimal Debian in a folder. Raises NotHere without root, debootstrap or a network."""
    if os.geteuid() != 0:
        raise NotHere("only root can change its root")
    if shutil.which("debootstrap") is None:
        raise NotHere("debootstrap is not installed (`apt install debootstrap`)")
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", DEBIAN[0], str(folder), DEBIAN[1]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotHere(f"debootstrap: {(done.stdout or done.stderr).strip().splitlines()[-1][:200]}")


class Chroot:
    """A Debian with the release in /root/smartstore."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder / "root" / "smartstore", ignore=LEFT_OUT)

    def sh(self, line: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "START": "no", "PIP": "no", "LC_ALL": "C"}
        return subprocess.run(
            ["chroot", str(self.folder), "/bin/sh", "-c", line],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def install(self, *arguments: str) -> tuple[int, str]:
        done = self.sh(f"sh /root/smartstore/deploy/install.sh {' '.join(arguments)}")
        return done.returncode, (done.stdout + done.stderr).strip()


def installer(trial: Trial) -> Outcome:
    """One Debian, every way in and out."""
    _debian(trial.folder / "debian")
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


PROMISES = (
    Promise("installer", "installer: idempotent, --check, --uninstall, --wipe in a fresh Debian", (0, 1, 1), installer),
)
