"""Faults of links: devices' serial ports and addresses, the API's port, the way to the broker."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from edge.doctor.finding import Finding, Grade, judged

PROBE_S = 2.0
SCHEMES = ("serial", "tcp", "tls", "replay", "sim")
_UNSTABLE = re.compile(r"^/dev/tty(USB|ACM)\d+$")
_WHY = {
    ConnectionRefusedError: "it answers, but nothing listens there: check the port, restart the device",
    TimeoutError: "nothing answers: check power, cable and address",
    socket.gaierror: "the name is not known: check DNS, or use its address",
    PermissionError: "this machine may not go there: check the firewall and IPAddressAllow of the service",
}


def api_port(host: str, port: int) -> Finding:
    """Whether the API's port is free (the running gateway itself holds it)."""
    if port == 0:
        return Finding("api port", Grade.OK, "chosen by the system")
    with socket.socket() as probe:
        probe.settimeout(PROBE_S)
        taken = probe.connect_ex((host, port)) == 0
    found = f"{host}:{port} " + ("is in use" if taken else "is free")
    action = "by the running gateway that is well; else `ss -ltnp` shows by whom"
    return judged("api port", not taken, found, action, Grade.WARNING)


def devices(links: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Each (device, moniker), and monikers that two devices share."""
    seen: dict[str, str] = {}
    for device, moniker in links:
        scheme, _, rest = moniker.partition(":")
        address = rest.partition("?")[0]
        if other := seen.get(address):
            action = "one wire has one device: correct the settings of one of them"
            yield Finding(f"device {device}", Grade.FAULT, f"{moniker} is the link of {other}, too", action)
            continue
        seen[address] = device
        if scheme not in SCHEMES:
            action = f"expected one of {', '.join(SCHEMES[:3])}"
            yield Finding(f"device {device}", Grade.FAULT, f"link {moniker!r}", action)
        elif scheme in ("tcp", "tls"):
            yield tcp(f"device {device}", address, 5085 if scheme == "tls" else 5084)
        elif scheme == "serial":
            yield serial(f"device {device}", address)


def serial(check: str, path: str) -> Finding:
    """A serial port: there, allowed, not in somebody else's hands, under a name that stays."""
    if not Path(path).exists():
        action = "check the cable and the adapter; `ls /dev/serial/by-id` lists what is there"
        return Finding(check, Grade.FAULT, f"{path} does not exist", action)
    if not os.access(path, os.R_OK | os.W_OK):
        return Finding(check, Grade.FAULT, f"{path}: no permission", "add the service's user to the group dialout")
    if _locked(path):
        action = "the running gateway holds it, which is well; else `fuser -v` names who does"
        return Finding(check, Grade.OK, f"{path} is in use", action)
    if _UNSTABLE.match(path):
        action = "after a restart another adapter may have this name: use its path in /dev/serial/by-id"
        return Finding(check, Grade.WARNING, f"{path} is there, under a name that may change", action)
    return Finding(check, Grade.OK, f"{path} is there")


def _locked(path: str) -> bool:
    """Whether another process has locked the port (flock, as pyserial's exclusive mode does)."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def tcp(check: str, address: str, default_port: int) -> Finding:
    """Whether something accepts connections there, and why not."""
    parts = urlsplit(f"//{address}")
    try:
        with socket.create_connection((parts.hostname or "", parts.port or default_port), PROBE_S):
            return Finding(check, Grade.OK, f"{address} accepts connections")
    except ValueError:
        return Finding(check, Grade.FAULT, f"{address!r} is no address", "expected host:port")
    except OSError as error:
        return Finding(check, Grade.FAULT, f"{address}: {error.strerror or error}", _action(error))


def _action(error: OSError) -> str:
    for kind, action in _WHY.items():
        if isinstance(error, kind):
            return action
    return "check power, cable, address and switch"


def uplink_file(name: str, path: str) -> Iterator[Finding]:
    """A file that ``[uplink]`` names: there, and to be read. Those of systemd are there for the service alone."""
    if not path or path.startswith("/run/credentials/"):
        return
    found = f"{path} is there" if Path(path).exists() else f"{path} does not exist"
    if Path(path).exists() and not os.access(path, os.R_OK):
        found = f"{path} cannot be read by this user"
    action = "put it there, readable for the service's user: until then there is no connection, and facts wait"
    yield judged(f"uplink {name}", os.access(path, os.R_OK), found, action)


def broker(address: str, host: str, port: int, tls: ssl.SSLContext | None) -> Finding:
    """The way to one broker: name, port, TLS."""
    check = f"broker {address}"
    try:
        raw = socket.create_connection((host, port), PROBE_S)
    except OSError as error:
        return Finding(check, Grade.FAULT, error.strerror or str(error), f"{_action(error)}; facts wait meanwhile")
    with closing(raw):
        if tls is None:
            return Finding(check, Grade.OK, "accepts connections")
        try:
            with tls.wrap_socket(raw, server_hostname=host) as secured:
                return Finding(check, Grade.OK, f"accepts connections, {secured.version()}")
        except ssl.SSLCertVerificationError as error:
            return Finding(check, Grade.FAULT, error.verify_message, _certificate_action(error.verify_message))
        except (ssl.SSLError, OSError) as error:
            action = "it may not speak TLS on this port, or refuse our certificate: enrol again, ask the platform"
            return Finding(check, Grade.FAULT, str(error), action)


def _certificate_action(message: str) -> str:
    if "not yet valid" in message:
        return "the clock is wrong: allow NTP; the certificate is well"
    if "expired" in message:
        return "the broker's certificate has expired (or the clock is wrong): tell the platform"
    if "hostname" in message.lower() or "ip address" in message.lower():
        return "the certificate is for another name: correct uplink.hosts"
    return "this is not the platform's broker, or uplink.ca_file is of another platform: do not go on"
