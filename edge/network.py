"""The machine's own network: addresses, Wi-Fi and time servers, through NetworkManager and systemd-timesyncd on D-Bus.

A wrong address locks everybody out, so a change is on trial: NetworkManager itself goes back to what was (its
checkpoint) unless somebody who still reaches the gateway confirms within `TRIAL_S`, even if the gateway dies.
Interfaces and members: NetworkManager D-Bus API 1.42 (networkmanager.dev/docs/api), org.freedesktop.timesync1(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from edge.core.errors import GatewayError
from edge.core.plain import PlainError
from edge.core.ports import KeyValue

TRIAL_S = 90
CALL_S = 10.0
SERVERS_LIMIT = 4
NM, NM_PATH = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
TIME, TIME_PATH = "org.freedesktop.timesync1", "/org/freedesktop/timesync1"
KINDS = {1: "ethernet", 2: "wifi"}  # NMDeviceType
ACTIVATED = 100  # NMDeviceState
CHECKPOINT_FLAGS = 0x1 | 0x2 | 0x4  # destroy all others, delete new connections, disconnect new devices
NTP_KEY = "network/ntp"
NOTHING = "/"
_NAME = re.compile(r"^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")


class NetworkUnmanaged(GatewayError):
    """Nothing on this machine lets the gateway look at, or change, its network."""

    hint = "Set the network up on the machine itself, or install NetworkManager and run deploy/install.sh again."


class NetworkRefused(GatewayError):
    """NetworkManager, or the time service, answered no."""

    hint = "Read the detail; nothing was changed."


class Bus(Protocol):
    """A way to call what is on the system bus."""

    async def call(self, service: str, path: str, member: str, signature: str = "", *body: Any) -> Any:
        """`member` with its interface, such as org.freedesktop.NetworkManager.GetDevices; returns its first value.

        Raises NetworkUnmanaged where nobody is there, NetworkRefused for an error.
        """
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """IPv4 of an interface: by DHCP (`auto`), or as given: address with prefix length, gateway, DNS servers."""

    method: str
    address: str = ""
    gateway: str = ""
    dns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises PlainError naming what cannot be."""
        if self.method not in ("auto", "manual"):
            raise PlainError("method", self.method, "auto or manual")
        if self.method == "auto":
            return
        try:
            own = ipaddress.IPv4Interface(self.address)
        except ValueError:
            raise PlainError("address", self.address, "an address with its prefix, such as 192.168.1.20/24") from None
        if "/" not in self.address or own.network.prefixlen > 30 or own.ip in (own.network[0], own.network[-1]):
            raise PlainError("address", self.address, "a host's address with its prefix, such as 192.168.1.20/24")
        if self.gateway and _ipv4("gateway", self.gateway) not in own.network:
            raise PlainError("gateway", self.gateway, f"an address within {own.network}")
        for index, server in enumerate(self.dns):
            _ipv4(f"dns[{index}]", server)


