"""The central side on one machine, for tests and trials: a NATS cluster of three, PostgreSQL, ingest workers.

``python -m cloud_bridge.ingest.central --folder var/central`` starts it from pip and Debian packages; elsewhere use
`deploy/central/compose.yaml`. Everything binds to 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cloud_bridge.ingest.broker import MAX_PAYLOAD_BYTES, Broker, BrokerError, TlsFiles, free_port, nats_program
from cloud_bridge.ingest.secured import Secured, secure

NODES = 3
FOLLOW_S = 0.5
HOST = "127.0.0.1"
DATABASE_USER = "smartstore"
JS_API_TIMEOUT = "2s"
"""How long a node waits for a stream's leader before it drops the publishing client, which then tries elsewhere. An
election takes 4 to 9 s; with the server's default of 5 s a client that asked too early waits for 10."""
SYNC_INTERVAL = "1s"
"""JetStream's own fsync. Every message is on three nodes before PUBACK, and a store keeps its facts until PostgreSQL
has them, so nothing rests on it. Where gateways run with ``trust_puback`` their facts rest on it alone: then use
``always``. Three pairs of `bench fleet --connections 500 --kills 0`, in turn, on a busy machine of two cores and one
disk (2.1 ms an fsync), medians: batches 26,500 facts/s with ``always``, 26,300 with ``1s`` (messages of one moment
share an fsync); one fact a message 4,800 against 6,500. A client that waits for each PUBACK waits for the fsyncs."""


class Postgres(Broker):
    """A PostgreSQL server of its own in a folder. As root it runs as the user `postgres` of Debian's package."""

    stop_signal = signal.SIGINT  # PostgreSQL's "fast": SIGTERM would wait for its clients to leave

    def __init__(self, folder: Path) -> None:
        self._data, self._bin = folder / "data", postgres_programs()
        port = free_port()
        arguments = ["-D", str(self._data), "-p", str(port), "-k", str(self._data), "-h", HOST]
        arguments += ["-c", "shared_buffers=128MB", "-c", "max_wal_size=2GB", "-c", "max_connections=40"]
        super().__init__(self._bin / "postgres", arguments, folder / "postgres.log", HOST, port)

    @property
    def address(self) -> str:
        return f"postgresql://{DATABASE_USER}@{HOST}:{self.port}/postgres"

    async def start(self) -> None:
        """Make the cluster when there is none, start, wait until it answers."""
        await asyncio.to_thread(self._prepare)
        await super().start()

    async def _answers(self) -> bool:
        """A server that still recovers takes connections only to refuse them, so the port alone says nothing."""
        quiet = asyncio.subprocess.DEVNULL
        command = [str(self._bin / "pg_isready"), "-q", "-h", self.host, "-p", str(self.port)]
        return await (await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet)).wait() == 0

    def _prepare(self) -> None:
        self._data.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            for path in (self._data.parent, self._data):
                os.chown(path, account.pw_uid, account.pw_gid)
        if (self._data / "PG_VERSION").exists():
            return
        command = [str(self._bin / "initdb"), "-D", str(self._data), "-A", "trust", "-U", DATABASE_USER, "-E", "UTF8"]
        user = _owner()
        done = subprocess.run(command, capture_output=True, check=False, cwd=self._data, user=user, group=user)
        if done.returncode:
            raise BrokerError(f"initdb: {done.stderr.decode('utf-8', 'replace')[-300:]}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            command = [str(self._program), *self._arguments]
            user = _owner()
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self._data, user=user, group=user)


def _owner() -> str | None:
    return "postgres" if os.geteuid() == 0 else None


def postgres_programs() -> Path:
    """The folder with initdb and postgres. Raises BrokerError."""
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if found := shutil.which("initdb"):
        folders.append(Path(found).parent)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise BrokerError("PostgreSQL is missing: install it with apt-get install postgresql")


def nats_cluster(
    folder: Path, nodes: int = NODES, sync_interval: str = SYNC_INTERVAL, secured: Secured | None = None
) -> list[NatsNode]:
    """The brokers of a cluster that keeps each message on all of them; `port` is the MQTT port of each.

    secured: TLS on every port, between the nodes too, and to each certificate what `access` lets it do.
    """
    tls = _tls(secured.node, "verify_and_map") if secured else ""
    peers_tls = _tls(secured.node, "verify") if secured else ""
    lists = f'{tls}\ninclude "{os.path.relpath(secured.permissions, folder / "n1")}"\n' if secured else ""
    routes = [free_port() for _ in range(nodes)]
    made = []
    for number in range(nodes):
        home = folder / f"n{number + 1}"
        home.mkdir(parents=True, exist_ok=True)
        mqtt_port, client_port = free_port(), free_port()
        peers = ", ".join(f'"nats://{HOST}:{port}"' for port in routes)
        config = home / "nats.conf"
        config.write_text(
            f'server_name: n{number + 1}\nhost: "{HOST}"\nport: {client_port}\nmax_payload: {MAX_PAYLOAD_BYTES}\n'
            f'jetstream {{ store_dir: "{home}/jetstream", sync_interval: {sync_interval} }}\n'
            f'mqtt {{ host: "{HOST}", port: {mqtt_port}, max_ack_pending: 1000, stream_replicas: {min(3, nodes)}, '
            f'js_api_timeout: "{JS_API_TIMEOUT}", {tls} }}\n'
            f'cluster {{ name: central, listen: "{HOST}:{routes[number]}", routes: [{peers}], {peers_tls} }}\n{lists}',
            encoding="utf-8",
        )
        made.append(NatsNode(f"n{number + 1}", config, mqtt_port, client_port, secure=secured is not None))
    return made


