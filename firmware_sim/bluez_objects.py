"""The objects that bluetoothd publishes: adapters and devices, as D-Bus properties.

Source: BlueZ, doc/org.bluez.Adapter.rst, org.bluez.Device.rst, org.bluez.LEAdvertisingManager.rst and
org.bluez.AdvertisementMonitorManager.rst; what no page says (which property changes are signalled, what a stop of
discovery invalidates) is from the behaviour of bluetoothd 5.66.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from dbus_fast import Variant

from firmware_sim.adverts import structures
from firmware_sim.ble_air import Heard

ADAPTER: Final = "org.bluez.Adapter1"
DEVICE: Final = "org.bluez.Device1"
ADVERTISING: Final = "org.bluez.LEAdvertisingManager1"
MONITORING: Final = "org.bluez.AdvertisementMonitorManager1"
BASE_UUID: Final = "0000{:04x}-0000-1000-8000-00805f9b34fb"
ADVERTISEMENTS_MAX: Final = 5  # instances of a common controller

Properties = dict[str, Variant]
Pattern = tuple[int, int, bytes]  # start, AD type, content


@dataclass(slots=True)
class Session:
    """One client that discovers: its filter (see SetDiscoveryFilter) and whether it has started."""

    uuids: frozenset[str] = frozenset()
    rssi_min_dbm: int = -128
    duplicates: bool = True
    started: bool = False


@dataclass(slots=True)
class Device:
    """A remote device as bluetoothd remembers it."""

    path: str
    properties: Properties
    ad: bytes
    seen_s: float
    quiet_until_s: float = 0.0


@dataclass(slots=True)
class Adapter:
    """A local controller; ``ear(t0_us, t1_us)`` is what its radio hears.

    ``dedupe_s`` is the mean time for which the kernel's duplicate filter keeps a device's next advertisement back from
    clients that did not ask for duplicates; 0 passes everything on.
    """

    name: str
    address: str
    ear: Callable[[int, int], Sequence[Heard]]
    dedupe_s: float = 0.0
    powered: bool = True
    deaf: bool = False  # a hung controller: says that it discovers, hears nothing until powered off and on
    present: bool = True
    sessions: dict[str, Session] = field(default_factory=dict)
    monitors: dict[tuple[str, str], list[Pattern]] = field(default_factory=dict)  # (client, path) → patterns
    advertisements: dict[tuple[str, str], bytes] = field(default_factory=dict)  # (client, path) → AD structures
    devices: dict[bytes, Device] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Its object path."""
        return f"/org/bluez/{self.name}"

    @property
    def discovering(self) -> bool:
        """Whether any client has started discovery."""
        return self.powered and any(s.started for s in self.sessions.values())

    def properties(self) -> Properties:
        """Adapter1."""
        return {
            "Address": Variant("s", self.address),
            "AddressType": Variant("s", "public"),
            "Name": Variant("s", "simulated"),
            "Alias": Variant("s", "simulated"),
            "Class": Variant("u", 0),
            "Powered": Variant("b", self.powered),
            "PowerState": Variant("s", "on" if self.powered else "off"),
            "Discoverable": Variant("b", False),
            "Pairable": Variant("b", False),
            "Discovering": Variant("b", self.discovering),
            "UUIDs": Variant("as", []),
            "Modalias": Variant("s", "usb:v1D6Bp0246d0542"),
            "Roles": Variant("as", ["central", "peripheral"]),
        }

    def interfaces(self) -> dict[str, Properties]:
        """All interfaces of the adapter's object."""
        active = len(self.advertisements)
        return {
            ADAPTER: self.properties(),
            ADVERTISING: {
                "ActiveInstances": Variant("y", active),
                "SupportedInstances": Variant("y", ADVERTISEMENTS_MAX - active),
                "SupportedIncludes": Variant("as", ["tx-power", "appearance", "local-name"]),
            },
            MONITORING: {
                "SupportedMonitorTypes": Variant("as", ["or_patterns"]),
                "SupportedFeatures": Variant("as", []),
            },
        }

    def wants(self, heard: Heard) -> bool:
        """Whether a discovering client's filter or a monitor's pattern lets an advertisement pass."""
        for session in self.sessions.values():
            if session.started and heard.rssi_dbm >= session.rssi_min_dbm:
                if not session.uuids:
                    return True
                uuids = advertised_properties(heard.ad).get("UUIDs")
                if uuids is not None and not session.uuids.isdisjoint(uuids.value):
                    return True
        return any(matches(heard.ad, patterns) for patterns in self.monitors.values())

    def device_of(self, heard: Heard, now_s: float) -> Device:
        """A new Device1 for an address that was not known."""
        shown = ":".join(f"{b:02X}" for b in heard.address)
        properties: Properties = {
            "Address": Variant("s", shown),
            "AddressType": Variant("s", "random" if heard.address_type else "public"),
            "Alias": Variant("s", shown.replace(":", "-")),
            "Paired": Variant("b", False),
            "Bonded": Variant("b", False),
            "Trusted": Variant("b", False),
            "Blocked": Variant("b", False),
            "LegacyPairing": Variant("b", False),
            "Connected": Variant("b", False),
            "ServicesResolved": Variant("b", False),
            "UUIDs": Variant("as", []),
            "Adapter": Variant("o", self.path),
            "RSSI": Variant("n", heard.rssi_dbm),
        }
        properties |= advertised_properties(heard.ad)
        return Device(f"{self.path}/dev_{shown.replace(':', '_')}", properties, heard.ad, now_s)


