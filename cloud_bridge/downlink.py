"""The downlink: signed commands, each carried out at most once in effect, each answered; a repeat gets the same answer.

What must survive a restart lives in the `KeyValue` store: the highest seq, the answers of the last seven days, the
versions. An answer is published only after it is durable.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from cloud_bridge.announcements import dump
from cloud_bridge.command_check import Objection, Order, objection_to, read_order
from cloud_bridge.contract.topics import Topics
from cloud_bridge.keys import KEY_BYTES, KeyRing
from edge.core.fact import Fact, JsonValue
from edge.core.facts import CommandRefused
from edge.core.instant import US_PER_DAY, US_PER_S
from edge.core.ports import Clock, Command, CommandHandler, CommandResult, KeyValue

REMEMBERED_US = 7 * US_PER_DAY
WAITING_LIMIT = 1_000
HANDLING_LIMIT_S = 60.0
_STATE = "downlink"
_KEYS = "platform-keys"


class Post(Protocol):
    """Sends a message of the store: `Uplink.post`."""

    def __call__(self, suffix: str, payload: bytes, *, retain: bool = False) -> None:
        """Send as soon as there is a connection."""
        ...


@dataclass(frozen=True, slots=True)
class DownlinkPorts:
    """What the composition root wires in. `record` commits a fact; `keys` is the uplink's own ring (`Uplink.keys`)."""

    kept: KeyValue
    clock: Clock
    keys: KeyRing
    handler: CommandHandler
    post: Post
    record: Callable[[Fact], None]