def _tls(files: TlsFiles, check: str) -> str:
    paths = f'ca_file: "{files.ca}", cert_file: "{files.certificate}", key_file: "{files.key}"'
    return f'tls {{ {paths}, {check}: true, min_version: "1.3" }}'


class NatsNode(Broker):
    """One node; `client_address` is for NATS clients, `address` for MQTT."""

    def __init__(self, name: str, config: Path, mqtt_port: int, client_port: int, *, secure: bool = False) -> None:
        super().__init__(nats_program(), ["-c", str(config)], config.with_suffix(".log"), HOST, mqtt_port)
        self.name = name
        self.client_address = f"{'tls' if secure else 'nats'}://{HOST}:{client_port}"
        self._scheme = "mqtts" if secure else "mqtt"

    @property
    def address(self) -> str:
        """As in the settings' `hosts`."""
        return f"{self._scheme}://{self.host}:{self.port}"


class Central:
    """Cluster, database and workers together. `tenants` are shared out over the workers.

    tls: certificates and permissions; who enrols, renews or is revoked (`smartstore platform --dir` in the same folder)
    is let in or put out within a second.
    """

    def __init__(
        self,
        folder: Path,
        workers: int = 1,
        tenants: Sequence[str] = (),
        sync_interval: str = SYNC_INTERVAL,
        *,
        tls: bool = False,
    ) -> None:
        self.folder, self.tenants = folder, list(tenants)
        self.secured = secure(folder, [HOST, "localhost"]) if tls else None
        self.nodes = nats_cluster(folder, sync_interval=sync_interval, secured=self.secured)
        self._watching: asyncio.Task[None] | None = None
        self.database = Postgres(folder / "postgres")
        self._n_workers = workers
        self._workers: list[subprocess.Popen[bytes]] = []

    @property
    def key_file(self) -> Path:
        """The platform's signing key."""
        return self.folder / "platform.key"

    async def __aenter__(self) -> Central:
        self.folder.mkdir(parents=True, exist_ok=True)
        known = _written_at(self.secured.permissions) if self.secured else 0  # what the nodes read at their start
        try:
            await self.database.start()
            await asyncio.gather(*(node.start() for node in self.nodes))
            for number in range(self._n_workers):
                self._workers.append(self._start_worker(number))
        except BaseException:
            await self.__aexit__()
            raise
        if self.secured is not None:
            self._watching = asyncio.create_task(self._follow(self.secured.permissions, known))
        return self

    async def _follow(self, permissions: Path, known: int) -> None:
        """Have the nodes read the list anew when it changes: who is no longer on it loses the connection at once."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            if _written_at(permissions) != known:
                known = _written_at(permissions)
                for node in self.nodes:
                    node.reload()

    def _start_worker(self, number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "cloud_bridge.ingest.jetstream", "--name", f"ingest-{number}"]
        command += ["--servers", ",".join(node.client_address for node in self.nodes)]
        command += ["--postgres", self.database.address, "--key-file", str(self.key_file)]
        mine = self.tenants[number :: self._n_workers]
        command += ["--tenants", ",".join(mine)] if mine else []
        if self.secured is not None:
            files = self.secured.ingest
            command += ["--ca-file", str(files.ca), "--cert-file", str(files.certificate)]
            command += ["--cert-key-file", str(files.key)]
        with (self.folder / f"worker-{number}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def worker_faults(self) -> list[str]:
        """What workers that ended said last; empty while all run."""
        return [
            (self.folder / f"worker-{number}.log").read_text("utf-8", "replace")[-400:]
            for number, worker in enumerate(self._workers)
            if worker.poll() is not None
        ]

    async def __aexit__(self, *_: object) -> None:
        if self._watching is not None:
            self._watching.cancel()
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            await asyncio.to_thread(worker.wait)
        for server in (*self.nodes, self.database):
            await server.stop()


def _written_at(path: Path) -> int:
    return path.stat().st_mtime_ns


async def _stay(central: Central) -> None:
    async with central:
        hosts = ", ".join(f'"{node.address}"' for node in central.nodes)
        sys.stdout.write(f"hosts = [{hosts}]\npostgres = {central.database.address!r}\n")
        sys.stdout.write(
            f"query API, metrics and enrolment: smartstore platform --queries-only --dir {central.folder} "
            f"--postgres {central.database.address} --broker {central.nodes[0].address}\n"
        )
        sys.stdout.flush()
        await asyncio.Event().wait()


def main(argv: Sequence[str] | None = None) -> None:
    """Start the central side and stay until Ctrl-C; prints the gateway's `hosts`."""
    parser = argparse.ArgumentParser(prog="python -m cloud_bridge.ingest.central", description="the central side")
    parser.add_argument("--folder", type=Path, default=Path("var/central"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--tenants", default="", help="separated by commas; needed to share work over several workers")
    parser.add_argument(
        "--sync",
        default=SYNC_INTERVAL,
        help="JetStream's sync_interval; always where gateways run with trust_puback, whose facts rest on it alone",
    )
    parser.add_argument("--tls", action="store_true", help="TLS and permissions: only enrolled stores are let in")
    options = parser.parse_args(argv)
    tenants = list(filter(None, options.tenants.split(",")))
    if options.workers > max(1, len(tenants)):
        parser.error(f"--workers {options.workers}: expected at most one a tenant, tenants are {tenants}")
    with contextlib.suppress(KeyboardInterrupt):
        folder = options.folder.resolve()
        asyncio.run(_stay(Central(folder, options.workers, tenants, options.sync, tls=options.tls)))


if __name__ == "__main__":
    main()
