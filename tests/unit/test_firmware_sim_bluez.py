"""The BlueZ role on a private D-Bus, heard by an unmodified bleak in a process of its own."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest
from dbus_fast import DBusError, Message, MessageType, PropertyAccess, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusSignature, DBusStr
from dbus_fast.service import ServiceInterface, dbus_property

from firmware_sim import adverts
from firmware_sim.ble_air import Heard
from firmware_sim.bluez import Bluez
from firmware_sim.bluez_objects import Adapter, advertised_properties, advertisement, matches
from firmware_sim.private_bus import PrivateBus

STORE = UUID("f7826da6-4fa2-4e98-8024-bc5b71e0893e")
pytestmark = pytest.mark.skipif(
    shutil.which("dbus-daemon") is None and not os.environ.get("CI"), reason="dbus-daemon is missing: apt install dbus"
)


class Stream:
    """An ear that hears numbered iBeacons at a steady rate, from ``n_senders`` addresses."""

    def __init__(self, rate_per_s: float, n_senders: int = 20, phones: bool = False) -> None:
        self.rate_per_s = rate_per_s
        self.n_senders = n_senders
        self.phones = phones
        self.count = 0

    def __call__(self, t0_us: int, t1_us: int) -> list[Heard]:
        period_us = 1e6 / self.rate_per_s
        first, last = int(t0_us / period_us) + 1, int(t1_us / period_us)
        return [self._one(i, int(i * period_us)) for i in range(first, last + 1)]

    def _one(self, i: int, t_us: int) -> Heard:
        self.count += 1
        n = self.count
        ad = adverts.ibeacon(STORE, n >> 16, n & 0xFFFF)
        if self.phones and n % 2:
            ad = adverts.FLAGS + adverts.structure(0xFF, b"\x4c\x00\x10\x05" + n.to_bytes(18, "big"))
        return Heard(t_us, -40 - n % 50, 1, bytes((0xC0, 0, 0, 0, n % self.n_senders, 1)), ad)


@asynccontextmanager
async def playing(tmp_path: Path, *adapters: Adapter) -> AsyncIterator[tuple[Bluez, str]]:
    async with PrivateBus(tmp_path) as bus:
        bluez, ready = Bluez(adapters, seed=1), asyncio.Event()
        task = asyncio.create_task(bluez.run(bus.address, ready))
        try:
            async with asyncio.timeout(10):
                await ready.wait()
            yield bluez, bus.address
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def bleak(address: str, mode: str, adapters: str, seconds: float, then: Callable[[], Any] | None = None) -> dict:
    """Run the client; call ``then`` once it scans; its JSON."""
    program = str(Path(__file__).with_name("bleak_client.py"))
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        program,
        mode,
        adapters,
        str(seconds),
        env=os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": address},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert client.stdout is not None
    assert client.stderr is not None
    async with asyncio.timeout(seconds + 30):
        started = await client.stdout.readline()
        assert started == b"started\n", (await client.stderr.read()).decode()
        if then is not None:
            then()
        out, err = await client.communicate()
    assert client.returncode == 0, err.decode()
    return json.loads(out.splitlines()[-1])


def _gaps(seqs: list[int]) -> int:
    return max(seqs) - min(seqs) + 1 - len(set(seqs))


def test_active_scan_of_two_adapters_loses_nothing_at_1000_adverts_per_s(tmp_path: Path) -> None:
    async def main() -> None:
        one, two = Stream(600), Stream(400)
        adapters = Adapter("hci0", "00:1A:7D:DA:71:10", one), Adapter("hci1", "00:1A:7D:DA:71:11", two)
        async with playing(tmp_path, *adapters) as (bluez, address):
            got = await bleak(address, "active", "hci0,hci1", 2.0)
            assert got["errors"] == []
            for name, rate in (("hci0", 600), ("hci1", 400)):
                assert len(got["heard"][name]) > 1.6 * rate
                assert _gaps(got["heard"][name]) == 0
            assert len(got["addresses"]) == 20
            assert got["rssi"] == list(range(-89, -39))
            assert bluez.counters["dropped"] == 0
            assert not bluez.adapters["hci0"].discovering

    asyncio.run(main())


def test_passive_scan_gets_what_matches_its_patterns_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with playing(tmp_path, Adapter("hci0", "00:1A:7D:DA:71:10", Stream(200, phones=True))) as (
            bluez,
            address,
        ):
            got = await bleak(address, "passive", "hci0", 1.5)
            assert got["errors"] == []
            assert len(got["heard"]["hci0"]) > 100
            assert all(n % 2 == 0 for n in got["heard"]["hci0"])
            assert bluez.counters["filtered"] > 100
            assert not bluez.adapters["hci0"].monitors

    asyncio.run(main())


def test_the_kernels_duplicate_filter_makes_samples_rare(tmp_path: Path) -> None:
    async def main() -> None:
        adapter = Adapter("hci0", "00:1A:7D:DA:71:10", Stream(200), dedupe_s=0.5)
        async with playing(tmp_path, adapter) as (bluez, address):
            got = await bleak(address, "active", "hci0", 2.0)
            assert 40 < len(got["heard"]["hci0"]) < 200
            assert bluez.counters["deduped"] > 150

    asyncio.run(main())


@pytest.mark.parametrize("fault", ["hang", "crash", "clean end", "unplug", "deaf"])
def test_faults_silence_the_scanner_as_the_real_ones_do(tmp_path: Path, fault: str) -> None:
    async def main() -> None:
        stream = Stream(100)
        async with playing(tmp_path, Adapter("hci0", "00:1A:7D:DA:71:10", stream)) as (bluez, address):
            seen_at = {}

            def strike() -> None:
                seen_at["count"] = stream.count
                match fault:
                    case "hang":
                        bluez.hang()
                    case "crash":
                        bluez.restart(0.2, crash=True)
                    case "clean end":
                        bluez.restart(0.2)
                    case "unplug":
                        bluez.unplug("hci0")
                    case "deaf":
                        bluez.adapters["hci0"].deaf = True

            got = await bleak(
                address, "active", "hci0", 1.2, lambda: asyncio.get_running_loop().call_later(0.6, strike)
            )
            assert got["heard"]["hci0"], "nothing was heard before the fault"
            assert max(got["heard"]["hci0"]) <= seen_at["count"] + 2
            # stop() answers as it does against a real bluetoothd: silence, an error, or (deaf) no complaint
            assert bool(got["errors"]) == (fault != "deaf")
            bluez.resume()
            if fault == "unplug":
                bluez.plug("hci0")
            bluez.adapters["hci0"].deaf = False
            again = await bleak(address, "active", "hci0", 0.8)
            assert len(again["heard"]["hci0"]) > 30
            assert bluez.counters["restarts"] == (fault in ("crash", "clean end"))

    asyncio.run(main())


async def _call(
    bus: MessageBus, path: str, interface: str, member: str, signature: str = "", body: Sequence[Any] = ()
) -> Message:
    reply = await bus.call(Message("org.bluez", path, interface, member, signature=signature, body=list(body)))
    assert reply is not None
    return reply


HCI0 = "/org/bluez/hci0"


def test_discovery_belongs_to_its_client_and_ends_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with playing(tmp_path, Adapter("hci0", "00:1A:7D:DA:71:10", Stream(50))) as (bluez, address):
            adapter = bluez.adapters["hci0"]
            one = await MessageBus(bus_address=address).connect()
            two = await MessageBus(bus_address=address).connect()
            assert (await _call(one, HCI0, "org.bluez.Adapter1", "StartDiscovery")).error_name is None
            again = await _call(one, HCI0, "org.bluez.Adapter1", "StartDiscovery")
            assert again.error_name == "org.bluez.Error.InProgress"
            foreign = await _call(two, HCI0, "org.bluez.Adapter1", "StopDiscovery")
            assert foreign.error_name == "org.bluez.Error.Failed"
            assert adapter.discovering
            one.disconnect()
            await asyncio.sleep(0.2)
            assert not adapter.discovering
            missing = await _call(two, "/org/bluez/hci9", "org.bluez.Adapter1", "StartDiscovery")
            assert missing.error_name == "org.freedesktop.DBus.Error.UnknownObject"
            off = [("org.bluez.Adapter1"), "Powered", Variant("b", False)]
            assert (await _call(two, HCI0, "org.freedesktop.DBus.Properties", "Set", "ssv", off)).error_name is None
            cold = await _call(two, HCI0, "org.bluez.Adapter1", "StartDiscovery")
            assert cold.error_name == "org.bluez.Error.NotReady"
            two.disconnect()

    asyncio.run(main())


class _Advertisement(ServiceInterface):
    """What the gateway exports to be a beacon."""

    def __init__(self, company: dict[int, bytes]) -> None:
        super().__init__("org.bluez.LEAdvertisement1")
        self._company = {k: Variant("ay", v) for k, v in company.items()}

    @dbus_property(access=PropertyAccess.READ)
    def Type(self) -> DBusStr:
        return "broadcast"

    @dbus_property(access=PropertyAccess.READ)
    def ManufacturerData(self) -> Annotated[dict[int, Variant], DBusSignature("a{qv}")]:
        return self._company


def test_the_gateway_as_a_beacon_is_on_air(tmp_path: Path) -> None:
    async def main() -> None:
        async with playing(tmp_path, Adapter("hci0", "00:1A:7D:DA:71:10", Stream(1))) as (bluez, address):
            bus = await MessageBus(bus_address=address).connect()
            manager = "org.bluez.LEAdvertisingManager1"
            ibeacon = adverts.ibeacon(STORE, 1, 2)[7:]
            for i, payload in enumerate([ibeacon, b"x" * 40]):
                bus.export(f"/beacon/{i}", _Advertisement({0x4C: payload}))
            done = await _call(bus, HCI0, manager, "RegisterAdvertisement", "oa{sv}", ["/beacon/0", {}])
            assert done.message_type is MessageType.METHOD_RETURN
            assert bluez.on_air("hci0") == [adverts.ibeacon(STORE, 1, 2)[3:]]
            for path, text in (("/beacon/1", "44 bytes"), ("/nothing", "no org.bluez.LEAdvertisement1")):
                refused = await _call(bus, HCI0, manager, "RegisterAdvertisement", "oa{sv}", [path, {}])
                assert text in refused.body[0]
            introspection = await bus.introspect("org.bluez", HCI0)
            proxy = bus.get_proxy_object("org.bluez", HCI0, introspection).get_interface(manager)
            assert await proxy.get_active_instances() == 1
            await proxy.call_unregister_advertisement("/beacon/0")
            with pytest.raises(DBusError, match="Does Not Exist"):
                await proxy.call_unregister_advertisement("/beacon/0")
            assert bluez.on_air("hci0") == []
            bus.disconnect()

    asyncio.run(main())


def test_a_bus_that_goes_ends_the_role_loudly(tmp_path: Path) -> None:
    async def main() -> None:
        bus, ready = PrivateBus(tmp_path), asyncio.Event()
        await bus.__aenter__()
        task = asyncio.create_task(Bluez([Adapter("hci0", "00:1A:7D:DA:71:10", Stream(1))], 1).run(bus.address, ready))
        await ready.wait()
        await bus.__aexit__(None, None, None)
        with pytest.raises(ConnectionError, match="bus has gone"):
            await asyncio.wait_for(task, 5)

    asyncio.run(main())


def test_device_properties_of_every_structure() -> None:
    long = UUID("12345678-1234-5678-1234-56789abcdef0")
    ad = (
        adverts.eddystone_url("https://a.com")
        + adverts.structure(0x09, "Kühlregal".encode())
        + adverts.structure(0x0A, b"\xf4")
        + adverts.structure(0x07, long.bytes[::-1])
        + adverts.structure(0x21, long.bytes[::-1] + b"\x01")
    )
    got = advertised_properties(ad)
    eddystone = "0000feaa-0000-1000-8000-00805f9b34fb"
    assert got["UUIDs"].value == [eddystone, str(long)]
    assert got["ServiceData"].value[eddystone].value[:2] == b"\x10\xee"
    assert got["ServiceData"].value[str(long)].value == b"\x01"
    assert (got["Name"].value, got["TxPower"].value) == ("Kühlregal", -12)
    assert matches(ad, [(2, 0x16, b"\x10")])
    assert not matches(ad, [(2, 0x16, b"\x00"), (0, 0xFF, b"\x10")])


def test_an_advertisement_of_a_service_has_its_structures() -> None:
    service = {"0000feaa-0000-1000-8000-00805f9b34fb": Variant("ay", b"\x10\xee\x03a\x07")}
    properties = {
        "Type": Variant("s", "peripheral"),
        "ServiceUUIDs": Variant("as", list(service)),
        "ServiceData": Variant("a{sv}", service),
    }
    assert advertisement(properties) == adverts.eddystone_url("https://a.com")
    named = advertisement({"LocalName": Variant("s", "gw"), "Data": Variant("a{yv}", {0x0A: Variant("ay", b"\x00")})})
    assert named == b"\x02\x01\x06" + b"\x02\x0a\x00" + b"\x03\x09gw"


def test_a_missing_daemon_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with PrivateBus(tmp_path):
            pass

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="apt-get install dbus"):
        asyncio.run(main())
