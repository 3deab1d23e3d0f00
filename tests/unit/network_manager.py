"""NetworkManager and timesyncd as their D-Bus documentation has them, small: one cable, one Wi-Fi, checkpoints."""

from __future__ import annotations

from typing import Any

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

NM = "org.freedesktop.NetworkManager"
ROOT = "/org/freedesktop/NetworkManager"
PROPERTIES = "org.freedesktop.DBus.Properties"


class FakeNetworkManager:
    """Keeps profiles; an activated one shapes the device's addresses; a rolled-back checkpoint brings all back."""

    def __init__(self) -> None:
        self.profiles: dict[str, dict[str, dict[str, Variant]]] = {
            f"{ROOT}/Settings/1": {
                "connection": {"id": Variant("s", "cable"), "type": Variant("s", "802-3-ethernet")},
                "ipv4": {"method": Variant("s", "auto"), "ignore-auto-dns": Variant("b", False)},
            }
        }
        self.secrets = {"802-11-wireless-security": {"psk": Variant("s", "old secret")}}
        self.active: dict[str, str] = {"eth0": f"{ROOT}/Settings/1", "wlan0": ""}
        self.checkpoints: dict[str, Any] = {}
        self.checkpoint_calls: list[list[Any]] = []
        self.ntp: list[str] = []
        self.refuse = ""

    async def serve(self, address: str) -> MessageBus:
        bus = await MessageBus(bus_address=address).connect()
        await bus.request_name(NM)
        await bus.request_name("org.freedesktop.timesync1")
        bus.add_message_handler(self.handle)
        return bus

    def handle(self, message: Message) -> Message | None:
        if message.message_type is not MessageType.METHOD_CALL or message.interface == "org.freedesktop.DBus":
            return None
        if self.refuse and message.member == self.refuse:
            return Message.new_error(message, f"{NM}.PermissionDenied", "not authorised")
        found = getattr(self, f"on_{message.member}", None)
        if found is None:
            return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownMethod", str(message.member))
        signature, *body = found(message.path, *message.body)
        return Message.new_method_return(message, signature, body)

    # --- what is ------------------------------------------------------------------------------------------------------

    def on_GetDevices(self, path: str) -> tuple[Any, ...]:
        return "ao", [f"{ROOT}/Devices/{name}" for name in ("lo", "eth0", "wlan0")]

    def on_GetAll(self, path: str, interface: str) -> tuple[Any, ...]:
        kind, _, name = path.removeprefix(f"{ROOT}/").partition("/")
        return "a{sv}", {"Devices": self._device, "IP4Config": self._ip4, "Active": self._active, "Point": self._point}[
            kind
        ](name)

    def _device(self, name: str) -> dict[str, Variant]:
        profile = self.active.get(name, "")
        kind = {"lo": 32, "eth0": 1, "wlan0": 2}[name]
        return {
            "Interface": Variant("s", name),
            "DeviceType": Variant("u", kind),
            "HwAddress": Variant("s", "DC:A6:32:00:00:01"),
            "State": Variant("u", 100 if profile else 30),
            "Ip4Config": Variant("o", f"{ROOT}/IP4Config/{name}" if profile else "/"),
            "ActiveConnection": Variant("o", f"{ROOT}/Active/{name}" if profile else "/"),
        }

    def _ip4(self, name: str) -> dict[str, Variant]:
        wanted = self.profiles[self.active[name]]["ipv4"]
        rows, gateway = [{"address": Variant("s", "192.168.1.77"), "prefix": Variant("u", 24)}], "192.168.1.1"
        servers = ["192.168.1.1"]
        if wanted["method"].value == "manual":
            rows, gateway = wanted["address-data"].value, wanted["gateway"].value if "gateway" in wanted else ""
            servers = wanted["dns-data"].value
        return {
            "AddressData": Variant("aa{sv}", rows),
            "Gateway": Variant("s", gateway),
            "NameserverData": Variant("aa{sv}", [{"address": Variant("s", one)} for one in servers]),
        }

    def _active(self, name: str) -> dict[str, Variant]:
        return {"Connection": Variant("o", self.active[name])}

    def on_GetSettings(self, path: str) -> tuple[Any, ...]:
        hidden = {
            section: {key: value for key, value in rows.items() if key != "psk"}
            for section, rows in self.profiles[path].items()
        }
        return "a{sa{sv}}", hidden

    def on_GetSecrets(self, path: str, section: str) -> tuple[Any, ...]:
        return "a{sa{sv}}", self.secrets

    def on_GetAllAccessPoints(self, path: str) -> tuple[Any, ...]:
        return "ao", [f"{ROOT}/Point/{name}" for name in ("weak", "strong", "guest")]

    def _point(self, name: str) -> dict[str, Variant]:
        ssid, strength, flags = {"weak": ("staff", 20, 0x108), "strong": ("staff", 80, 0x108), "guest": ("客", 55, 0)}[
            name
        ]
        return {
            "Ssid": Variant("ay", ssid.encode()),
            "Strength": Variant("y", strength),
            "WpaFlags": Variant("u", 0),
            "RsnFlags": Variant("u", flags),
        }

    # --- what changes -------------------------------------------------------------------------------------------------

    def on_CheckpointCreate(self, path: str, devices: list[str], timeout_s: int, flags: int) -> tuple[Any, ...]:
        self.checkpoint_calls.append([devices, timeout_s, flags])
        place = f"{ROOT}/Checkpoint/{len(self.checkpoint_calls)}"
        self.checkpoints[place] = ({name: dict(rows) for name, rows in self.profiles.items()}, dict(self.active))
        return "o", place

    def on_CheckpointDestroy(self, path: str, place: str) -> tuple[Any, ...]:
        self.checkpoints.pop(place)
        return ("",)

    def on_CheckpointRollback(self, path: str, place: str) -> tuple[Any, ...]:
        self.profiles, self.active = self.checkpoints.pop(place)
        return "a{su}", {}

    def on_Update(self, path: str, settings: dict[str, dict[str, Variant]]) -> tuple[Any, ...]:
        self.profiles[path] = settings
        return ("",)

    def on_ActivateConnection(self, path: str, connection: str, device: str, point: str) -> tuple[Any, ...]:
        self.active[device.rpartition("/")[2]] = connection
        return "o", f"{ROOT}/Active/1"

    def on_AddAndActivateConnection(
        self, path: str, settings: dict[str, dict[str, Variant]], device: str, point: str
    ) -> tuple[Any, ...]:
        place = f"{ROOT}/Settings/{len(self.profiles) + 1}"
        self.profiles[place] = settings
        self.active[device.rpartition("/")[2]] = place
        return "oo", place, f"{ROOT}/Active/2"

    def on_SetRuntimeNTPServers(self, path: str, servers: list[str]) -> tuple[Any, ...]:
        self.ntp = servers
        return ("",)
