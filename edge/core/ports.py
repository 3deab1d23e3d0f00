"""Ports: what the composition root wires together, as Protocols, so that no room needs to know another's classes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edge.core.fact import Fact, FactClass, JsonValue, StoredFact
from edge.core.instant import Instant
from edge.core.observation import DoorCrossing, Frames, Observation

Emit = Callable[[Observation], None]
"""A driver's way out: synchronous, never blocks, never raises; overload is counted, oldest telemetry goes first."""


class Clock(Protocol):
    """The only source of time for the runtime. `edge.clock` reads the machine, tests turn a virtual one."""

    def now(self) -> Instant:
        """This moment."""
        ...

    @property
    def boot(self) -> int:
        """Number of this start of the gateway within the journal, rising by one each start."""
        ...


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction writes: facts, the said state they changed (None deletes), documents for the view."""

    facts: Sequence[tuple[Fact, Instant]]
    said: Mapping[str, JsonValue] = field(default_factory=dict)
    internals: Mapping[str, JsonValue] | None = None


class FactLog(Protocol):
    """The journal as its readers see it: the log is the outbox, "sent" is a cursor."""

    @property
    def epoch(self) -> str:
        """Identity of this journal; new only if the journal was lost, restored or cloned."""
        ...

    @property
    def first_seq(self) -> int:
        """Oldest seq that can still be read (last_seq + 1 when empty)."""
        ...

    @property
    def last_seq(self) -> int:
        """Newest committed seq; 0 before the first fact."""
        ...

    @property
    def acked_seq(self) -> int:
        """Everything up to this seq is durably at the platform."""
        ...

    def read(
        self, from_seq: int, limit: int, *, to_seq: int | None = None, classes: frozenset[FactClass] | None = None
    ) -> list[StoredFact]:
        """Committed facts from `from_seq` on, ascending, at most `limit`; dropped rows are simply absent."""
        ...

    def ack(self, seq: int) -> None:
        """Move the platform's cursor (never back, never beyond last_seq); rows below may leave by retention."""
        ...

    def subscribe(self, on_commit: Callable[[int], None]) -> Callable[[], None]:
        """Call `on_commit(last_seq)` on the loop after each commit; returns the way to stop that."""
        ...


class KeyValue(Protocol):
    """Small values kept in the journal's own stream of transactions."""

    def get(self, key: str) -> JsonValue:
        """The value, None where there is none."""
        ...

    def put(self, key: str, value: JsonValue) -> Awaitable[object]:
        """Keep a value (None forgets it). Durable once awaited; puts of one turn of the loop share a transaction."""
        ...


class StateView(Protocol):
    """Retained documents: ``stock/{gtin}``, ``device/{id}``, ``gateway`` → JSON, with the seq they are true as of."""

    def documents(self) -> Mapping[str, tuple[int, JsonValue]]:
        """All documents as topic suffix → (as_of_seq, document)."""
        ...

    def subscribe(self, on_change: Callable[[str], None]) -> Callable[[], None]:
        """Call `on_change(suffix)` on the loop after a commit changed a document; returns the way to stop that."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """A verified instruction: from the platform (signature checked) or from the local API (role checked)."""

    id: str
    name: str
    args: Mapping[str, JsonValue]
    actor: str = "platform"


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What became of a command. status: accepted, rejected, done, failed, expired; reason is machine-readable."""

    id: str
    status: str
    detail: str = ""
    reason: str = ""


class CommandHandler(Protocol):
    """Carries out commands; the result is final only after the commit that contains its effect."""

    def __call__(self, command: Command) -> Awaitable[CommandResult]:
        """Carry it out; never raises for bad arguments: it answers rejected with the reason."""
        ...


class Configuration(Protocol):
    """What the platform may configure from afar: the twin's other half."""

    def current(self) -> Mapping[str, JsonValue]:
        """The configuration that runs, as plain data."""
        ...

    async def apply(self, config: Mapping[str, JsonValue]) -> None:
        """Run with it. Raises GatewayError naming key, value and what is expected; then nothing was changed."""
        ...

    async def fault(self) -> str:
        """What is wrong since the last `apply`, after time enough to tell; "" when all is well."""
        ...

    async def confirm(self) -> None:
        """The configuration applied last has proven itself: what may end the process may begin now."""
        ...

    async def resume(self, config: Mapping[str, JsonValue]) -> None:
        """After a restart: put back what is not kept elsewhere. Raises GatewayError; then nothing was changed."""
        ...


class Rollout(Protocol):
    """Versions by target ("gateway", "footfall", …) that the platform wants this store to run (staged rollout)."""

    def wanted(self) -> Mapping[str, str]:
        """What was wanted last; empty where nothing is."""
        ...

    def check(self, versions: Mapping[str, str]) -> None:
        """Raises GatewayError naming a target that is unknown here or a version that cannot be one. Changes nothing."""
        ...

    async def want(self, versions: Mapping[str, str]) -> None:
        """Remember durably; the update itself follows in its own time and tells by `system.Updated`. Repeats."""
        ...


class Inference(Protocol):
    """Turns frames into crossings on its own thread; results come back in order on the loop."""

    def submit(self, frames: Frames) -> Awaitable[list[DoorCrossing]]:
        """Hand over frames of one door; raises InferenceError where the model cannot be used."""
        ...

    @property
    def degraded(self) -> str:
        """Why another model than the newest counts, "" when all is well."""
        ...


class Signer(Protocol):
    """Ed25519 signatures (RFC 8032) under the gateway's key."""

    def sign(self, message: bytes) -> bytes:
        """64 bytes of signature."""
        ...

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class LinkListener(Protocol):
    """What an `MqttLink` tells, always on the event loop, in order."""

    def connected(self) -> None:
        """The broker has accepted the connection and its subscriptions."""
        ...

    def disconnected(self, reason: str) -> None:
        """The connection is gone; everything not yet acknowledged must be sent again."""
        ...

    def acknowledged(self, tokens: Sequence[int]) -> None:
        """PUBACK for these publishes."""
        ...

    def received(self, message: Message) -> None:
        """A message of a subscription."""
        ...


class MqttLink(Protocol):
    """One connection to a broker; keeps no queue of its own and never reconnects by itself."""

    async def connect(self, listener: LinkListener, will: Message, subscriptions: Sequence[str]) -> None:
        """Connect once; raises UplinkError with the cause (refused, time-out, certificate …)."""
        ...

    def publish(self, message: Message) -> int:
        """Hand one message to the wire and return its token. Raises UplinkError when not connected."""
        ...

    async def disconnect(self) -> None:
        """Leave cleanly (no will)."""
        ...
