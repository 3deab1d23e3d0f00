"""A Debian that boots: systemd as process 1 of namespaces, with a network of its own that has a loopback only.

What a container manager does, by unshare(1) and pivot_root(8), so that units, watchdog, path units, timers and the
sandbox are systemd's own and not our idea of them. Control groups are version 2 without controllers where the machine
keeps those in version 1: memory limits are then not tried.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.fault._campaign import NotHere

ROOT = Path(__file__).parents[2]
DEBIAN = ("bookworm", "http://deb.debian.org/debian")
PACKAGES = "python3,python3-venv,passwd,systemd,systemd-sysv,dbus,udev,ca-certificates,iproute2"
LEFT_OUT = shutil.ignore_patterns(
    ".venv", ".git", "var", "__pycache__", "*.png", "node_modules", "build", "*.egg-info", ".*_cache", ".hypothesis"
)
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
BOOT = (
    """set -eu
root=$1
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do touch "dev/$node"; mount --bind "/dev/$node" "dev/$node"; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs dev/shm
ip link set lo up
hostname gateway-under-test
mkdir -p old
pivot_root . old
cd /
umount -l /old
exec env -i container=unshare PATH="""
    + PATH
    + " /lib/systemd/systemd\n"
)


@functools.cache
def _base() -> Path:
    """One Debian for all rows of this process; gone with it."""
    folder = tempfile.mkdtemp(prefix="campaign-debian-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", DEBIAN[0], f"{folder}/debian", DEBIAN[1]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotHere(f"debootstrap: {(done.stdout or done.stderr).strip().splitlines()[-1][:200]}")
    return Path(folder) / "debian"


def debian(folder: Path) -> None:
    """A minimal Debian in a folder. Raises NotHere without root, debootstrap or a network."""
    if os.geteuid() != 0:
        raise NotHere("only root can change its root")
    if shutil.which("debootstrap") is None:
        raise NotHere("debootstrap is not installed (`apt install debootstrap`)")
    subprocess.run(["cp", "-a", str(_base()), str(folder)], check=True)


class Chroot:
    """A Debian with the release in /root/smartstore; not booted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder / "root" / "smartstore", ignore=LEFT_OUT)

    def sh(self, line: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A line of shell inside."""
        environment = {"PATH": PATH, "START": "no", "PIP": "no", "LC_ALL": "C.UTF-8", "HOME": "/root", **more}
        command = ["chroot", str(self.folder), "/bin/sh", "-c", line]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def install(self, *arguments: str) -> tuple[int, str]:
        """Run the installer; its exit code and words."""
        done = self.sh(f"sh /root/smartstore/deploy/install.sh {' '.join(arguments)}")
        return done.returncode, (done.stdout + done.stderr).strip()

    def with_network(self, line: str) -> str:
        """A line that needs the package index. Raises NotHere with its last words where that cannot be reached."""
        shutil.copy("/etc/resolv.conf", self.folder / "etc/resolv.conf")
        kept = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        kept |= {name: os.environ[name] for name in ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT") if name in os.environ}
        if CERTIFICATES.exists():
            shutil.copy(CERTIFICATES, self.folder / CERTIFICATES.relative_to("/"))
            kept["PIP_CERT"] = str(CERTIFICATES)
        done = self.sh(line, PIP="yes", **kept)
        if done.returncode != 0:
            raise NotHere(f"{line[:60]}: {(done.stderr or done.stdout).strip().splitlines()[-1][:200]}")
        return done.stdout


def _groups() -> Path:
    """Where version 2 of control groups is mounted. Raises NotHere."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, *_ = line.split(" ")
        if kind == "cgroup2" and os.access(place, os.W_OK):
            return Path(place)
    raise NotHere("control groups of version 2 are not mounted, or not to be written")


class Machine:
    """A booted Debian."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._group = _groups() / f"smartstore-{os.getpid()}"
        self._unshare: subprocess.Popen[bytes] | None = None
        self._init = 0

    def boot(self) -> None:
        """Start systemd and wait until it answers. Raises NotHere where namespaces are not to be had."""
        self._group.mkdir(exist_ok=True)
        kinds = ["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--kill-child"]
        command = ["unshare", *kinds, "--propagation", "private", "/bin/sh", "-c", BOOT, "boot", str(self.folder)]
        (self.folder / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n", encoding="ascii")
        for unit in ("console-getty", "apt-daily.timer", "apt-daily-upgrade.timer", "systemd-networkd-wait-online"):
            name = unit if "." in unit else f"{unit}.service"
            mask = self.folder / "etc/systemd/system" / name
            mask.unlink(missing_ok=True)
            mask.symlink_to("/dev/null")

        def join() -> None:
            (self._group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

        self._unshare = subprocess.Popen(
            command, preexec_fn=join, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        until_s = time.monotonic() + 60
        while not self._answers():
            if self._unshare.poll() is not None:
                words = self._unshare.stderr.read().decode() if self._unshare.stderr else ""
                raise NotHere(f"systemd does not boot in namespaces here: {words.strip()[-200:]}")
            assert time.monotonic() < until_s, "systemd does not answer 60 s after its start"
            time.sleep(0.3)

    def _answers(self) -> bool:
        assert self._unshare is not None
        found = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text(encoding="ascii").split()
        self._init = int(found[0]) if found else 0
        return bool(found) and self.sh("systemctl is-system-running --wait").stdout.strip() in ("running", "degraded")

    def sh(self, line: str) -> subprocess.CompletedProcess[str]:
        """A line of shell inside, as root."""
        command = [
            "nsenter",
            "-t",
            str(self._init),
            "-m",
            "-p",
            "-u",
            "-i",
            "-n",
            "-C",
            "/bin/sh",
            "-c",
            f"cd /; {line}",
        ]

        def join() -> None:
            with contextlib.suppress(OSError):
                (self._group / "init.scope" / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

        environment = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", "TERM": "dumb"}
        return subprocess.run(
            command, preexec_fn=join, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.sh(f"systemctl show {unit} -p {name} --value").stdout.strip()

    def wait(self, holds: Callable[[], bool], limit_s: float) -> float:
        """How long it took until it held; `limit_s` and more where it did not."""
        began_s = time.monotonic()
        while time.monotonic() - began_s < limit_s and not holds():
            time.sleep(0.2)
        return time.monotonic() - began_s

    def halt(self) -> None:
        """End process 1, and with it everything inside."""
        if self._unshare is None:
            return
        if self._init:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)
        self._unshare.kill()
        self._unshare.communicate()
        for _ in range(20):  # children first; the kernel needs a moment to empty them
            for folder in sorted(self._group.rglob("*"), key=lambda path: -len(path.parts)):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):
                self._group.rmdir()
                return
            time.sleep(0.1)


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """A machine for as long as it is needed."""
    machine = Machine(folder)
    try:
        machine.boot()
        yield machine
    finally:
        machine.halt()
