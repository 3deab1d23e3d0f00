"""The gateway's share of updates: says what is wanted, tells what was done, brings firmware to the devices.

`Rollout` of the bridge (`edge.core.ports`). It never decides whether an update is good: the updater does, by what the
publisher signed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from edge.core.errors import DeviceError, DeviceRefused, SettingsError
from edge.core.fact import Fact, JsonValue
from edge.core.facts import Updated
from edge.core.observation import DeviceState
from edge.core.plain import PlainError
from edge.core.ports import KeyValue
from edge.files import read_table
from edge.health import DeviceHealth
from edge.updates.errors import REASONS
from edge.updates.files import Exchange, Outcome
from edge.updates.report import LAST
from edge.updates.versions import GATEWAY, MODEL, check_name, check_version, order, target_of

LOOK_S: Final = 5.0
ATTEMPTS: Final = 3  # of one firmware at one device, until the gateway starts anew
WAIT_FOR_NIGHT_US: Final = 24 * 3600 * 1_000_000
"""A shelf is blind while it takes its firmware, so that waits until the store is closed; but not for ever."""
_TOLD, _SINCE = "updates/told", "updates/firmware-since/"


class FirmwareTaker(Protocol):
    """A driver whose device takes signed firmware (`devices.driver.Updatable`)."""

    async def update(self, firmware: bytes, signature: bytes, progress: Callable[[float], None]) -> str:
        """Send it; the version that runs then. Raises DeviceError."""
        ...


@dataclass(frozen=True, slots=True)
class RolloutPorts:
    """What it uses of the gateway."""

    keyed: KeyValue
    audit: Callable[[str, str, str, str], Awaitable[object]]  # actor, action, target, detail
    tell: Callable[[Fact], Any]
    now_us: Callable[[], int]
    wall_us: Callable[[], int]
    devices: Callable[[], Mapping[str, DeviceHealth]]
    driver: Callable[[str], Any]
    store_open: Callable[[], bool]


def _kept(outcome: Outcome, at_us: int) -> dict[str, JsonValue]:
    """An outcome as the console shows it; at_us: wall time at which the gateway learnt of it (µs)."""
    return {
        "what": outcome.what, "old": outcome.old, "new": outcome.new, "ok": outcome.ok, "reason": outcome.reason,
        "detail": outcome.detail[:500], "at_us": at_us,
    }  # fmt: skip


class UpdateRollout:
    """Lives on the loop; files are touched in a thread."""

    def __init__(
        self, exchange: Exchange, ports: RolloutPorts, aside: Callable[..., Awaitable[Any]] = asyncio.to_thread
    ) -> None:
        """aside carries out work on files away from the loop."""
        self.exchange, self._ports, self._aside = exchange, ports, aside
        self._wanted = exchange.wanted()
        self._attempts: dict[tuple[str, str], int] = {}

    # --- Rollout ----------------------------------------------------------------------------------------------------

    def wanted(self) -> Mapping[str, str]:
        """What was wanted last; empty where nothing is."""
        return dict(self._wanted)

    def check(self, versions: Mapping[str, str]) -> None:
        """Raises SettingsError naming a target that is unknown here or a version that cannot be one."""
        known = {GATEWAY, MODEL, *(target_of(row.model) for row in self._ports.devices().values() if row.model)}
        for name, version in versions.items():
            try:
                check_name(name)
                check_version(version, f"versions.{name}")
            except PlainError as error:
                raise SettingsError("updates", error.key, error.value, error.expected) from None
            if name not in known:
                raise SettingsError("updates", f"versions.{name}", version, f"one of {', '.join(sorted(known))}")

    async def want(self, versions: Mapping[str, str]) -> None:
        """Remember durably; the updater wakes by the file."""
        self._wanted = dict(versions)
        await self._aside(self.exchange.want, dict(versions))

    # --- what goes on by itself -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take over what the updater did, and serve firmware, until cancelled."""
        while True:
            for path, outcome in await self._aside(lambda: list(self.exchange.outcomes())):
                await self._take_over(path, outcome)
            await self._serve_firmware()
            await asyncio.sleep(LOOK_S)

    async def _take_over(self, path: Path, outcome: Outcome) -> None:
        """Audit and tell an outcome once, also over a crash between the two."""
        told = self._ports.keyed.get(_TOLD)
        if not isinstance(told, int) or outcome.number > told:
            await self._say(outcome)
            await self._ports.keyed.put(_TOLD, outcome.number)
        await self._aside(path.unlink, missing_ok=True)

    async def _say(self, outcome: Outcome) -> None:
        reason = outcome.reason if outcome.reason in REASONS or not outcome.reason else "bad_release"
        target = f"{outcome.what}-{outcome.new}" if outcome.new else outcome.what
        action = "update.done" if outcome.ok else f"update.{reason}"
        await self._ports.audit("updater", action, target, outcome.detail or f"from {outcome.old or 'none'}")
        await self._ports.keyed.put(LAST, _kept(outcome, self._ports.wall_us()))
        detail = ": ".join(filter(None, (reason, outcome.detail)))
        self._ports.tell(
            Updated(
                at_us=self._ports.now_us(), what=outcome.what, old=outcome.old, new=outcome.new, ok=outcome.ok,
                detail=detail[:500],
            )
        )  # fmt: skip

    # --- firmware ---------------------------------------------------------------------------------------------------

    async def _serve_firmware(self) -> None:
        papers = await self._aside(self._papers)
        for folder, paper in papers:
            for device_id in list(self._due(paper)):
                if await self._may_now(paper):
                    await self._bring(folder, paper, device_id)

    def _papers(self) -> list[tuple[Path, dict[str, Any]]]:
        found = ((path.parent, read_table(path)) for path in sorted(self.exchange.firmware.glob("*/paper.json")))
        return [(folder, paper) for folder, paper in found if paper.get("sha256")]

    def _due(self, paper: Mapping[str, Any]) -> Iterable[str]:
        """Devices of the model that run something older and have not failed with it too often."""
        for device_id, row in self._ports.devices().items():
            tried = self._attempts.get((device_id, paper["sha256"]), 0)
            if row.model != paper["model"] or row.state is DeviceState.OFFLINE or tried >= ATTEMPTS:
                continue
            try:
                if row.firmware and order(row.firmware) < order(paper["version"]):
                    yield device_id
            except PlainError:
                continue

    async def _may_now(self, paper: Mapping[str, Any]) -> bool:
        key, now_us = _SINCE + paper["sha256"], self._ports.now_us()
        since = self._ports.keyed.get(key)
        if not isinstance(since, int):
            since = now_us
            await self._ports.keyed.put(key, since)
        return not self._ports.store_open() or now_us - since >= WAIT_FOR_NIGHT_US

    async def _bring(self, folder: Path, paper: Mapping[str, Any], device_id: str) -> None:
        driver: FirmwareTaker | None = self._ports.driver(device_id)
        if driver is None or not hasattr(driver, "update"):
            return
        tried = (device_id, paper["sha256"])
        self._attempts[tried] = self._attempts.get(tried, 0) + 1
        what, old, new = f"firmware of {device_id}", self._ports.devices()[device_id].firmware, paper["version"]
        try:
            image = await self._aside((folder / f"{paper['sha256']}.bin").read_bytes)
            if hashlib.sha256(image).hexdigest() != paper["sha256"]:
                raise DeviceRefused(device_id, "the stored image is not the one that was signed")
            signature = base64.b64decode(str(paper["signature"]), validate=True)
            runs = await driver.update(image, signature, lambda _: None)
            fault = "" if order(runs) == order(new) else f"it runs {runs} after the update, expected {new}"
        except (DeviceError, OSError, binascii.Error, PlainError) as error:
            fault = str(error)
            if isinstance(error, DeviceRefused):
                self._attempts[tried] = ATTEMPTS  # its bootloader said no: asking again changes nothing
        await self._say(Outcome(0, what, old, new, not fault, "bad_release" if fault else "", fault))