@lru_cache(maxsize=4096)
def advertised_properties(ad: bytes) -> Properties:
    """The Device1 properties that come from AD structures."""
    out: Properties = {}
    uuids: list[str] = []
    makers: dict[int, Variant] = {}
    services: dict[str, Variant] = {}
    for kind, data in structures(ad):
        if kind == 0x01:
            out["AdvertisingFlags"] = Variant("ay", data)
        elif kind in (0x02, 0x03):
            uuids += [BASE_UUID.format(u) for (u,) in struct.iter_unpack("<H", data[: len(data) // 2 * 2])]
        elif kind in (0x06, 0x07):
            uuids += [_uuid128(data[i : i + 16]) for i in range(0, len(data) - 15, 16)]
        elif kind in (0x08, 0x09):
            out["Name"] = out["Alias"] = Variant("s", data.decode(errors="replace"))
        elif kind == 0x0A and data:
            out["TxPower"] = Variant("n", int.from_bytes(data[:1], "little", signed=True))
        elif kind == 0xFF and len(data) >= 2:
            makers[data[0] | data[1] << 8] = Variant("ay", data[2:])
        else:
            services |= _service(kind, data)
    if uuids:
        out["UUIDs"] = Variant("as", uuids)
    if makers:
        out["ManufacturerData"] = Variant("a{qv}", makers)
    if services:
        out["ServiceData"] = Variant("a{sv}", services)
    return out


def _service(kind: int, data: bytes) -> dict[str, Variant]:
    """Service data of a 16-bit or 128-bit UUID; empty for anything else."""
    if kind == 0x16 and len(data) >= 2:
        return {BASE_UUID.format(data[0] | data[1] << 8): Variant("ay", data[2:])}
    if kind == 0x21 and len(data) >= 16:
        return {_uuid128(data[:16]): Variant("ay", data[16:])}
    return {}


def _uuid128(raw: bytes) -> str:
    text = raw[::-1].hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def matches(ad: bytes, patterns: Sequence[Pattern]) -> bool:
    """or_patterns: true when any pattern's content stands at its start in an AD structure of its type."""
    found = structures(ad)
    return any(
        kind == wanted and data[start : start + len(content)] == content
        for start, wanted, content in patterns
        for kind, data in found
    )


def advertisement(properties: Properties) -> bytes:
    """The AD structures that bluetoothd sends for a client's LEAdvertisement1; ValueError when over 31 bytes."""
    value = {key: variant.value for key, variant in properties.items()}
    ad = b"" if value.get("Type") == "broadcast" else b"\x02\x01\x06"
    short = [u for u in value.get("ServiceUUIDs", []) if u.lower().endswith("-0000-1000-8000-00805f9b34fb")]
    if short:
        ids = b"".join(struct.pack("<H", int(u[4:8], 16)) for u in short)
        ad += bytes((len(ids) + 1, 0x03)) + ids
    for company, data in value.get("ManufacturerData", {}).items():
        ad += bytes((len(data.value) + 3, 0xFF)) + struct.pack("<H", company) + bytes(data.value)
    for uuid, data in value.get("ServiceData", {}).items():
        ad += bytes((len(data.value) + 3, 0x16)) + struct.pack("<H", int(uuid[4:8], 16)) + bytes(data.value)
    for kind, data in value.get("Data", {}).items():
        ad += bytes((len(data.value) + 1, kind)) + bytes(data.value)
    if "LocalName" in value:
        name = value["LocalName"].encode()
        ad += bytes((len(name) + 1, 0x09)) + name
    if len(ad) > 31:
        raise ValueError(f"advertisement of {len(ad)} bytes; a legacy packet has 31")
    return ad
