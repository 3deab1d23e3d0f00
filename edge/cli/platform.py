"""``smartstore platform``: the reference platform with a broker of its own (NATS) or an existing one, on SQLite or
PostgreSQL; with ``--queries-only`` the API alone, beside the ingest workers of a cluster.

It serves an HTTPS API with a certificate of its own CA: queries and metrics behind a token (``api.token``), enrolment
for gateways. What other calls of the command need to find it is in ``platform.json`` of its folder.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import ssl
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import typer

from cloud_bridge.ingest.access import PLATFORM_USER
from cloud_bridge.ingest.authority import Authority, key_pem, new_key
from cloud_bridge.ingest.broker import nats_broker
from cloud_bridge.ingest.enrolment import Enrolments, compact
from cloud_bridge.ingest.platform import Platform, PlatformSettings, load_signer
from cloud_bridge.ingest.public_names import PublicNames
from cloud_bridge.ingest.query import LiveSight, Place, Sight, StoredSight
from cloud_bridge.ingest.store import PlatformStore, SqliteStore, StoreLost
from cloud_bridge.settings import UplinkSettings, endpoint
from edge.access.bundle import fingerprint
from edge.cli.api import table
from edge.cli.client import ApiFault, Client
from edge.core.errors import SettingsError
from edge.core.plain import PlainError, build
from edge.files import PRIVATE, write_json, write_whole

STORE_COLUMNS = ("tenant", "store", "epoch", "complete_to", "promised", "missing", "online", "refused")
SERVER_DAYS = 365.0
PATIENCE_S = 3.0
SHOPPER_PAGE = Path(__file__).parents[1] / "api" / "shopper"


@dataclass(frozen=True, slots=True)
class PlatformOptions:
    """What the command line asks for. broker "" starts one; names: host names of the API besides `host`.

    postgres: keep facts there; group: share them with the platforms of one MQTT 5 group; queries_only: consume nothing,
    serve what ingest workers keep in `postgres`. Raises PlainError for what does not fit together.
    """

    directory: Path
    broker: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    names: tuple[str, ...] = ()
    postgres: str = ""
    group: str = ""
    queries_only: bool = False

    def __post_init__(self) -> None:
        for key, given in (("--shared-group", self.group), ("--queries-only", self.queries_only)):
            if given and not (self.postgres and self.broker):
                raise PlainError(key, given, "together with --postgres and --broker")
        if self.postgres and not self.postgres.startswith(("postgresql://", "postgres://")):
            raise PlainError(
                "--postgres", self.postgres.partition(":")[0], "an address such as postgresql://user@host/database"
            )


@dataclass(frozen=True, slots=True)
class Running:
    """``platform.json``: where the platform that uses this folder is."""

    api: str
    mqtt: str
    key_name: str


def serve_platform(options: PlatformOptions, as_json: bool) -> int:
    """Run until SIGTERM or Ctrl-C."""
    options.directory.mkdir(parents=True, exist_ok=True)
    asyncio.run(_serve(options, as_json))
    return 0


async def _serve(options: PlatformOptions, as_json: bool) -> None:
    directory, address = options.directory, options.broker
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        authority = Authority.load(directory / "ca")
        if options.queries_only:
            await _serve_queries(options, authority, stop, as_json)
            return
        if not address:
            embedded = await stack.enter_async_context(nats_broker(directory / "broker"))
            address = embedded.address
        platform = Platform(platform_settings(options, address, authority))
        running = asyncio.create_task(platform.run())
        stopped = asyncio.create_task(stop.wait())
        await _connected(platform, address, {running, stopped})
        serving: asyncio.Task[None] | None = None
        if platform.ready.is_set() and not running.done():
            assert platform.consumer is not None  # it is connected
            sight = StoredSight(platform.store) if options.postgres else LiveSight(platform.consumer)
            api, serving = await _start_api(options, platform.store, sight, authority)
            _say_ready(platform.settings, Running(api, address, platform.settings.key_name), directory, as_json)
        tasks = [running, *([serving] if serving else [])]
        await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        ended = next((task for task in tasks if task.done()), None)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if ended is not None:
            await ended  # raises what ended it
        if as_json:
            typer.echo(json.dumps({"stopped": True, **asdict(platform.counters)}, default=str))


async def _serve_queries(options: PlatformOptions, authority: Authority, stop: asyncio.Event, as_json: bool) -> None:
    """API, metrics and enrolment over what ingest workers keep; no broker, nothing consumed."""
    from cloud_bridge.ingest.postgres import PostgresStore  # noqa: PLC0415 (asyncpg is an extra)

    store = PostgresStore(options.postgres)
    stopped, told = asyncio.create_task(stop.wait()), False
    while True:
        try:
            await store.open()
            break
        except StoreLost as lost:
            if not told:
                typer.echo(f"smartstore: {lost}; trying on until it answers", err=True)
            told = True
        await asyncio.wait([stopped], timeout=1.0)
        if stopped.done():
            return
    settings = platform_settings(options, options.broker, authority)
    api, serving = await _start_api(options, store, StoredSight(store), authority)
    _say_ready(settings, Running(api, options.broker, settings.key_name), options.directory, as_json)
    await asyncio.wait([stopped, serving], return_when=asyncio.FIRST_COMPLETED)
    ended = serving.done()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await store.close()
    if ended:
        await serving  # raises what ended it


async def _connected(platform: Platform, address: str, ends: set[asyncio.Task[Any]]) -> None:
    """Until the broker has answered or one of `ends` is over; who waits for long is told what for, once."""
    ready = asyncio.create_task(platform.ready.wait())
    done, _ = await asyncio.wait({ready, *ends}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    if not done:
        typer.echo(
            f"smartstore: broker {address} does not answer ({platform.cause}); trying on until it does", err=True
        )
        await asyncio.wait({ready, *ends}, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()


def platform_settings(options: PlatformOptions, address: str, authority: Authority) -> PlatformSettings:
    """Of the platform in a folder; with a certificate of its own where the broker speaks TLS.

    Raises PlainError for what is no address.
    """
    link, directory = UplinkSettings(), options.directory
    try:
        secure = endpoint(address).secure
    except PlainError as error:
        raise PlainError("--broker", error.value, error.expected) from None
    if secure:
        key, certificate = directory / "client.key", directory / "client.pem"
        made = new_key()
        write_whole(key, key_pem(made), PRIVATE)
        write_whole(certificate, authority.client_certificate(made, PLATFORM_USER, SERVER_DAYS), PRIVATE)
        ca = str(directory / "ca" / "ca.pem")
        link = replace(link, ca_file=ca, cert_file=str(certificate), key_file=str(key))
    database, key_file = str(directory / "platform.db"), str(directory / "platform.key")
    client_id = f"{PLATFORM_USER}-{socket.gethostname()}-{os.getpid()}" if options.group else PLATFORM_USER
    return PlatformSettings(
        (address,),
        database=database,
        postgres=options.postgres,
        key_file=key_file,
        client_id=client_id.replace(".", "-"),  # NATS takes no dot
        shared_group=options.group,
        link=link,
    )


async def _start_api(
    options: PlatformOptions, store: PlatformStore, sight: Sight, authority: Authority
) -> tuple[str, asyncio.Task[None]]:
    """Address and task of the HTTPS API, which answers when this returns. Raises SettingsError for a port in use."""
    import uvicorn  # noqa: PLC0415 (only who serves pays for it)

    from cloud_bridge.ingest.service import make_service  # noqa: PLC0415
    from cloud_bridge.ingest.shopper import make_shopper  # noqa: PLC0415
    from edge.api.app import Server, bind  # noqa: PLC0415

    directory = options.directory
    listener = bind(options.host, options.port)
    certificate, key = directory / "api.pem", directory / "api.key"
    made, names = new_key(), dict.fromkeys((options.host, "127.0.0.1", "localhost", *options.names))
    write_whole(key, key_pem(made), PRIVATE)
    write_whole(certificate, authority.server_certificate(made, names, SERVER_DAYS), PRIVATE)
    enrolments = Enrolments(directory, authority)
    app = make_service(store, sight, enrolments, PublicNames(directory), api_token(directory), read_places(directory))
    # Before the rest, which is mounted at the root.
    app.router.routes[:0] = make_shopper(store, SHOPPER_PAGE).routes
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        server_header=False,
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
    )
    config.load()
    assert config.ssl is not None  # by the two files
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await server.serving.wait()
    return f"https://{options.host}:{listener.getsockname()[1]}", task


def api_token(directory: Path) -> str:
    """The token of the query API; made on first use, readable by its owner only."""
    path = directory / "api.token"
    if not path.exists():
        write_whole(path, secrets.token_urlsafe(24).encode(), PRIVATE)
    return path.read_text(encoding="ascii").strip()


def read_places(directory: Path) -> dict[tuple[str, str], Place]:
    """``places.json``: {"tenant/store": {"latitude": …, "longitude": …}}; none without it. Raises SettingsError."""
    path = directory / "places.json"
    if not path.exists():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(rows, Mapping):
            raise PlainError("places", rows, 'an object {"tenant/store": {"latitude": 35.6, "longitude": 139.7}}')
        found = {}
        for name, row in rows.items():
            tenant, _, store = name.partition("/")
            found[(tenant, store)] = build(Place, row, name)
    except PlainError as error:
        raise SettingsError(str(path), error.key, error.value, error.expected) from None
    except (OSError, ValueError) as error:
        raise SettingsError(str(path), "file", str(error), "valid JSON in UTF-8") from None
    return found


def _say_ready(settings: PlatformSettings, running: Running, directory: Path, as_json: bool) -> None:
    write_json(directory / "platform.json", asdict(running))
    key = base64.b64encode(load_signer(Path(settings.key_file)).public_key).decode()
    database = re.sub(r"(?<=:)[^:@/]+(?=@)", "***", settings.postgres) or settings.database
    told: dict[str, Any] = {
        "ready": True,
        "mqtt": running.mqtt,
        "keys": {settings.key_name: key},
        "database": database,
        "api": running.api,
        "ca": str(directory / "ca" / "ca.pem"),
        "token_file": str(directory / "api.token"),
    }
    if as_json:
        typer.echo(json.dumps(told))
        sys.stdout.flush()
        return
    typer.echo(f"broker    {running.mqtt}\ndatabase  {database}")
    typer.echo(f"API       {running.api}  (CA {told['ca']}, token {told['token_file']})")
    typer.echo(f"settings for a gateway:\n\n[uplink]\nhosts = [{json.dumps(running.mqtt)}]\n")
    typer.echo(f"[uplink.platform_keys]\n{settings.key_name} = {json.dumps(key)}")


# --- other calls of the command ---------------------------------------------------------------------------------------


def running_platform(directory: Path) -> Running:
    """Raises SettingsError where no platform was ever started in this folder."""
    path = directory / "platform.json"
    try:
        return build(Running, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        expected = "the folder (--dir) of a platform that was started"
        raise SettingsError(str(path), "file", "missing or damaged", expected) from None


def show_stores(directory: Path, as_json: bool) -> None:
    """Every store: complete up to where, what is missing, online. From the running platform, else from its database."""
    running = running_platform(directory)
    client = Client(running.api, api_token(directory), (directory / "ca" / "ca.pem").read_text(encoding="ascii"))
    try:
        rows: list[dict[str, Any]] = client.call("GET", "/v1/stores")
    except ApiFault:
        database = directory / "platform.db"
        if not database.exists():
            raise SettingsError(str(database), "file", "missing", "the database of a platform that ran") from None
        rows = asyncio.run(_stored(database))
    if as_json:
        typer.echo(json.dumps({"stores": rows}))
    else:
        table(rows, STORE_COLUMNS)


async def _stored(database: Path) -> list[dict[str, Any]]:
    from cloud_bridge.ingest.query import store_row  # noqa: PLC0415

    store = SqliteStore(database)
    try:
        return [store_row(stream) | {"online": None} for stream in await store.open()]
    finally:
        await store.close()


def _place(text: str) -> tuple[str, str]:
    tenant, _, store = text.partition("/")
    if not tenant or not store:
        raise PlainError("store", text, "tenant/store")
    return tenant, store


def make_bundle(directory: Path, store: str, hosts: tuple[str, ...], qr: bool) -> None:
    """Print a store's enrolment bundle: JSON on standard output, or a QR code. Raises PlainError, SettingsError."""
    running = running_platform(directory)
    signer = load_signer(directory / "platform.key")
    enrolments = Enrolments(directory, Authority.load(directory / "ca"))
    try:
        bundle = enrolments.bundle(_place(store), hosts or (running.mqtt,), running.api, signer, running.key_name)
    except PlainError:
        raise
    except ValueError as error:
        raise PlainError("store", store, str(error)) from None
    finally:
        enrolments.close()
    mark = fingerprint(base64.b64encode(signer.public_key).decode())
    typer.echo(f"fingerprint of the platform's key, to be compared at the gateway: {mark}", err=True)
    if not qr:
        typer.echo(bundle.decode())
        return
    import segno  # noqa: PLC0415

    segno.make(compact(bundle), error="l").terminal(compact=True)


def revoke_store(directory: Path, store: str, as_json: bool) -> None:
    """Revoke a store's certificates; brokers read ``revoked.pem`` (mosquitto: SIGHUP)."""
    tenant, name = _place(store)
    enrolments = Enrolments(directory, Authority.load(directory / "ca"))
    count = enrolments.revoke(tenant, name)
    enrolments.close()
    told = {"tenant": tenant, "store": name, "revoked": count, "list": str(enrolments.revoked)}
    typer.echo(json.dumps(told) if as_json else f"{count} certificates of {store} revoked; {told['list']} is written")
