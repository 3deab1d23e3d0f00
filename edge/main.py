"""The composition root: makes every concrete thing, wires it, starts it, and stops it in the right order."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import random
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from cloud_bridge.settings import UplinkSettings
from devices.registry import discoverers
from devices.transport import open_stream
from edge import bridge
from edge.access import Access
from edge.access.enrolment import Enrolment, EnrolmentPorts
from edge.access.public_certificate import PublicCertificate, PublicFiles
from edge.clock import SystemClock
from edge.core.engine import Engine
from edge.core.errors import JournalError, SettingsError
from edge.core.facts import Restarted
from edge.core.instant import TimeQuality
from edge.core.localtime import is_open
from edge.core.observation import DeviceState, DeviceStatus
from edge.crashes import SAFE_MODE_S, CrashLog, SafeMode
from edge.discovery import Discovery
from edge.doors import Doors
from edge.enrolling import HttpsDoor, enrolled_settings
from edge.frugal import be_frugal, give_back_now_and_then
from edge.health import Alarm, Health, Notifier
from edge.installation import Installation, kept_site
from edge.jobs import Jobs
from edge.journal import Journal, Kept, Store, ThreadWriter
from edge.journal.log import open_store
from edge.logbook import Logbook
from edge.machine import machine_identity
from edge.metrics import Sample, gateway_samples
from edge.network import MachineNetwork, SystemBus
from edge.plan import Plan, read_plan
from edge.recordings import Recordings
from edge.runtime import Runtime
from edge.sole import hold
from edge.store_engine import make_engine
from edge.supervisor import Supervisor
from edge.updating import make_desk, make_rollout, signed_floor_us
from edge.way_out import WayOut

if TYPE_CHECKING:
    from edge.certificates import Certificates

Start = Callable[[str, Coroutine[Any, Any, None]], None]
WATCHDOG_S = 30.0
UPLINK_GAUGES, UPLINK_TOTALS = ("connected", "acked_seq"), ("connects", "facts_sent", "messages_sent")
RESTART_S = 1.0  # the answer leaves first; systemd starts us again
DISK_FULL = "nothing more fits on the disk or into the quota: facts wait in memory"
FATAL_EXIT = 74  # EX_IOERR: systemd starts us again, the journal is read anew


class Gateway:
    """One running gateway. `run` ends on `stop` or on a fatal error of the journal."""

    def __init__(self, plan: Plan, notify: Callable[[str], None] | None = None) -> None:
        """Open the journal and restore the engine. Raises JournalError, SettingsError (port or folder in use)."""
        self.plan = plan
        self.notify = notify or Notifier()
        self.listener = self._bind()
        self._sole = hold(self.plan.state_dir)
        self.crashes = CrashLog(self.plan.state_dir)
        self.safe_mode = self.crashes.begin(software_version())
        store, kept = open_store(plan.journal, machine_identity())
        plan = self.plan = dataclasses.replace(plan, site=kept_site(store.mapping("keyed"), plan.site))
        self.clock = SystemClock(kept.boot, kept.instant, signed_us=signed_floor_us(plan.state_dir))
        self.health = Health(self.clock.now_us)
        self.engine: Engine = make_engine(plan.site, plan.calibrations)
        self.engine.parts.presence.retention = plan.retention
        self.kept = kept
        self._store = store
        self._stop = asyncio.Event()
        self._fatal: JournalError | None = None
        self.bridge: bridge.Bridge | None = None
        self.journal = Journal(store, ThreadWriter(), plan.journal, kept.boot, self._on_fatal)
        self.engine.restore(kept.said, kept.internals, self.clock.now())
        self.runtime = Runtime(self.engine, self.journal, self.clock, self.health)
        self.logbook = self.runtime.logbook = Logbook(self.clock.now)
        self.journal.subscribe(self.logbook.committed)
        self.supervisor = Supervisor(self.runtime.emit, self.clock.now_us, random.Random())
        entries = tuple(entry for entry, _ in plan.devices)
        self.installation = Installation(self.runtime, self.supervisor, entries, self._store_open)
        self.doors = Doors(self.runtime, plan.state_dir)
        self.access = Access(self.journal, self.clock, self.runtime.tell)
        self._relink = asyncio.Event()
        self.way_out = WayOut(self.journal, self._uplink_settings, self._relink.set)
        self.enrolment = self._enrolment()
        self.network = MachineNetwork(SystemBus(), self.journal)
        self.jobs = Jobs()
        self.rollout = make_rollout(self, plan.state_dir, self._store_open) if plan.updates else None
        self.certificates = self._certify() if plan.api.https else None
        self.port = self.listener.getsockname()[1]

    def _bind(self) -> socket.socket:
        from edge.api.app import bind  # noqa: PLC0415 (FastAPI is most of the start-up; the journal opens meanwhile)

        return bind(self.plan.api.host, self.plan.api.port)

    def _certify(self) -> Certificates:
        from edge.certificates import Certificates  # noqa: PLC0415 (only gateways that serve TLS pay for it)

        return Certificates(self.plan.state_dir / "tls", self.plan.api, lambda: self.clock.now().wall_us)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the CA that technicians pin, "" without TLS."""
        return self.certificates.fingerprint if self.certificates else ""

    @property
    def address(self) -> str:
        """Where a person, or a phone that scans the label, finds it."""
        from edge.certificates import own_addresses  # noqa: PLC0415

        host = self.plan.api.host
        if host in ("0.0.0.0", "::"):
            host = next(iter((*self.plan.api.names, *own_addresses(), socket.gethostname())))
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self.plan.api.https else 'http'}://{shown}:{self.port}"

    def _on_fatal(self, error: JournalError) -> None:
        """The disk failed: say so, end at once, never retry (a second fsync may lie)."""
        self._fatal = error
        self._stop.set()

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stop.set()

    def _restart_soon(self) -> None:
        asyncio.get_running_loop().call_later(RESTART_S, self.stop)

    async def run(self, ready: Callable[[Gateway], None] | None = None) -> None:
        """Serve until `stop`. Raises the JournalError that ended it, if one did."""
        tasks: list[asyncio.Task[None]] = []
        start = functools.partial(self._start, tasks)
        self._begin(self.kept)
        await self._honour_reset()
        start("runtime", self.runtime.run())
        server = self._start_api(start)
        self._start_inference(start)
        start("bridge", self._run_bridge())
        start("enrolment", self.enrolment.run(functools.partial(self.health.alarm, Alarm.ENROLMENT)))
        if self.plan.api.public_from_platform:
            tell = functools.partial(self.health.alarm, Alarm.PUBLIC_CERTIFICATE)
            start("public certificate", self._public_certificate().run(tell))
        start("watchdog", self._feed_watchdog())
        if self.rollout:
            start("updates", self.rollout.run())
        start("time servers", self.network.run())
        if not self.kept.clean:
            start("quick-check", self._check_file(self._store))
        async with asyncio.TaskGroup() as group:
            self._start_drivers(group)
            await server.serving.wait()
            self.notify(f"READY=1\nSTATUS={self._status()}")
            if ready is not None:
                ready(self)
            start("frugal", give_back_now_and_then())
            await self._until_stopped(tasks)
            self.notify("STOPPING=1")
            await self.jobs.close()
            await self.supervisor.stop_all()
        await self._farewell()
        await self._finish(tasks)

    def _start(self, tasks: list[asyncio.Task[None]], name: str, work: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.create_task(work, name=name))

    async def _until_stopped(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for the stop, or for a task that failed: then everything ends, and systemd starts it anew."""
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        endless = [task for task in tasks if task.get_name() != "quick-check"]
        await asyncio.wait([stop, *endless], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        for task in endless:
            if task.done() and not task.cancelled() and task.exception() is not None:
                await asyncio.wait([task])
                break

    async def _farewell(self) -> None:
        """Give the platform a moment to take what is committed; what it does not take, it gets after the next start."""
        if self.bridge is None or self._fatal is not None or not self.bridge.uplink.status.connected:
            return
        self.runtime.step()
        await self.journal.flush()
        await bridge.farewell(self.journal)

    async def _finish(self, tasks: list[asyncio.Task[None]]) -> None:
        failed = [task for task in tasks if task.done() and not task.cancelled() and task.exception()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._fatal is not None:
            raise self._fatal
        self.doors.close()
        await self.runtime.close()
        await self.journal.close()
        self.access.close()
        os.close(self._sole)
        if not failed:
            self.crashes.clean()
        for task in failed:
            raise task.exception() or AssertionError
        self.listener.close()

    def _begin(self, kept: Kept) -> None:
        """The boot's first facts; what was true before is shown again from the journal."""
        cause = kept.new_epoch_cause or ("start" if kept.clean else "crash")
        now = self.clock.now()
        self.runtime.view.await_commit(self.journal.last_seq, self.engine.all_documents(now))
        self.runtime.view.committed(self.journal.last_seq)
        detail, at_us = kept.quarantined, now.mono_us
        self.runtime.tell(
            Restarted(at_us=at_us, boot=kept.boot, version=software_version(), cause=cause, detail=detail)
        )

    async def _honour_reset(self) -> None:
        """A file named reset-claim in the state folder, which only who stands at the device can put there."""
        mark = self.plan.state_dir / "reset-claim"
        if mark.exists():
            await self.access.reset("the file reset-claim was found at the start")
            mark.unlink()

    # --- what is started ----------------------------------------------------------------------------------------------

    def _start_drivers(self, group: asyncio.TaskGroup) -> None:
        if self.safe_mode is not None:
            self._be_careful(self.safe_mode)
        self.installation.start(group)
        for door in self.plan.site.doors:
            if door.device not in self.health.devices:
                offline = DeviceStatus(door.device, self.clock.now_us(), DeviceState.OFFLINE, "not_configured")
                self.runtime.emit(offline)

    def _be_careful(self, safe_mode: SafeMode) -> None:
        """API, bridge and journal only; after a while all drivers but the culprit."""
        self.health.alarm(Alarm.SAFE_MODE, str(safe_mode))
        culprits = (e.id for e in self.installation.entries().values() if e.kind == safe_mode.culprit)
        self.supervisor.hold(str(safe_mode), culprits)

        def release() -> None:
            self.health.alarm(Alarm.SAFE_MODE, "")
            self.supervisor.release()

        asyncio.get_running_loop().call_later(SAFE_MODE_S, release)

    def _store_open(self) -> bool:
        """Whether the store is open by its hours; open as well while the clock is not known."""
        now, store = self.clock.now(), self.plan.site.store
        return now.quality is TimeQuality.UNSET or is_open(now.wall_us, ZoneInfo(store.timezone), store.hours)

    def _start_inference(self, start: Start) -> None:
        """Doors may come with a later planogram: the way for frames is always open, the model loads with the first."""
        start("inference", self.runtime.infer(self.doors))
        self.health.expect_beat("inference", 30)

    def _start_api(self, start: Start) -> Any:
        from edge.api.app import make_server  # noqa: PLC0415
        from edge.api.services import Services  # noqa: PLC0415

        services = Services(
            runtime=self.runtime,
            health=self.health,
            version=software_version(),
            started_us=self.clock.now_us(),
            access=self.access,
            enrolment=self.enrolment,
            jobs=self.jobs,
            installation=self.installation,
            discovery=Discovery(self._finders),
            settings=self.plan.api,
            retention=self.plan.retention,
            uplink=self._uplink_status,
            doors=self.doors,
            logbook=self.logbook,
            measures=self._measures,
            recordings=Recordings(self.plan.state_dir / "recordings", self.installation),
            restart=self._restart_soon,
            network=self.network,
            way_out=self.way_out,
            updates=make_desk(self, self.plan.file),
            fingerprint=self.fingerprint,
            ca_pem=self.certificates.ca_pem if self.certificates else "",
        )
        server = make_server(services, self.certificates.context if self.certificates else None)
        if self.certificates is not None:
            start("certificates", self.certificates.run(functools.partial(self.health.alarm, Alarm.CERTIFICATE)))
        start("api", server.serve(sockets=[self.listener]))
        return server

    def _finders(self) -> dict[str, Any]:
        """The drivers' own ways to find their devices, as discovery takes them."""
        return {kind: functools.partial(find, open_stream) for kind, find in discoverers().items()}

    def _uplink_status(self) -> str:
        """connected, disconnected, or off where the settings name no broker."""
        if self.bridge is None:
            return "off"
        return "connected" if self.bridge.uplink.status.connected else "disconnected"

    def _status(self) -> str:
        """One line for `systemctl status`: devices, alarms, the platform and what it has still to get."""
        backlog = "" if self.bridge is None else f", {self.journal.last_seq - self.journal.acked_seq} facts to send"
        return f"{self.health.status()}; platform {self._uplink_status()}{backlog}"

    def _measures(self) -> Iterable[Sample]:
        """What /metrics shows."""
        uplink: dict[str, float] = {}
        totals: dict[str, float] = {}
        if self.bridge is not None:
            status = self.bridge.uplink.status
            uplink = {name: getattr(status, name) for name in UPLINK_GAUGES}
            uplink["backlog"] = self.journal.last_seq - self.journal.acked_seq
            totals = {name: getattr(status, name) for name in UPLINK_TOTALS}
        return gateway_samples(self.health, self.runtime, uplink, totals)

    def _uplink_cause(self) -> str:
        return "" if self.bridge is None else self.bridge.uplink.status.cause

    def _enrolment(self) -> Enrolment:
        ports = EnrolmentPorts(
            keyed=self.journal,
            clock=self.clock,
            audit=self.access.audit,
            folder=self.plan.state_dir / "platform",
            door=HttpsDoor(self.way_out.settings),
            trusted=lambda: self.plan.uplink.platform_keys,
            adopt=self.installation.adopt,
            changed=self._relink.set,
        )
        return Enrolment(ports)

    def _public_certificate(self) -> PublicCertificate:
        api = self.plan.api
        files = PublicFiles(api.public_name.lower(), Path(api.public_certificate), Path(api.public_key))
        return PublicCertificate(files, self.clock, self.enrolment.ask)

    def _uplink_settings(self) -> UplinkSettings:
        return enrolled_settings(self.plan.uplink, self.enrolment)

    async def _run_bridge(self) -> None:
        """The bridge with the settings of now; made anew when enrolment brings others."""
        served = bridge.Gateway(self.runtime, self.installation, self.rollout)
        while True:
            self._relink.clear()
            settings = self.way_out.settings()
            self.bridge = bridge.make_bridge(served, self.installation.site(), settings, software_version())
            running = [asyncio.create_task(self.bridge.run())] if self.bridge is not None else []
            tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._relink.wait()), *running]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in running:
                    if task.done():
                        await task  # raises what ended it
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    # --- watching -----------------------------------------------------------------------------------------------------

    async def _feed_watchdog(self) -> None:
        """Ping systemd only while every heartbeat is fresh."""
        self.health.expect_beat("loop", 10)
        self.health.expect_beat("writer", 20)
        self.journal.subscribe(lambda _: self.health.beat("writer"))
        interval_s = WATCHDOG_S / 6
        while True:
            if self.journal.pending == 0 or self.journal.full:
                self.health.beat("writer")  # nothing to write, or waiting for a full disk: not hung
            if not self.runtime.frames_waiting:
                self.health.beat("inference")
            self.health.alarm(Alarm.JOURNAL_FULL, DISK_FULL if self.journal.full else "")
            self.logbook.watch(self.health.alarms, self._uplink_status(), self._uplink_cause())
            stale = self.health.stale()
            if not stale:
                self.notify(f"WATCHDOG=1\nSTATUS={self._status()}")
            await asyncio.sleep(interval_s)

    async def _check_file(self, store: Store) -> None:
        """After an unclean stop: check the file in the background; a damaged one is put aside at the next start."""
        if await asyncio.to_thread(store.quick_check):
            return
        self.health.alarm(Alarm.JOURNAL_CORRUPT, "the integrity check failed; a new journal begins at the restart")
        await self.journal.mark_damaged()
        self._on_fatal(JournalError("journal: the integrity check failed"))


def software_version() -> str:
    """The installed version."""
    return version("smartstore-gateway")


async def serve(path: Path, ready: Callable[[Gateway], None] | None = None) -> None:
    """Run the gateway of a settings file until SIGTERM or SIGINT. Raises what the caller shows to a person."""
    be_frugal()
    try:
        gateway = Gateway(read_plan(path))
    except SettingsError as error:
        if error.file != "settings":
            raise
        raise SettingsError(str(path), error.key, error.value, error.expected) from None  # this file of settings
    gateway.crashes.arm()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, gateway.stop)
    await gateway.run(ready)


def run_forever(path: Path, ready: Callable[[Gateway], None] | None = None) -> int:
    """`serve` as a process: exit code 0 after a stop, 74 when the journal failed (start again)."""
    try:
        asyncio.run(serve(path, ready))
    except JournalError as error:
        os.write(2, f"{error}. {error.hint}\n".encode())
        return FATAL_EXIT
    return 0