def _ipv4(key: str, text: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        raise PlainError(key, text, "an address such as 192.168.1.1") from None


@dataclass(slots=True)
class _Trial:
    checkpoint: str
    what: str
    until_s: float


class MachineNetwork:
    """Lives on the loop; asks the bus anew each time, so that it never shows what was."""

    def __init__(self, bus: Bus, keyed: KeyValue) -> None:
        self._bus, self._keyed = bus, keyed
        self._trial: _Trial | None = None
        self._changing = asyncio.Lock()

    # --- looking ------------------------------------------------------------------------------------------------------

    async def state(self) -> dict[str, Any]:
        """Interfaces, time servers, the change on trial; `unmanaged`: why nothing can be changed here, "" if it can."""
        rows: list[dict[str, Any]] = []
        unmanaged = ""
        try:
            for path in await self._bus.call(NM, NM_PATH, f"{NM}.GetDevices"):
                device = await self._properties(path, f"{NM}.Device")
                if device.get("DeviceType") in KINDS:
                    rows.append(await self._interface(path, device))
        except GatewayError as error:
            unmanaged = str(error)
        return {
            "interfaces": sorted(rows, key=lambda row: str(row["name"])),
            "unmanaged": unmanaged,
            "ntp": self.ntp(),
            "trial": self._on_trial(),
        }

    def _on_trial(self) -> dict[str, Any] | None:
        trial = self._trial
        if trial is not None and asyncio.get_running_loop().time() >= trial.until_s:
            trial = self._trial = None  # NetworkManager went back by itself
        if trial is None:
            return None
        return {"what": trial.what, "left_s": round(trial.until_s - asyncio.get_running_loop().time())}

    async def _properties(self, path: str, interface: str) -> dict[str, Any]:
        found = await self._bus.call(NM, path, "org.freedesktop.DBus.Properties.GetAll", "s", interface)
        return {name: plain(value) for name, value in found.items()}

    async def _interface(self, path: str, device: dict[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {
            "name": device["Interface"],
            "kind": KINDS[device["DeviceType"]],
            "mac": device.get("HwAddress", ""),
            "up": device.get("State") == ACTIVATED,
            "addresses": [],
            "gateway": "",
            "dns": [],
            "method": "",
            "ssid": "",
        }
        if device.get("Ip4Config", NOTHING) != NOTHING:
            config = await self._properties(device["Ip4Config"], f"{NM}.IP4Config")
            row["addresses"] = [f"{one['address']}/{one['prefix']}" for one in config.get("AddressData", [])]
            row["gateway"] = config.get("Gateway", "")
            row["dns"] = [one["address"] for one in config.get("NameserverData", [])]
        if device.get("ActiveConnection", NOTHING) != NOTHING:
            settings = await self._settings(await self._connection(device["ActiveConnection"]))
            row["method"] = plain(settings.get("ipv4", {}).get("method", ""))
            ssid = plain(settings.get("802-11-wireless", {}).get("ssid", b""))
            row["ssid"] = bytes(ssid).decode("utf-8", "replace")
        return row

    async def _connection(self, active: str) -> str:
        found = await self._properties(active, f"{NM}.Connection.Active")
        return str(found["Connection"])

    async def _settings(self, connection: str) -> dict[str, dict[str, Any]]:
        found = await self._bus.call(NM, connection, f"{NM}.Settings.Connection.GetSettings")
        return {section: dict(values) for section, values in found.items()}

    async def wifi(self) -> list[dict[str, Any]]:
        """Networks in the air: name, strength in %, whether it wants a password; strongest first."""
        best: dict[str, dict[str, Any]] = {}
        for path in await self._bus.call(NM, NM_PATH, f"{NM}.GetDevices"):
            device = await self._properties(path, f"{NM}.Device")
            if KINDS.get(device.get("DeviceType", 0)) != "wifi":
                continue
            for point in await self._bus.call(NM, path, f"{NM}.Device.Wireless.GetAllAccessPoints"):
                seen = await self._properties(point, f"{NM}.AccessPoint")
                name = bytes(seen["Ssid"]).decode("utf-8", "replace")
                secured = bool(seen.get("WpaFlags") or seen.get("RsnFlags"))
                row = {"ssid": name, "strength": seen["Strength"], "secured": secured, "interface": device["Interface"]}
                if name and row["strength"] > best.get(name, {"strength": -1})["strength"]:
                    best[name] = row
        return sorted(best.values(), key=lambda row: -row["strength"])

    # --- changing -----------------------------------------------------------------------------------------------------

    async def set_address(self, name: str, wish: Address) -> None:
        """Give an interface its address, on trial. Raises NetworkUnmanaged, NetworkRefused, PlainError."""
        path, device = await self._device(name)
        if device.get("ActiveConnection", NOTHING) == NOTHING:
            raise NetworkRefused(f"{name}: it is not connected: plug the cable in, or join a Wi-Fi first")
        connection = await self._connection(device["ActiveConnection"])
        settings = await self._settings(connection)
        await self._add_secrets(connection, settings)
        settings["ipv4"] = _ipv4_settings(settings.get("ipv4", {}), wish)

        async def change() -> None:
            await self._bus.call(NM, connection, f"{NM}.Settings.Connection.Update", "a{sa{sv}}", settings)
            await self._bus.call(NM, NM_PATH, f"{NM}.ActivateConnection", "ooo", connection, path, NOTHING)

        await self._try(f"{name} {wish.address or 'DHCP'}", change)

    async def _add_secrets(self, connection: str, settings: dict[str, dict[str, Any]]) -> None:
        """Update forgets what it is not told: the Wi-Fi's password has to come along."""
        section = "802-11-wireless-security"
        if section in settings:
            member = f"{NM}.Settings.Connection.GetSecrets"
            secrets = await self._bus.call(NM, connection, member, "s", section)
            settings[section] |= secrets.get(section, {})

    async def join_wifi(self, ssid: str, password: str) -> None:
        """Join a Wi-Fi (WPA2/WPA3 personal, or open with no password), on trial. Raises as `set_address`."""
        if not 1 <= len(ssid.encode()) <= 32:
            raise PlainError("ssid", ssid, "1 to 32 bytes")
        if password and not 8 <= len(password) <= 63:
            raise PlainError("password", "…", "8 to 63 characters, or none for an open network")
        found = [row for row in (await self.state())["interfaces"] if row["kind"] == "wifi"]
        if not found:
            raise NetworkUnmanaged("wifi: this machine has no Wi-Fi adapter that NetworkManager knows")
        path, _ = await self._device(found[0]["name"])
        settings = wifi_settings(ssid, password)

        async def change() -> None:
            member = f"{NM}.AddAndActivateConnection"
            await self._bus.call(NM, NM_PATH, member, "a{sa{sv}}oo", settings, path, NOTHING)

        await self._try(f"Wi-Fi {ssid}", change)

    async def _device(self, name: str) -> tuple[str, dict[str, Any]]:
        names = []
        for path in await self._bus.call(NM, NM_PATH, f"{NM}.GetDevices"):
            device = await self._properties(path, f"{NM}.Device")
            if device.get("Interface") == name and device.get("DeviceType") in KINDS:
                return path, device
            names.append(str(device.get("Interface")))
        raise PlainError("interface", name, f"one of {', '.join(names) or 'none'}")

    async def _try(self, what: str, change: Callable[[], Awaitable[None]]) -> None:
        async with self._changing:
            member = f"{NM}.CheckpointCreate"
            checkpoint = await self._bus.call(NM, NM_PATH, member, "aouu", [], TRIAL_S, CHECKPOINT_FLAGS)
            self._trial = _Trial(str(checkpoint), what, asyncio.get_running_loop().time() + TRIAL_S)
            try:
                await change()
            except GatewayError:
                await self.revert()
                raise

    async def confirm(self) -> str:
        """Keep the change on trial; returns what it was. Raises NetworkRefused where none is."""
        return await self._end("CheckpointDestroy")

    async def revert(self) -> str:
        """Go back at once; returns what is taken back. Raises NetworkRefused where nothing is on trial."""
        return await self._end("CheckpointRollback")

    async def _end(self, member: str) -> str:
        trial = self._trial
        if self._on_trial() is None or trial is None:
            raise NetworkRefused("no change is on trial: it was confirmed, or its time was over")
        self._trial = None
        await self._bus.call(NM, NM_PATH, f"{NM}.{member}", "o", trial.checkpoint)
        return trial.what

    # --- time ---------------------------------------------------------------------------------------------------------

    def ntp(self) -> list[str]:
        """The time servers that a technician set, [] where it is the machine's own affair."""
        kept = self._keyed.get(NTP_KEY)
        return [str(name) for name in kept] if isinstance(kept, list) else []

    async def set_ntp(self, servers: tuple[str, ...]) -> None:
        """Use these time servers from now on; none: the machine's own. Raises as `set_address`."""
        if len(servers) > SERVERS_LIMIT:
            raise PlainError("servers", len(servers), f"at most {SERVERS_LIMIT}")
        for index, name in enumerate(servers):
            if not _NAME.match(name):
                raise PlainError(f"servers[{index}]", name, "a name or an address such as ntp.nict.jp")
        await self._use_ntp(servers)
        await self._keyed.put(NTP_KEY, list(servers))

    async def start(self) -> None:
        """After a start: timesyncd forgets at each boot what it was told at run time."""
        if self.ntp():
            await self._use_ntp(tuple(self.ntp()))

    async def run(self) -> None:
        """`start`, until cancelled; where nothing here takes time servers, the network page says so."""
        with contextlib.suppress(NetworkUnmanaged, NetworkRefused):
            await self.start()
        await asyncio.Event().wait()

    async def _use_ntp(self, servers: tuple[str, ...]) -> None:
        await self._bus.call(TIME, TIME_PATH, f"{TIME}.Manager.SetRuntimeNTPServers", "as", list(servers))


def plain(value: Any) -> Any:
    """A D-Bus value without its variants."""
    if hasattr(value, "signature") and hasattr(value, "value"):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def _ipv4_settings(before: dict[str, Any], wish: Address) -> dict[str, Any]:
    """The section ``ipv4`` with the wish in it; what is not about addresses stays."""
    from dbus_fast import Variant  # noqa: PLC0415 (only who changes the network pays for it)

    ours = ("method", "addresses", "address-data", "gateway", "dns", "dns-data", "routes", "route-data")
    section = {name: value for name, value in before.items() if name not in ours}
    section["method"] = Variant("s", wish.method)
    if wish.method == "manual":
        own = ipaddress.IPv4Interface(wish.address)
        row = {"address": Variant("s", str(own.ip)), "prefix": Variant("u", own.network.prefixlen)}
        section["address-data"] = Variant("aa{sv}", [row])
        if wish.gateway:
            section["gateway"] = Variant("s", wish.gateway)
        section["dns-data"] = Variant("as", list(wish.dns))
    return section


def wifi_settings(ssid: str, password: str) -> dict[str, dict[str, Any]]:
    """A connection profile of NetworkManager: WPA-PSK, which takes WPA3 where the access point has it, or open."""
    from dbus_fast import Variant  # noqa: PLC0415

    settings = {
        "connection": {"id": Variant("s", ssid), "type": Variant("s", "802-11-wireless")},
        "802-11-wireless": {"ssid": Variant("ay", ssid.encode()), "mode": Variant("s", "infrastructure")},
        "ipv4": {"method": Variant("s", "auto")},
        "ipv6": {"method": Variant("s", "auto")},
    }
    if password:
        settings["802-11-wireless-security"] = {"key-mgmt": Variant("s", "wpa-psk"), "psk": Variant("s", password)}
    return settings


class SystemBus:
    """The machine's D-Bus: a connection for each call, so that nothing has to be kept alive."""

    async def call(self, service: str, path: str, member: str, signature: str = "", *body: Any) -> Any:
        """See `Bus`."""
        from dbus_fast import BusType, DBusError, Message, MessageType  # noqa: PLC0415
        from dbus_fast.aio import MessageBus  # noqa: PLC0415

        interface, _, name = member.rpartition(".")
        message = Message(service, path, interface, name, signature=signature, body=list(body))
        try:
            async with asyncio.timeout(CALL_S):
                bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
                try:
                    answer = await bus.call(message)
                finally:
                    bus.disconnect()
        except (OSError, TimeoutError, DBusError) as error:
            raise NetworkUnmanaged(f"{service} cannot be asked: {error or 'no answer'}") from None
        if answer is None or answer.message_type is MessageType.ERROR:
            told = str(answer.body[0]) if answer is not None and answer.body else "no answer"
            missing = answer is not None and str(answer.error_name).endswith((".ServiceUnknown", ".NameHasNoOwner"))
            raise (NetworkUnmanaged if missing else NetworkRefused)(f"{service}: {told}")
        return answer.body[0] if answer.body else None
