"""The composition root's share of commands from the platform: what the engine does not carry out by itself.

The signature is checked before a command gets here (`cloud_bridge.downlink`); everything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from edge.core.errors import DeviceError, GatewayError
from edge.core.plain import PlainError
from edge.core.ports import Command, CommandResult, Rollout
from edge.installation import Installation
from edge.runtime import Runtime

LONGEST_BLINK_S = 600
FASTEST_HZ = 1_000
Carry = Callable[[Command], Awaitable[str]]


class RemoteCommands:
    """`CommandHandler` of the bridge."""

    def __init__(self, runtime: Runtime, installation: Installation, rollout: Rollout | None) -> None:
        """rollout takes the updates; None where this gateway does not update itself."""
        self._runtime, self._installation, self._rollout = runtime, installation, rollout
        self._own: dict[str, Carry] = {
            "set_planogram": self._set_planogram,
            "identify_device": self._identify_device,
            "set_sample_rate": self._set_sample_rate,
        }

    async def __call__(self, command: Command) -> CommandResult:
        """Carry it out; never raises for what a command can get wrong."""
        if command.name in ("update_model", "update_software"):
            return await self._update(command)
        carry = self._own.get(command.name)
        if carry is None:
            return await self._runtime.execute(command)
        try:
            return CommandResult(command.id, "done", await carry(command))
        except DeviceError as error:
            return CommandResult(command.id, "failed", f"{error}. {error.hint}", "device")
        except (GatewayError, PlainError) as error:
            return CommandResult(command.id, "rejected", str(error), "arguments")

    async def _set_planogram(self, command: Command) -> str:
        document = command.args.get("planogram")
        if not isinstance(document, dict):
            raise PlainError("planogram", document, "a planogram")
        site = await self._installation.use_site(document, command.actor, command.id)
        return f"{len(site.shelves)} shelves, {len(site.products)} products"

    async def _identify_device(self, command: Command) -> str:
        duration_s = _whole(command, "duration_s", 0, LONGEST_BLINK_S)
        await self._able(command, "identify")(duration_s)
        return f"blinks for {duration_s} s"

    async def _set_sample_rate(self, command: Command) -> str:
        rate_hz = _whole(command, "sample_rate_hz", 1, FASTEST_HZ)
        await self._able(command, "configure")({"sample_rate_hz": rate_hz})
        return f"{rate_hz} samples/s until its driver starts anew"

    def _able(self, command: Command, ability: str) -> Callable[[object], Awaitable[None]]:
        """The method of the named device's driver. Raises PlainError where there is no such device or ability."""
        device = command.args.get("device")
        if not isinstance(device, str) or device not in self._installation.entries():
            raise PlainError("device", device, f"one of {', '.join(sorted(self._installation.entries())) or '(none)'}")
        driver = self._installation.driver(device)
        if driver is None:
            raise DeviceError(device, "is not running")
        able: Callable[[object], Awaitable[None]] | None = getattr(driver, ability, None)
        if able is None:
            raise PlainError("device", device, f"a device that can {ability}")
        return able

    async def _update(self, command: Command) -> CommandResult:
        """``target`` is name-version, such as gateway-1.4.0; the update follows in its own time."""
        if self._rollout is None:
            return CommandResult(command.id, "rejected", "this gateway has no updates", "no_updates")
        target = str(command.args.get("target"))
        name, _, version = target.rpartition("-")
        versions = {**self._rollout.wanted(), name: version}
        try:
            if not name or not version:
                raise PlainError("target", target, "name-version, such as gateway-1.4.0")
            self._rollout.check(versions)
        except (GatewayError, PlainError) as error:
            return CommandResult(command.id, "rejected", str(error), "arguments")
        await self._rollout.want(versions)
        return CommandResult(command.id, "accepted", f"{name} is to become {version}")


def _whole(command: Command, name: str, low: int, high: int) -> int:
    value = command.args.get(name)
    if type(value) is not int or not low <= value <= high:
        raise PlainError(name, value, f"a whole number from {low} to {high}")
    return value