class Downlink:
    """Carries out the platform's commands one after the other."""

    def __init__(self, topics: Topics, ports: DownlinkPorts) -> None:
        self.refused: dict[str, int] = {}
        self.done = 0
        self._topic = topics.of("command")
        self._ports = ports
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(WAITING_LIMIT)
        state = ports.kept.get(_STATE)
        self._state: dict[str, Any] = dict(state) if isinstance(state, dict) else {"seq": 0, "head": 0, "tail": 0}
        rotated = ports.kept.get(_KEYS)
        self._rotated: dict[str, JsonValue] = dict(rotated) if isinstance(rotated, dict) else {}
        for name, text in self._rotated.items():
            self._use_key(name, text)

    def received(self, payload: bytes) -> None:
        """A message on ``command``; beyond 1,000 waiting ones it is refused (the platform repeats it)."""
        try:
            self._waiting.put_nowait(payload)
        except asyncio.QueueFull:
            self._refuse(Objection("", "overload", f"{WAITING_LIMIT} commands wait already"))

    async def run(self) -> None:
        """Carry out what arrives, until cancelled."""
        while True:
            await self._take(await self._waiting.get())

    async def _take(self, payload: bytes) -> None:
        order = read_order(self._topic, payload, self._ports.keys)
        if isinstance(order, Objection):
            # Not remembered: a forged message must not be able to spoil the id of a true one.
            self._refuse(order)
            self._say(CommandResult(order.id, order.status, order.detail, order.reason))
            return
        answered = self._ports.kept.get(f"command/{order.id}")
        if isinstance(answered, dict):
            self._say(_result(order.id, answered))
            return
        objection = objection_to(order, self._ports.clock.now(), int(self._state["seq"]), self.version(order.name))
        if objection is not None:
            self._refuse(objection)
            result = CommandResult(order.id, objection.status, objection.detail, objection.reason)
            if objection.reason not in ("early", "clock", "reordered"):  # those may be right another time
                await self._remember(order, result)
        else:
            result = await self._carry_out(order)
            await self._remember(order, result)
        self._say(result)

    async def _carry_out(self, order: Order) -> CommandResult:
        """The handler's answer; a handler that hangs is given up at the deadline, after 60 s at the latest."""
        limit_s = HANDLING_LIMIT_S
        if order.deadline_us:
            limit_s = min(limit_s, (order.deadline_us - self._ports.clock.now().wall_us) / US_PER_S)
        try:
            async with asyncio.timeout(max(0.1, limit_s)):
                command = Command(order.id, order.name, order.args)
                own = self._rotate_key if order.name == "rotate_key" else self._ports.handler
                result = await own(command)
        except TimeoutError:
            return CommandResult(order.id, "failed", f"not done within {limit_s:.0f} s", "timeout")
        if result.status == "rejected":
            self._refuse(Objection(order.id, result.reason or "handler", result.detail, order.name))
        return result

    async def _rotate_key(self, command: Command) -> CommandResult:
        """Trust a new key of the platform from now on, and over restarts; `retire` names one that is trusted no more.

        A key cannot be retired by the command that brings it.
        """
        name, text, retire = (command.args.get(key) for key in ("key", "public_key", "retire"))
        if not isinstance(name, str) or not name or retire == name:
            return CommandResult(
                command.id, "rejected", "expected key, public_key and another key to retire", "arguments"
            )
        try:
            self._use_key(name, text)
        except ValueError as error:
            return CommandResult(command.id, "rejected", f"public_key: {error}", "arguments")
        self._rotated[name] = text
        if isinstance(retire, str):
            self._rotated[retire] = None
            self._ports.keys.remove(retire)
        await self._ports.kept.put(_KEYS, dict(self._rotated))
        return CommandResult(command.id, "done", f"key {name!r} is trusted")

    def _use_key(self, name: str, text: JsonValue) -> None:
        if text is None:
            self._ports.keys.remove(name)
            return
        raw = base64.b64decode(str(text), validate=True)
        if len(raw) != KEY_BYTES:
            raise ValueError(f"{len(raw)} bytes, expected {KEY_BYTES}")
        self._ports.keys.add(name, raw)

    def version(self, name: str) -> int:
        """How often this command was done: what `expected_version` refers to."""
        version = self._ports.kept.get(f"version/{name}")
        return version if isinstance(version, int) else 0

    async def _remember(self, order: Order, result: CommandResult) -> None:
        """Answer, seq and version in one transaction; answers older than seven days leave."""
        kept, now_us = self._ports.kept, self._ports.clock.now().wall_us
        state = self._state
        state["seq"] = max(int(state["seq"]), order.seq)
        answer: JsonValue = {"status": result.status, "detail": result.detail, "reason": result.reason, "at_us": now_us}
        waits = [kept.put(f"command/{order.id}", answer)]
        waits.append(kept.put(f"command-log/{state['head']}", {"id": order.id, "at_us": now_us}))
        state["head"] += 1
        while state["tail"] < state["head"] and self._is_old(state["tail"], now_us):
            row = kept.get(f"command-log/{state['tail']}")
            if isinstance(row, dict):
                waits.append(kept.put(f"command/{row['id']}", None))
            waits.append(kept.put(f"command-log/{state['tail']}", None))
            state["tail"] += 1
        if result.status == "done":
            self.done += 1
            waits.append(kept.put(f"version/{order.name}", self.version(order.name) + 1))
        waits.append(kept.put(_STATE, dict(state)))
        for wait in waits:
            await wait

    def _is_old(self, number: int, now_us: int) -> bool:
        row = self._ports.kept.get(f"command-log/{number}")
        at_us = row.get("at_us") if isinstance(row, dict) else None
        return not isinstance(at_us, int) or now_us - at_us > REMEMBERED_US

    def _say(self, result: CommandResult) -> None:
        if result.id:
            body = {"id": result.id, "status": result.status, "reason": result.reason, "detail": result.detail}
            self._ports.post("command-result", dump(body))

    def _refuse(self, objection: Objection) -> None:
        self.refused[objection.reason] = self.refused.get(objection.reason, 0) + 1
        self._ports.record(
            CommandRefused(
                at_us=self._ports.clock.now().mono_us,
                command=objection.id,
                name=objection.name,
                reason=objection.reason,
                detail=objection.detail,
            )
        )


def _result(ident: str, kept: dict[str, JsonValue]) -> CommandResult:
    return CommandResult(ident, str(kept["status"]), str(kept["detail"]), str(kept["reason"]))
