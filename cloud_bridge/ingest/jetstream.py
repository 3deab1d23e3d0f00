"""An ingest worker on a NATS cluster: a durable pull consumer on the stream in which NATS keeps what MQTT clients sent.

NATS answers PUBACK when the message is in that stream (``$MQTT_msgs``, as many replicas as the cluster's setting says)
and drops it there once all consumers acknowledged it. A worker acknowledges after its own commit. Several workers
share the work by tenant: each has a consumer of its own, so the seqs of one store always meet in one place.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from cloud_bridge.contract.topics import ROOT
from cloud_bridge.ingest.broker import TlsFiles
from cloud_bridge.ingest.consumer import Consumer, Counters
from cloud_bridge.ingest.leaders import MESSAGES, keep_together
from cloud_bridge.ingest.platform import load_signer
from cloud_bridge.ingest.postgres import PostgresStore
from cloud_bridge.ingest.secured import worker_context
from cloud_bridge.ingest.store import PlatformStore, StoreLost
from edge.core.ports import Message, Signer

STREAM = MESSAGES
PREFIX = "$MQTT.msgs."
FETCH_MESSAGES = 256
FETCH_S = 0.25
READ_AT_ONCE = 4
LOST_S = 1.0
TELL_S = 5.0
ACK_WAIT_S = 30.0
WAITING_WORDS = 100_000


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Where the cluster is, and which tenants are this worker's (none: all). tls: its certificate, none for no TLS."""

    servers: tuple[str, ...]
    name: str = "ingest"
    tenants: tuple[str, ...] = ()
    key_name: str = "platform-1"
    tls: TlsFiles | None = None


