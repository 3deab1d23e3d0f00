"""The methods that bluetoothd answers on its adapters, and what it asks of its clients' own objects."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from dbus_fast import DBusError, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from firmware_sim.bluez_objects import (
    ADAPTER,
    ADVERTISEMENTS_MAX,
    ADVERTISING,
    DEVICE,
    MONITORING,
    Adapter,
    Pattern,
    Session,
    advertisement,
)

OBJECTS: Final = "org.freedesktop.DBus.ObjectManager"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_INTROSPECT: Final = "org.freedesktop.DBus.Introspectable"
_BUS: Final = "org.freedesktop.DBus"
_FAILED: Final = "org.bluez.Error.Failed"
_LEAVING: Final = "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'"
_ADDING: Final = "type='signal',sender='{}',interface='org.freedesktop.DBus.ObjectManager',member='InterfacesAdded'"
_ADAPTER_XML: Final = """<node>
<interface name="org.bluez.Adapter1"><method name="StartDiscovery"/><method name="StopDiscovery"/>
<method name="SetDiscoveryFilter"><arg name="properties" type="a{sv}" direction="in"/></method>
<method name="RemoveDevice"><arg name="device" type="o" direction="in"/></method>
<property name="Address" type="s" access="read"/><property name="Powered" type="b" access="readwrite"/>
<property name="Discovering" type="b" access="read"/><property name="Roles" type="as" access="read"/></interface>
<interface name="org.bluez.LEAdvertisingManager1">
<method name="RegisterAdvertisement"><arg name="advertisement" type="o" direction="in"/>
<arg name="options" type="a{sv}" direction="in"/></method>
<method name="UnregisterAdvertisement"><arg name="service" type="o" direction="in"/></method>
<property name="ActiveInstances" type="y" access="read"/><property name="SupportedInstances" type="y" access="read"/>
</interface>
<interface name="org.bluez.AdvertisementMonitorManager1">
<method name="RegisterMonitor"><arg name="application" type="o" direction="in"/></method>
<method name="UnregisterMonitor"><arg name="application" type="o" direction="in"/></method></interface>
<interface name="org.freedesktop.DBus.Properties">
<method name="Get"><arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="v" direction="out"/></method>
<method name="GetAll"><arg type="s" direction="in"/><arg type="a{sv}" direction="out"/></method>
<method name="Set"><arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="v" direction="in"/></method>
</interface></node>"""

Reply = Message | bool | None
Signal = Callable[[str, str, str, str, list[Any]], None]


class Calls:
    """Answers method calls on ``adapters``; ``signal(path, interface, member, signature, body)`` sends a signal."""

    def __init__(self, adapters: Mapping[str, Adapter], signal: Signal) -> None:
        self._adapters = adapters
        self._signal = signal
        self._bus: MessageBus | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._calls: dict[tuple[str | None, str | None], Callable[[Message], Reply]] = {
            (OBJECTS, "GetManagedObjects"): self._managed_objects,
            (PROPERTIES, "Get"): self._get,
            (PROPERTIES, "GetAll"): self._get_all,
            (PROPERTIES, "Set"): self._set,
            (_INTROSPECT, "Introspect"): self._introspect,
            (ADAPTER, "SetDiscoveryFilter"): self._set_filter,
            (ADAPTER, "StartDiscovery"): self._start_discovery,
            (ADAPTER, "StopDiscovery"): self._stop_discovery,
            (ADAPTER, "RemoveDevice"): self._remove_device,
            (MONITORING, "RegisterMonitor"): self._register_monitor,
            (MONITORING, "UnregisterMonitor"): self._unregister_monitor,
            (ADVERTISING, "RegisterAdvertisement"): self._register_advertisement,
            (ADVERTISING, "UnregisterAdvertisement"): self._unregister_advertisement,
        }

    async def attach(self, bus: MessageBus) -> None:
        """Answer on this bus from now on."""
        self._bus = bus
        await self._match("AddMatch", _LEAVING)

    def detach(self) -> None:
        """The bus connection ends."""
        self._bus = None
        for chore in self._chores:
            chore.cancel()

    async def _match(self, member: str, rule: str) -> None:
        """AddMatch or RemoveMatch; ConnectionError when the bus refuses."""
        if self._bus is not None:
            call = Message(_BUS, "/org/freedesktop/DBus", _BUS, member, signature="s", body=[rule])
            reply = await self._bus.call(call)
            if reply is None or reply.message_type is MessageType.ERROR:
                raise ConnectionError(f"the bus refused {member} of {rule}")

    def take(self, message: Message) -> Reply:
        """The reply to a call, True when one follows later, None for what is not ours; signals are taken note of."""
        if message.message_type is MessageType.SIGNAL:
            self._on_signal(message)
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        call = self._calls.get((message.interface, message.member))
        return None if call is None else call(message)

    def _adapter(self, message: Message) -> Adapter:
        for adapter in self._adapters.values():
            if adapter.present and adapter.path == message.path:
                return adapter
        text = f'Method "{message.member}" with interface "{message.interface}" on {message.path} doesn\'t exist'
        raise DBusError("org.freedesktop.DBus.Error.UnknownObject", text)

    def _present(self) -> list[Adapter]:
        return [a for a in self._adapters.values() if a.present]

    def _managed_objects(self, message: Message) -> Reply:
        if message.path != "/":
            return None
        objects: dict[str, Any] = {a.path: a.interfaces() for a in self._present()}
        for adapter in self._present():
            objects |= {d.path: {DEVICE: d.properties} for d in adapter.devices.values()}
        return Message.new_method_return(message, "a{oa{sa{sv}}}", [objects])

    def _interfaces(self, message: Message) -> dict[str, dict[str, Variant]]:
        for adapter in self._present():
            for device in adapter.devices.values():
                if device.path == message.path:
                    return {DEVICE: device.properties}
        return self._adapter(message).interfaces()

    def _get(self, message: Message) -> Reply:
        interface, name = message.body
        value = self._interfaces(message).get(interface, {}).get(name)
        if value is None:
            raise DBusError("org.freedesktop.DBus.Error.InvalidArgs", f"No such property '{name}'")
        return Message.new_method_return(message, "v", [value])

    def _get_all(self, message: Message) -> Reply:
        return Message.new_method_return(message, "a{sv}", [self._interfaces(message).get(message.body[0], {})])

    def _set(self, message: Message) -> Reply:
        adapter, (_, name, value) = self._adapter(message), message.body
        if name != "Powered":
            raise DBusError("org.freedesktop.DBus.Error.PropertyReadOnly", f"Property '{name}' is not writable")
        was = adapter.discovering
        adapter.powered = bool(value.value)
        if not adapter.powered:
            adapter.sessions.clear()
            adapter.deaf = False
        self._adapter_changed(adapter, {"Powered": Variant("b", adapter.powered)}, was)
        return Message.new_method_return(message)

    def _introspect(self, message: Message) -> Reply:
        if any(a.path == message.path for a in self._present()):
            return Message.new_method_return(message, "s", [_ADAPTER_XML])
        return None

    def _adapter_changed(self, adapter: Adapter, changed: dict[str, Variant], was_discovering: bool) -> None:
        if adapter.discovering != was_discovering:
            changed["Discovering"] = Variant("b", adapter.discovering)
        if changed:
            self._signal(adapter.path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [ADAPTER, changed, []])
        if was_discovering and not adapter.discovering:
            for device in adapter.devices.values():  # bluetoothd takes RSSI back when discovery ends
                device.properties.pop("RSSI", None)
                body = [DEVICE, {}, ["RSSI"]]
                self._signal(device.path, PROPERTIES, "PropertiesChanged", "sa{sv}as", body)

    def _set_filter(self, message: Message) -> Reply:
        adapter, (wanted,) = self._adapter(message), message.body
        value = {key: variant.value for key, variant in wanted.items()}
        session = adapter.sessions.setdefault(str(message.sender), Session())
        session.uuids = frozenset(u.lower() for u in value.get("UUIDs", ()))
        session.rssi_min_dbm = value.get("RSSI", -128)
        session.duplicates = value.get("DuplicateData", True)
        return Message.new_method_return(message)

    def _start_discovery(self, message: Message) -> Reply:
        adapter = self._adapter(message)
        if not adapter.powered:
            raise DBusError("org.bluez.Error.NotReady", "Resource Not Ready")
        session = adapter.sessions.setdefault(str(message.sender), Session())
        if session.started:
            raise DBusError("org.bluez.Error.InProgress", "Operation already in progress")
        was = adapter.discovering
        session.started = True
        self._adapter_changed(adapter, {}, was)
        return Message.new_method_return(message)

    def _stop_discovery(self, message: Message) -> Reply:
        adapter = self._adapter(message)
        session = adapter.sessions.get(str(message.sender))
        if session is None or not session.started:
            raise DBusError(_FAILED, "No discovery started")
        was = adapter.discovering
        session.started = False
        self._adapter_changed(adapter, {}, was)
        return Message.new_method_return(message)

    def _remove_device(self, message: Message) -> Reply:
        adapter = self._adapter(message)
        for address, device in adapter.devices.items():
            if device.path == message.body[0]:
                del adapter.devices[address]
                self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [device.path, [DEVICE, PROPERTIES]])
                return Message.new_method_return(message)
        raise DBusError("org.bluez.Error.DoesNotExist", "Does Not Exist")

    # -- clients' own objects: monitors and advertisements ---------------------------------------------------------

    def _register_monitor(self, message: Message) -> Reply:
        adapter, client, path = self._adapter(message), str(message.sender), message.body[0]
        if (client, path) in adapter.monitors:
            raise DBusError("org.bluez.Error.AlreadyExists", "Already Exists")
        adapter.monitors[client, path] = []
        self._chore(self._watch(client, message))
        return True

    async def _watch(self, client: str, message: Message) -> None:
        """Answer only when nothing can be missed: the client publishes its patterns after this reply."""
        await self._match("AddMatch", _ADDING.format(client))
        await self._send(Message.new_method_return(message))

    async def _send(self, message: Message) -> None:
        if self._bus is not None:
            await self._bus.send(message)

    def _unregister_monitor(self, message: Message) -> Reply:
        client, path = str(message.sender), message.body[0]
        if self._adapter(message).monitors.pop((client, path), None) is None:
            raise DBusError("org.bluez.Error.DoesNotExist", "Does Not Exist")
        self._chore(self._match("RemoveMatch", _ADDING.format(client)))
        return Message.new_method_return(message)

    def _on_signal(self, message: Message) -> None:
        if message.member == "NameOwnerChanged" and message.body and not message.body[2]:
            self._gone(message.body[0])
        elif message.member == "InterfacesAdded" and message.body:
            path, interfaces = message.body
            monitor = interfaces.get("org.bluez.AdvertisementMonitor1")
            for adapter in self._present():
                for client, root in adapter.monitors:
                    if monitor is not None and client == message.sender and str(path).startswith(root):
                        self._monitor(adapter, (client, root), path, monitor)

    def _monitor(self, adapter: Adapter, key: tuple[str, str], path: str, properties: dict[str, Variant]) -> None:
        """A client has published the patterns of a monitor that it registered before."""
        patterns: list[Pattern] = [(s, kind, bytes(c)) for s, kind, c in properties["Patterns"].value]
        adapter.monitors[key] = patterns
        self._chore(self._call_client(key[0], path, "org.bluez.AdvertisementMonitor1", "Activate"))

    def _gone(self, client: str) -> None:
        """A client has left the bus: what it had started ends."""
        for adapter in self._adapters.values():
            was = adapter.discovering
            adapter.sessions.pop(client, None)
            for kept in (adapter.monitors, adapter.advertisements):
                for key in [k for k in kept if k[0] == client]:
                    del kept[key]
            self._adapter_changed(adapter, {}, was)

    def _register_advertisement(self, message: Message) -> Reply:
        adapter = self._adapter(message)
        if len(adapter.advertisements) >= ADVERTISEMENTS_MAX:
            raise DBusError("org.bluez.Error.NotPermitted", "Maximum advertisements reached")
        if (str(message.sender), message.body[0]) in adapter.advertisements:
            raise DBusError("org.bluez.Error.AlreadyExists", "Already Exists")
        self._chore(self._advertise(adapter, message))
        return True  # answered once the client's object has been read

    async def _advertise(self, adapter: Adapter, message: Message) -> None:
        client, path = str(message.sender), message.body[0]
        properties = await self._call_client(client, path, PROPERTIES, "GetAll", "org.bluez.LEAdvertisement1")
        try:
            if not properties:
                raise ValueError(f"no org.bluez.LEAdvertisement1 at {path}")
            adapter.advertisements[client, path] = advertisement(properties[0])
        except ValueError as error:
            await self._send(Message.new_error(message, _FAILED, f"Failed to register advertisement: {error}"))
        else:
            await self._send(Message.new_method_return(message))

    def _unregister_advertisement(self, message: Message) -> Reply:
        if self._adapter(message).advertisements.pop((str(message.sender), message.body[0]), None) is None:
            raise DBusError("org.bluez.Error.DoesNotExist", "Does Not Exist")
        return Message.new_method_return(message)

    async def _call_client(self, client: str, path: str, interface: str, member: str, *words: str) -> list[Any]:
        """Call a client's object with strings; an empty list when it is gone or refuses."""
        if self._bus is None:
            return []
        call = Message(client, path, interface, member, signature="s" * len(words), body=list(words))
        reply = await self._bus.call(call)
        return list(reply.body) if reply is not None and reply.message_type is MessageType.METHOD_RETURN else []

    def _chore(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
