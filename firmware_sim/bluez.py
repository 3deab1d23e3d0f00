"""bluetoothd on a private D-Bus: what an unmodified `bleak` needs to scan, and more faults than a real one offers.

Played: ObjectManager, Adapter1, Device1, AdvertisementMonitorManager1 (passive scanning), LEAdvertisingManager1 (the
gateway as a beacon). dbus-fast has no back-pressure, and gives its connection up when the socket is full: all signals
go through one bounded outbox, at most 30 every 5 ms, and only while the socket has room.
"""

import asyncio
import random
import select
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from dbus_fast import DBusError, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from firmware_sim.ble_air import Heard
from firmware_sim.bluez_calls import OBJECTS, PROPERTIES, Calls, Reply
from firmware_sim.bluez_objects import ADAPTER, ADVERTISING, DEVICE, MONITORING, Adapter, advertised_properties

BURST: Final = 30
BURST_EVERY_S: Final = 0.005
POLL_S: Final = 0.05
BACKLOG_MAX: Final = 20_000
FORGET_S: Final = 30.0  # bluetoothd's TemporaryTimeout: an unpaired device that is silent is removed


class Bluez:
    """Plays bluetoothd with these adapters until `run` is cancelled.

    ``counters``: heard, signalled, filtered, deduped, dropped (backlog or outbox full), waited (bus slow), restarts.
    """

    def __init__(self, adapters: Sequence[Adapter], seed: int) -> None:
        self.adapters = {a.name: a for a in adapters}
        self.counters: Counter[str] = Counter()
        self._rng = random.Random(f"{seed}/bluez")
        self._backlog: deque[tuple[Adapter, Heard]] = deque()
        self._outbox: deque[Message] = deque()
        self._hung = False
        self._held: deque[tuple[MessageBus, Message]] = deque(maxlen=1000)  # calls that arrive while it hangs
        self._ended = asyncio.Event()
        self._down_s = 0.0
        self._calls = Calls(self.adapters, self._signal)

    # -- life and faults -----------------------------------------------------------------------------------------

    async def run(self, address: str, ready: asyncio.Event | None = None) -> None:
        """Own ``org.bluez`` on the bus at ``address``; comes back after `restart`. Ends only by cancellation."""
        while True:
            self._ended.clear()
            bus = await MessageBus(bus_address=address).connect()
            bus.add_message_handler(partial(self._on_message, bus))
            try:
                await self._calls.attach(bus)
                await bus.request_name("org.bluez")
                for adapter in self.adapters.values():
                    if adapter.present:
                        self._announce(adapter)
                if ready is not None:
                    ready.set()
                await self._until_ended(bus)
            finally:
                self._calls.detach()
                bus.disconnect()
            self.counters["restarts"] += 1
            await asyncio.sleep(self._down_s)

    async def _until_ended(self, bus: MessageBus) -> None:
        """Play until `restart`; ConnectionError when the bus itself goes."""
        disconnected: Callable[[], Coroutine[Any, Any, None]] = bus.wait_for_disconnect
        lost = asyncio.create_task(disconnected())
        pump, ended = asyncio.create_task(self._pump(bus)), asyncio.create_task(self._ended.wait())
        try:
            done, _ = await asyncio.wait({pump, ended, lost}, return_when=asyncio.FIRST_COMPLETED)
            if lost in done:
                raise ConnectionError("the message bus has gone") from lost.exception()
            pump.cancel()
            if pump in done:
                pump.result()
            while self._outbox and not lost.done():
                self._burst(bus, 0.0)
                await asyncio.sleep(BURST_EVERY_S)
        finally:
            for task in (pump, ended, lost):
                task.cancel()

    def hang(self) -> None:
        """bluetoothd stops answering and signalling, but keeps its name; calls wait in its socket."""
        self._hung = True
        self._outbox.clear()

    def resume(self) -> None:
        """It goes on: answers what was called meanwhile, without the advertisements it has missed."""
        self._hung = False
        while self._held:
            bus, message = self._held.popleft()
            try:
                reply = self._calls.take(message)
            except DBusError as error:
                reply = Message.new_error(message, error.type, error.text)
            if isinstance(reply, Message) and bus.connected:
                bus.send(reply)

    def restart(self, down_s: float = 1.0, *, crash: bool = False) -> None:
        """bluetoothd ends and starts again: all sessions, monitors and devices are forgotten.

        A clean end takes its objects back with InterfacesRemoved; a crash says nothing.
        """
        for adapter in self.adapters.values():
            if not crash and adapter.present:
                self._withdraw(adapter)
            adapter.sessions.clear()
            adapter.monitors.clear()
            adapter.advertisements.clear()
            adapter.devices.clear()
        self._backlog.clear()
        self._held.clear()
        self._hung = False
        self._down_s = down_s
        self._ended.set()

    def unplug(self, name: str) -> None:
        """The USB adapter is pulled."""
        adapter = self.adapters[name]
        self._withdraw(adapter)
        adapter.present = False
        adapter.sessions.clear()
        adapter.monitors.clear()
        adapter.advertisements.clear()
        adapter.devices.clear()

    def plug(self, name: str) -> None:
        """It is back."""
        adapter = self.adapters[name]
        adapter.present = adapter.powered = True
        adapter.deaf = False
        self._announce(adapter)

    def _announce(self, adapter: Adapter) -> None:
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [adapter.path, adapter.interfaces()])

    def on_air(self, name: str) -> list[bytes]:
        """The AD structures that clients advertise through an adapter."""
        return list(self.adapters[name].advertisements.values())

    def _withdraw(self, adapter: Adapter) -> None:
        for device in adapter.devices.values():
            self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [device.path, [DEVICE, PROPERTIES]])
        names = [ADAPTER, ADVERTISING, MONITORING, PROPERTIES]
        self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [adapter.path, names])

    # -- advertisements to signals ---------------------------------------------------------------------------------

    async def _pump(self, bus: MessageBus) -> None:
        """Poll the ears, keep the backlog short, signal in bursts."""
        loop = asyncio.get_running_loop()
        until_us = int(loop.time() * 1e6)
        while True:
            now_us = int(loop.time() * 1e6)
            for adapter in self.adapters.values():
                self._listen(adapter, until_us, now_us)
            until_us = now_us
            next_poll_s = loop.time() + POLL_S
            burst_s = loop.time()
            while (self._backlog or self._outbox) and loop.time() < next_poll_s:
                self._burst(bus, burst_s)
                burst_s = max(burst_s, loop.time() - BURST_EVERY_S) + BURST_EVERY_S  # late by one burst at most
                await asyncio.sleep(max(0.0, burst_s - loop.time()))
            self._forget(loop.time())
            await asyncio.sleep(max(0.0, next_poll_s - loop.time()))

    def _burst(self, bus: MessageBus, now_s: float) -> None:
        """Send one burst in one write; nothing while the bus has not taken the last ones.

        The library can neither say whether the socket has room nor write several messages at once: hence its internals.
        """
        line = bus._sock
        if line is None or not select.select([], [line], [], 0)[1]:
            self.counters["waited"] += 1
            return
        burst: list[bytes | bytearray] = []
        while len(burst) < BURST and (self._outbox or self._backlog):
            if not self._outbox:
                self._publish(*self._backlog.popleft(), now_s)
            if self._outbox:
                message = self._outbox.popleft()
                message.serial = bus.next_serial()
                burst.append(message._marshall(False))
        data = b"".join(burst)
        try:
            sent = line.send(data)
        except OSError as error:
            raise ConnectionError("the message bus has gone") from error
        if sent < len(data):
            raise ConnectionError("the message bus took half a burst")

    def _listen(self, adapter: Adapter, t0_us: int, t1_us: int) -> None:
        heard = adapter.ear(t0_us, t1_us)
        self.counters["heard"] += len(heard)
        if self._hung or adapter.deaf or not (adapter.present and adapter.powered):
            return
        if not (adapter.discovering or adapter.monitors):
            return
        for one in heard:
            if len(self._backlog) >= BACKLOG_MAX:
                self.counters["dropped"] += 1
            else:
                self._backlog.append((adapter, one))

    def _publish(self, adapter: Adapter, heard: Heard, now_s: float) -> None:
        if not adapter.wants(heard):
            self.counters["filtered"] += 1
            return
        device = adapter.devices.get(heard.address)
        if device is None:
            device = adapter.devices[heard.address] = adapter.device_of(heard, now_s)
            body = [device.path, {DEVICE: device.properties}]
            self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", body)
        else:
            device.seen_s = now_s
            if now_s < device.quiet_until_s:
                self.counters["deduped"] += 1
                return
            changed = {"RSSI": Variant("n", heard.rssi_dbm)}
            repeat = any(s.duplicates for s in adapter.sessions.values())
            if heard.ad != device.ad or repeat:
                changed |= advertised_properties(heard.ad)
                device.ad = heard.ad
            device.properties |= changed
            self._signal(device.path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [DEVICE, changed, []])
        self.counters["signalled"] += 1
        if adapter.dedupe_s:
            device.quiet_until_s = now_s + self._rng.expovariate(1 / adapter.dedupe_s)

    def _forget(self, now_s: float) -> None:
        for adapter in self.adapters.values():
            for address in [a for a, d in adapter.devices.items() if now_s - d.seen_s > FORGET_S]:
                device = adapter.devices.pop(address)
                self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [device.path, [DEVICE, PROPERTIES]])

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        if len(self._outbox) >= BACKLOG_MAX:
            self.counters["dropped"] += 1
        elif not self._hung:
            self._outbox.append(Message.new_signal(path, interface, member, signature, body))

    def _on_message(self, bus: MessageBus, message: Message) -> Reply:
        if self._hung and message.message_type is MessageType.METHOD_CALL:
            self._held.append((bus, message))
            return True
        return self._calls.take(message)
