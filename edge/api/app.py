"""The ASGI application: routes, problems, headers, and the server that runs in the gateway's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections import ChainMap
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import State

from edge.api import (
    access_routes,
    beacon_routes,
    configuration_routes,
    console,
    device_routes,
    door_routes,
    enrolment_routes,
    job_routes,
    label_routes,
    network_routes,
    offers_routes,
    pages,
    problems,
    reading_routes,
    record_routes,
    rfid_routes,
    routes,
    shopper_routes,
    store_routes,
    support,
    update_routes,
    watch_routes,
)
from edge.api import hot as hot_reads
from edge.api.desk import keep_promises
from edge.api.door import door
from edge.api.guard import Guard
from edge.api.openapi import describe
from edge.api.quick import Quick
from edge.api.services import Services
from edge.api.store_routes import zone_of
from edge.api.tally import Tally
from edge.core.errors import SettingsError

STATIC = Path(__file__).parent / "static"
ROUTERS = (  # asked in this order: what phones ask by the hundred comes first
    offers_routes,
    shopper_routes,
    routes,
    access_routes,
    enrolment_routes,
    device_routes,
    door_routes,
    rfid_routes,
    store_routes,
    job_routes,
    reading_routes,
    record_routes,
    label_routes,
    beacon_routes,
    network_routes,
    configuration_routes,
    support,
    update_routes,
    watch_routes,
    console,
)


def create_app(services: Services) -> Guard:
    """The application over these services, behind its guard."""
    app = FastAPI(title="Smart-store edge gateway", version=services.version, docs_url=None, redoc_url=None)
    app.state.services = services
    app.state.pages = hot_reads.Pages(services)
    app.state.tally = Tally(services.runtime.journal, services.runtime.clock, services.runtime.journal)
    problems.install(app, pages.problem)
    for room in ROUTERS:
        app.include_router(room.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    describe(app)
    hot = [getattr(room, "HOT", {}) for room in (hot_reads, *ROUTERS)]
    return Guard(Quick(app, services, app.state, dict(ChainMap(*hot))), services, app.state)


class Server(uvicorn.Server):
    """uvicorn in the gateway's loop: signals belong to the composition root; `serving` tells when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()
        self.beside: Callable[[], Coroutine[Any, Any, None]] | None = None
        """Endless work of the rooms behind the routes, while it serves."""
        self._beside: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        if self.beside is not None:
            self._beside = asyncio.create_task(self.beside(), name="promises")
        self.serving.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop what works beside, then the server."""
        if self._beside is not None:
            self._beside.cancel()
            await asyncio.gather(self._beside, return_exceptions=True)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening address, taken before anything else starts. Raises SettingsError naming who may hold it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off: head and body of an answer are two segments, and
    # the second would wait 40 ms for the acknowledgement of the first.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        expected = "a free port and an address of this machine (`ss -ltnp` shows who holds it)"
        raise SettingsError("settings", "api.port", f"{host}:{port} ({error.strerror})", expected) from None
    return listener


def make_server(services: Services, context: ssl.SSLContext | None = None) -> Server:
    """A server for `serve(sockets=[bind(...)])`, over TLS where a context is given."""
    app = create_app(services)
    config = uvicorn.Config(
        app,
        http=door(context) if context else "httptools",
        ws="none",
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        server_header=False,
        proxy_headers=False,
    )
    server = Server(config)
    server.beside = functools.partial(_beside, app.state, services)
    return server


async def _beside(state: State, services: Services) -> None:
    """What goes on where nobody asks: erasures and retention, the counts of the day."""
    await asyncio.gather(keep_promises(state, services), state.tally.count(functools.partial(zone_of, services)))
