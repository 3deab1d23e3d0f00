"""The reference platform as one async function: broker → consumer → store → signed acknowledgements.

Prints and logs nothing; whoever starts it reads `Platform.counters` and asks the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cloud_bridge.contract.topics import ROOT, STORE_WRITES
from cloud_bridge.ingest.consumer import Consumer, Counters
from cloud_bridge.ingest.store import PlatformStore, SqliteStore, StoreLost
from cloud_bridge.keys import KEY_BYTES, Ed25519Signer
from cloud_bridge.pacing import Backoff
from cloud_bridge.paho_client import PahoLinks
from cloud_bridge.settings import UplinkSettings
from edge.core.errors import UplinkError
from edge.core.ports import Message

STABLE_S = 5.0
LOST_S = 1.0
TELL_S = 5.0
SHARED = ("events/+", "command-result")
WAITING_WORDS = 10_000


@dataclass(frozen=True, slots=True)
class PlatformSettings:
    """Where the broker is, where to keep what arrives, the signing key's file (made when missing) and its name.

    `link` carries the certificate and protocol of the connection; its hosts and client id are replaced.
    `shared_group`: several platforms share the facts of all stores (MQTT 5, 4.8.2) and meet in one PostgreSQL; each has
    a client id of its own. Raises UplinkError for a group without it.
    """

    hosts: tuple[str, ...]
    database: str = "var/platform.db"
    postgres: str = ""
    key_file: str = "var/platform.key"
    key_name: str = "platform-1"
    client_id: str = "smartstore-platform"
    shared_group: str = ""
    link: UplinkSettings = field(default_factory=UplinkSettings)

    def __post_init__(self) -> None:
        if self.shared_group and not self.postgres:
            detail = "the facts of one store reach several platforms, expected postgres, where they meet"
            raise UplinkError(f"shared_group = {self.shared_group!r}: {detail}")


def load_signer(path: Path) -> Ed25519Signer:
    """The platform's signing key; made on first use, readable by its owner only. Raises UplinkError."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(secrets.token_bytes(KEY_BYTES))
    seed = path.read_bytes()
    if len(seed) != KEY_BYTES:
        raise UplinkError(f"key_file = {str(path)!r}: {len(seed)} bytes, expected {KEY_BYTES}")
    return Ed25519Signer(seed)


class Platform:
    """The platform's process state; also the `LinkListener` of its connection."""

    def __init__(self, settings: PlatformSettings, store: PlatformStore | None = None) -> None:
        self.settings = settings
        self.signer = load_signer(Path(settings.key_file))
        self.store = store or open_store(settings)
        self.counters = Counters()
        self.connected_to = ""
        self.cause = ""
        self.ready = asyncio.Event()
        self._links = PahoLinks(_link_settings(settings))
        self._link = None if not settings.hosts else self._links(self._links.settings.endpoints()[0])
        self._consumer: Consumer | None = None
        self._lost = asyncio.Event()
        self._words: deque[Message] = deque(maxlen=WAITING_WORDS)

    @property
    def consumer(self) -> Consumer | None:
        """The consumer that runs now."""
        return self._consumer

    def say(self, message: Message) -> None:
        """Publish towards a store as soon as connected (acknowledgements, replays; also commands of a back office)."""
        self._words.append(message)
        self._send_words()

    async def run(self) -> None:
        """Consume until cancelled. Reconnects for ever, waits for a lost PostgreSQL, raises what SQLite raises."""
        try:
            while True:
                try:
                    await self._serve()
                except* StoreLost as lost:
                    self.cause = "; ".join(str(error) for error in lost.exceptions)
                await asyncio.sleep(LOST_S)
        finally:
            await self.store.close()

    async def _serve(self) -> None:
        """Until the database is lost: then nobody knows what of the last batch it holds; the stores send it again."""
        consumer = self._consumer = Consumer(self.store, self.signer, self.settings.key_name, self.say)
        consumer.counters = self.counters
        await consumer.open()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(consumer.run())
                group.create_task(self._stay_connected())
                if self.settings.postgres:
                    group.create_task(self._tell_totals())
        finally:
            self.connected_to = ""
            if self._link is not None:
                await self._link.disconnect()

    async def _tell_totals(self) -> None:
        """What this platform has counted, for all that serve metrics over the same database."""
        while True:
            await self.store.tell_totals(self.settings.client_id, self.counters.totals())
            await asyncio.sleep(TELL_S)

    async def _stay_connected(self) -> None:
        backoff = Backoff(0.1, 5.0, random.Random())
        while True:
            for endpoint in self._links.settings.endpoints():
                self._link = self._links(endpoint)
                self._lost.clear()
                try:
                    will = Message(f"smartstore/platform/{self.settings.client_id}", b"")
                    await self._link.connect(self, will, self._subscriptions())
                except UplinkError as error:
                    self.cause = str(error)
                    continue
                began_s = asyncio.get_running_loop().time()
                self.connected_to, self.cause = f"{endpoint.host}:{endpoint.port}", ""
                self.ready.set()
                self._send_words()
                await self._lost.wait()
                if asyncio.get_running_loop().time() - began_s > STABLE_S:
                    backoff.succeeded()
                break
            await asyncio.sleep(backoff.next_s())

    def _subscriptions(self) -> list[str]:
        """Facts are shared out; every platform hears who is there and how it is: no seq orders those words."""
        share = f"$share/{self.settings.shared_group}/" if self.settings.shared_group else ""
        return [f"{share if suffix in SHARED else ''}{ROOT}/+/+/{suffix}" for suffix in STORE_WRITES]

    def _send_words(self) -> None:
        with contextlib.suppress(UplinkError):
            while self._words and self.connected_to and self._link is not None:
                self._link.publish(self._words[0])
                self._words.popleft()

    # --- LinkListener ---------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """`_stay_connected` goes on by itself."""

    def disconnected(self, reason: str) -> None:
        """Connect again; what was not acknowledged is said again when the stores send again."""
        self.connected_to, self.cause = "", reason
        self._lost.set()

    def acknowledged(self, tokens: Sequence[int]) -> None:
        """The broker has these words; a lost one is said again with the next."""

    def received(self, message: Message) -> None:
        """One message of a store."""
        if self._consumer is not None:
            self._consumer.received(message)


def _link_settings(settings: PlatformSettings) -> UplinkSettings:
    """In a group without a session that outlives the connection: mosquitto would give the dead their share too."""
    base = settings.link
    return UplinkSettings(
        hosts=settings.hosts,
        client_id=settings.client_id,
        username=base.username,
        password_file=base.password_file,
        ca_file=base.ca_file,
        cert_file=base.cert_file,
        key_file=base.key_file,
        protocol="5" if settings.shared_group else base.protocol,
        persistent_session=base.persistent_session and not settings.shared_group,
    )


def open_store(settings: PlatformSettings) -> PlatformStore:
    """PostgreSQL where an address is set, else SQLite in a file."""
    if settings.postgres:
        from cloud_bridge.ingest.postgres import PostgresStore  # noqa: PLC0415 (asyncpg is an extra)

        return PostgresStore(settings.postgres, shared=bool(settings.shared_group))
    return SqliteStore(Path(settings.database))
