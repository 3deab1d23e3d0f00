"""One-for-one restart of drivers: jittered back-off for ever, and the word to everybody on how a device is.

A driver that fails is started again after 0.5 s, then up to 8 s, never given up. In safe mode (`hold`) no driver runs
until `release`, and those in quarantine not even then; everything else goes on. This is the
only place where `except Exception` is legal: whatever a driver does wrong must not reach its neighbours.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from devices.driver import Driver, Emit
from edge.core.errors import DeviceError, GatewayError
from edge.core.observation import DeviceState, DeviceStatus
from edge.core.plain import PlainError

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 8.0  # a device that returns is served again within 10 s, however long it was gone
STABLE_S = 20.0  # a run as long as this resets the back-off


@dataclass(frozen=True, slots=True)
class Supervised:
    """A driver to keep running: the factory makes a fresh one each time (a driver keeps nothing between runs)."""

    device_id: str
    make: Callable[[], Driver]


class Supervisor:
    """Keeps drivers running within a TaskGroup; emits DeviceStatus on each change."""

    def __init__(self, emit: Emit, now_us: Callable[[], int], rng: random.Random) -> None:
        self._emit, self._now_us, self._rng = emit, now_us, rng
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.drivers: dict[str, Driver] = {}
        self.restarts: dict[str, int] = {}
        self.crashes: list[tuple[str, str]] = []
        self._held: asyncio.Event | None = None
        self._held_detail = ""
        self._quarantine: set[str] = set()

    def hold(self, detail: str, quarantine: Iterable[str]) -> None:
        """Safe mode: drivers wait for `release`; those in quarantine until someone sets them up again (`stop`)."""
        self._held, self._held_detail = asyncio.Event(), detail
        self._quarantine = set(quarantine)

    def release(self) -> None:
        """Drivers may run again, without those in quarantine."""
        if self._held is not None:
            self._held.set()

    def start(self, group: asyncio.TaskGroup, supervised: Supervised) -> None:
        """Keep this driver running until `stop`."""
        task = group.create_task(self._keep(supervised), name=f"driver:{supervised.device_id}")
        self._tasks[supervised.device_id] = task

    async def stop(self, device_id: str) -> None:
        """Stop one driver and wait until its link is free."""
        self._quarantine.discard(device_id)
        task = self._tasks.pop(device_id, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def stop_all(self) -> None:
        """Stop every driver."""
        await asyncio.gather(*(self.stop(device_id) for device_id in tuple(self._tasks)))

    async def _keep(self, supervised: Supervised) -> None:
        loop = asyncio.get_running_loop()
        backoff_s = FIRST_BACKOFF_S
        await self._permission(supervised.device_id)
        while True:
            started_s = loop.time()
            status = await self._run_once(supervised)
            if loop.time() - started_s >= STABLE_S:
                backoff_s = FIRST_BACKOFF_S
            self._emit(status)
            self.restarts[supervised.device_id] = self.restarts.get(supervised.device_id, 0) + 1
            await asyncio.sleep(backoff_s * self._rng.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)

    async def _permission(self, device_id: str) -> None:
        if self._held is None:
            return
        if not self._held.is_set():
            self._emit(self._offline(device_id, "safe_mode", self._held_detail))
            await self._held.wait()
        if device_id in self._quarantine:
            self._emit(self._offline(device_id, "quarantined", self._held_detail))
            await asyncio.Event().wait()  # until `stop`

    def _offline(self, device_id: str, cause: str, detail: str) -> DeviceStatus:
        return DeviceStatus(device_id, self._now_us(), DeviceState.OFFLINE, cause, detail)

    async def _run_once(self, supervised: Supervised) -> DeviceStatus:
        """Run the driver to its end, whatever that is, and put the end into words."""
        device_id = supervised.device_id
        try:
            driver = supervised.make()
            self.drivers[device_id] = driver
            await driver.run(self._emit)
            cause, detail = "ended", "the driver returned; it should run until it fails"
        except GatewayError as error:
            cause = type(error).__name__
            detail = error.detail if isinstance(error, DeviceError) else str(error)
            detail = f"{detail}. {error.hint}"
        except PlainError as error:
            cause, detail = "settings", str(error)
        except Exception as error:  # noqa: BLE001 (see the module's docstring)
            self.crashes.append((device_id, f"{type(error).__name__}: {error}"))
            del self.crashes[:-100]
            cause, detail = "crashed", f"{type(error).__name__}: {error}"
        finally:
            self.drivers.pop(device_id, None)
        return self._offline(device_id, cause, detail)