class Worker:
    """One ingest worker. `run` never ends by itself; a broken connection is healed by the NATS client."""

    def __init__(self, settings: WorkerSettings, store: PlatformStore, signer: Signer) -> None:
        self.counters = Counters()
        self.ready = asyncio.Event()
        self.cause = ""
        self._settings, self._store, self._signer = settings, store, signer
        self._words: asyncio.Queue[Message] = asyncio.Queue(WAITING_WORDS)

    async def run(self) -> None:
        """Fetch, write, acknowledge; until cancelled. A database that is gone is waited for."""
        while True:
            try:
                await self._serve()
            except* StoreLost as lost:
                self.cause = "; ".join(str(error) for error in lost.exceptions)
            await asyncio.sleep(LOST_S)

    async def _serve(self) -> None:
        """Until the database is lost: then nobody knows what of the last batch it holds, so all is read anew."""
        consumer = Consumer(self._store, self._signer, self._settings.key_name, self._say)
        consumer.counters = self.counters
        await consumer.open()
        self.cause = ""
        connection = await nats.connect(
            list(self._settings.servers),
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
            name=self._settings.name,
            tls=worker_context(self._settings.tls) if self._settings.tls else None,
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._speak(connection))
                group.create_task(self._listen(connection, consumer))
                group.create_task(self._look_for_gaps(consumer))
                group.create_task(self._tell_totals())
                group.create_task(keep_together(connection))
        finally:
            await connection.close()
            await self._store.close()

    def _say(self, message: Message) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # an unsent word is said again with the next
            self._words.put_nowait(message)

    async def _speak(self, connection: Any) -> None:
        while True:
            message = await self._words.get()
            with contextlib.suppress(NatsError):
                await connection.publish(message.topic.replace("/", "."), message.payload)

    async def _listen(self, connection: Any, consumer: Consumer) -> None:
        while True:
            try:
                subscription = await self._subscribe(connection)
                self.ready.set()
                await self._pull(subscription, consumer)
            except (NatsError, TimeoutError, OSError):
                if consumer.failed:
                    raise
                await asyncio.sleep(0.2)  # no leader just now, or no MQTT client has made the stream yet

    async def _subscribe(self, connection: Any) -> Any:
        tenants: Sequence[str] = self._settings.tenants or ("*",)
        root = ROOT.replace("/", ".")
        config = ConsumerConfig(
            durable_name=self._settings.name,
            filter_subjects=[f"{PREFIX}{root}.{tenant}.*.>" for tenant in tenants],
            ack_policy=AckPolicy.EXPLICIT,
            deliver_policy=DeliverPolicy.ALL,
            ack_wait=ACK_WAIT_S,
            max_ack_pending=10 * FETCH_MESSAGES,
        )
        stream = connection.jetstream(timeout=2)
        try:
            await stream.consumer_info(STREAM, self._settings.name)
        except NotFoundError:
            await stream.add_consumer(STREAM, config)
        return await stream.pull_subscribe_bind(durable=self._settings.name, stream=STREAM)

    async def _pull(self, subscription: Any, consumer: Consumer) -> None:
        """While a batch is written, the next one is read, and the one after it fetched."""
        fetching = asyncio.create_task(self._fetch(subscription))
        writing: asyncio.Task[None] | None = None
        try:
            while True:
                fetched = await fetching
                fetching = asyncio.create_task(self._fetch(subscription))
                for number, one in enumerate(fetched):
                    consumer.received(Message(one.subject.removeprefix(PREFIX).replace(".", "/"), one.data))
                    if number % READ_AT_ONCE == 0:
                        await asyncio.sleep(0)  # the database's answers must not wait for a whole batch
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._write(consumer, fetched))
        finally:
            fetching.cancel()
            with contextlib.suppress(asyncio.CancelledError, NatsError, OSError):
                await fetching  # what it had is delivered again
            if writing is not None:
                with contextlib.suppress(NatsError):
                    await writing  # a transaction that has begun is finished: only so it is known what is written

    @staticmethod
    async def _write(consumer: Consumer, fetched: Sequence[Msg]) -> None:
        """Durable first, then acknowledged, message by message: one may be an older one that came again."""
        await consumer.flush()
        for one in fetched:
            await one.ack()

    @staticmethod
    async def _fetch(subscription: Any) -> list[Msg]:
        try:
            fetched: list[Msg] = await subscription.fetch(FETCH_MESSAGES, timeout=FETCH_S)
        except TimeoutError:
            return []
        return fetched

    @staticmethod
    async def _look_for_gaps(consumer: Consumer) -> None:
        while True:
            await asyncio.sleep(0.5)
            consumer.ask_for_gaps()

    async def _tell_totals(self) -> None:
        """What this worker has counted, for whoever serves metrics over the database."""
        while True:
            await self._store.tell_totals(self._settings.name, self.counters.totals())
            await asyncio.sleep(TELL_S)


async def run_worker(settings: WorkerSettings, postgres: str, key_file: str) -> None:
    """One worker into PostgreSQL, until cancelled."""
    store = PostgresStore(postgres, settings.tenants)
    await Worker(settings, store, load_signer(Path(key_file))).run()


def main(argv: Sequence[str] | None = None) -> None:
    """``python -m cloud_bridge.ingest.jetstream``: one worker as a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m cloud_bridge.ingest.jetstream", description="one ingest worker")
    parser.add_argument("--servers", required=True, help="nats://host:port, separated by commas")
    parser.add_argument("--postgres", required=True, help="postgresql://user@host:port/database")
    parser.add_argument("--key-file", required=True, help="the platform's signing key, made when missing")
    parser.add_argument("--name", default="ingest", help="durable name of this worker's consumer")
    parser.add_argument("--tenants", default="", help="this worker's tenants, separated by commas; all when empty")
    for name in ("--ca-file", "--cert-file", "--cert-key-file"):
        parser.add_argument(name, type=Path, help="PEM; all three for a cluster with TLS")
    options = parser.parse_args(argv)
    tenants = tuple(filter(None, options.tenants.split(",")))
    given = [path for path in (options.ca_file, options.cert_file, options.cert_key_file) if path]
    if len(given) not in (0, 3):
        parser.error("--ca-file, --cert-file and --cert-key-file: expected all three or none")
    tls = TlsFiles(*given) if given else None
    settings = WorkerSettings(tuple(options.servers.split(",")), options.name, tenants, tls=tls)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run_worker(settings, options.postgres, options.key_file))


if __name__ == "__main__":
    main()
