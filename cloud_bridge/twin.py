"""The twin: the platform desires a configuration, the store reports the one that runs.

A desired configuration is applied, watched, and reverted to what ran before when its health check fails; a crash in
between is a failure too, found at the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cloud_bridge.announcements import dump
from cloud_bridge.contract.signed import Verifier, is_genuine, parse_object
from cloud_bridge.contract.topics import Topics
from cloud_bridge.downlink import Post
from edge.core.errors import GatewayError
from edge.core.fact import Fact, JsonValue
from edge.core.facts import CommandRefused, Updated
from edge.core.ports import Clock, Configuration, KeyValue

MAX_TWIN_BYTES = 64 * 1024
_STATE = "twin"


@dataclass(frozen=True, slots=True)
class TwinPorts:
    """What the composition root wires in. `record` commits a fact."""

    kept: KeyValue
    clock: Clock
    keys: Verifier
    configuration: Configuration
    post: Post
    record: Callable[[Fact], None]


@dataclass(frozen=True, slots=True)
class _Desired:
    version: int
    config: Mapping[str, JsonValue]


class Twin:
    """Applies what the platform desires, one configuration at a time; the newest one wins."""

    def __init__(self, topics: Topics, ports: TwinPorts) -> None:
        self._topic, self._ports = topics.of("twin/desired"), ports
        self._desired: asyncio.Queue[_Desired] = asyncio.Queue(1)
        state = ports.kept.get(_STATE)
        self._state: dict[str, Any] = dict(state) if isinstance(state, dict) else {"version": 0, "tried": 0}

    @property
    def version(self) -> int:
        """Version of the configuration that runs; 0 before the first desired one."""
        return int(self._state["version"])

    def received(self, payload: bytes) -> None:
        """A message on ``twin/desired``; it is retained, so the same one comes on each connect."""
        body = parse_object(payload) if len(payload) <= MAX_TWIN_BYTES else None
        if body is None:
            return self._refuse("not_json", f"{len(payload)} bytes: expected a JSON object of ≤ {MAX_TWIN_BYTES}")
        if not is_genuine(self._topic, body, self._ports.keys):
            return self._refuse("signature", f"key {str(body.get('key'))[:40]!r} did not sign this")
        version, config = body.get("version"), body.get("config")
        if type(version) is not int or version < 1 or not isinstance(config, dict):
            return self._refuse("arguments", "expected version ≥ 1 and an object config")
        if version <= max(self.version, int(self._state["tried"])):
            told = "applied" if version == self.version else str(self._state.get("status", "refused"))
            return self._report(told, version, self._last_error())
        if self._desired.full():
            self._desired.get_nowait()
        return self._desired.put_nowait(_Desired(version, config))

    async def run(self) -> None:
        """Finish what a crash interrupted, then apply what arrives, until cancelled."""
        await self._recover()
        while True:
            await self._try(await self._desired.get())

    async def _recover(self) -> None:
        trying = int(self._state["tried"])
        if trying > self.version and not self._state.get("error"):
            await self._revert(trying, "the gateway ended while this configuration was on trial")
        elif self._state.get("config") is not None:
            try:
                await self._ports.configuration.resume(self._state["config"])
            except GatewayError as error:  # an upgrade may have become stricter: run with what is there, and say so
                return self._report("refused", self.version, str(error))
            await self._ports.configuration.confirm()
        return None

    async def _try(self, desired: _Desired) -> None:
        old = self.version
        await self._keep(tried=desired.version, error="", before=dict(self._ports.configuration.current()))
        try:
            await self._ports.configuration.apply(desired.config)
        except GatewayError as error:
            await self._keep(error=str(error), status="refused")
            return self._report("refused", desired.version, str(error))
        fault = await self._ports.configuration.fault()
        if fault:
            return await self._revert(desired.version, fault)
        await self._keep(version=desired.version, config=dict(desired.config), before=None)
        self._updated(old, desired.version, ok=True)
        self._report("applied", desired.version, "")
        return await self._ports.configuration.confirm()

    async def _revert(self, version: int, fault: str) -> None:
        try:
            await self._ports.configuration.apply(self._state["before"])
        except GatewayError as error:
            fault = f"{fault}; the way back failed: {error}"
        await self._keep(error=fault, status="reverted", before=None)
        self._updated(self.version, version, ok=False, detail=fault)
        self._report("reverted", version, fault)

    async def _keep(self, **changes: Any) -> None:
        self._state.update(changes)
        await self._ports.kept.put(_STATE, dict(self._state))

    def _last_error(self) -> str:
        return str(self._state.get("error") or "")

    def _report(self, status: str, desired: int, error: str) -> None:
        body = {"version": self.version, "status": status, "error": error, "desired": desired}
        self._ports.post("twin/reported", dump(body), retain=True)

    def _updated(self, old: int, new: int, *, ok: bool, detail: str = "") -> None:
        at_us = self._ports.clock.now().mono_us
        self._ports.record(Updated(at_us=at_us, what="configuration", old=str(old), new=str(new), ok=ok, detail=detail))

    def _refuse(self, reason: str, detail: str) -> None:
        at_us = self._ports.clock.now().mono_us
        self._ports.record(
            CommandRefused(at_us=at_us, command="twin", name="twin/desired", reason=reason, detail=detail)
        )
