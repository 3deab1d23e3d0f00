"""The gateway's share of updates: outcomes are audited once, wishes checked, firmware brought at night."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from devices.door_array.driver import INFO as DOOR
from devices.driver import DriverContext
from edge.core.errors import SettingsError
from edge.core.fact import Fact
from edge.core.facts import Updated
from edge.core.observation import DeviceIdentity, DeviceState, DeviceStatus
from edge.files import write_json, write_whole
from edge.health import DeviceHealth
from edge.updates.bundle import maker_signature
from edge.updates.files import Exchange
from edge.updates.repository import PublisherError
from edge.updates.rollout import RolloutPorts, UpdateRollout
from firmware_sim.bootloader import firmware_image
from firmware_sim.door_array import DoorArray
from firmware_sim.sdp_device import Manners
from firmware_sim.stream import memory_pipe
from firmware_sim.thermal import GRID_EYE, Scene
from tests.contract.test_shelf_mcu_sim import Raising
from tests.updates_support import Shop
from tests.virtual_time import run_virtual

MAKER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


async def at_once(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """In the place of a thread, which virtual time does not wait for."""
    return work(*arguments, **named)


class Gateway:
    """What a rollout sees of one, in memory."""

    def __init__(self, folder: Path) -> None:
        self.kept: dict[str, object] = {}
        self.audit: list[tuple[str, ...]] = []
        self.facts: list[Fact] = []
        self.devices: dict[str, DeviceHealth] = {}
        self.drivers: dict[str, object] = {}
        self.is_open = False
        self.time_us = 0
        self.exchange = Exchange(folder / "updates")

    def get(self, key: str) -> object:
        return self.kept.get(key)

    async def put(self, key: str, value: object) -> None:
        self.kept[key] = value

    async def note(self, *row: str) -> None:
        self.audit.append(row)

    def rollout(self) -> UpdateRollout:
        ports = RolloutPorts(
            keyed=self,  # type: ignore[arg-type]
            audit=self.note,
            tell=self.facts.append,
            now_us=lambda: self.time_us,
            wall_us=lambda: 1_790_000_000_000_000 + self.time_us,
            devices=lambda: self.devices,
            driver=self.drivers.get,
            store_open=lambda: self.is_open,
        )
        return UpdateRollout(self.exchange, ports, at_once)

    def firmware(self, model: str, version: tuple[int, int, int], key: Ed25519PrivateKey = MAKER) -> str:
        """Lay it out as the updater does."""
        image = firmware_image(version, bytes(700))
        sha256, digest = hashlib.sha256(image).hexdigest(), hashlib.sha256(image).digest()
        folder = self.exchange.firmware / "firmware-x"
        write_whole(folder / f"{sha256}.bin", image)
        signature = base64.b64encode(key.sign(digest)).decode()
        paper = {"version": ".".join(map(str, version)), "model": model, "signature": signature, "sha256": sha256}
        write_json(folder / "paper.json", paper)
        return sha256


async def for_a_while(rollout: UpdateRollout, seconds: float) -> None:
    running = asyncio.ensure_future(rollout.run())
    await asyncio.sleep(seconds)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_an_outcome_is_audited_and_told_once(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.exchange.tell("gateway", ("1.0.0", "1.1.0"))
    gateway.exchange.tell("gateway", ("1.1.0", "9.0.0"), "forged", "timestamp.json: no signature")
    kept = {path: path.read_bytes() for path in gateway.exchange.told.iterdir()}
    asyncio.run(for_a_while(gateway.rollout(), 0.5))
    assert [row[:3] for row in gateway.audit] == [
        ("updater", "update.done", "gateway-1.1.0"),
        ("updater", "update.forged", "gateway-9.0.0"),
    ]
    assert [(fact.new, fact.ok) for fact in gateway.facts if isinstance(fact, Updated)] == [
        ("1.1.0", True), ("9.0.0", False),
    ]  # fmt: skip
    for path, data in kept.items():  # a crash between the audit and the removal of the file
        path.write_bytes(data)
    (gateway.exchange.told / "000009.json").write_text("[]")
    asyncio.run(for_a_while(gateway.rollout(), 0.5))
    assert len(gateway.audit) == 2
    assert list(gateway.exchange.told.iterdir()) == []
    gateway.exchange.tell("footfall", ("", "1.2.0"))
    asyncio.run(for_a_while(gateway.rollout(), 0.5))
    assert gateway.audit[-1][2] == "footfall-1.2.0"


def test_wishes_are_checked_and_kept(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.devices["door-1"] = DeviceHealth("door_array", model="GRID EYE/8")
    rollout = gateway.rollout()
    rollout.check({"gateway": "1.4.0", "footfall": "2.0", "firmware-grid-eye-8": "1.0.1"})
    for versions, says in (
        ({"gatway": "1.0.0"}, "one of firmware-grid-eye-8, footfall, gateway"),
        ({"gateway": "1.x"}, "such as 1.4.0"),
        ({"gateway": "../../etc"}, "such as 1.4.0"),
        ({"../x": "1.0"}, "letters a-z"),
        ({"firmware-other": "1.0.0"}, "one of"),
    ):
        with pytest.raises(SettingsError, match=says):
            rollout.check(versions)
    asyncio.run(rollout.want({"gateway": "1.4.0"}))
    assert gateway.rollout().wanted() == {"gateway": "1.4.0"}


def drive(folder: Path, version: tuple[int, int, int], **how: Any) -> tuple[Gateway, DoorArray]:
    """A real driver against a device of the simulator, and firmware that waits for it."""
    gateway = Gateway(folder)

    async def main() -> DoorArray:
        public = MAKER.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        manners = Manners(firmware_key=public)
        device = DoorArray("DR-000001", Scene(GRID_EYE, seed=4), lambda _t: [], seed=4, manners=manners)
        host, theirs = memory_pipe()
        role = asyncio.ensure_future(device.serve(theirs))

        async def opened(_moniker: str) -> Raising:
            return Raising(host)

        loop = asyncio.get_running_loop()
        health = gateway.devices["door-1"] = DeviceHealth("door_array")

        def emit(observation: object) -> None:
            if isinstance(observation, DeviceIdentity):
                health.model, health.firmware = observation.model, observation.firmware
            if isinstance(observation, DeviceStatus):
                health.state = observation.state

        driver = DOOR.open(DriverContext("door-1", lambda: int(loop.time() * 1e6), opened), DOOR.settings("sim:x"))
        gateway.drivers["door-1"] = driver
        running = asyncio.ensure_future(driver.run(emit))
        await asyncio.sleep(2)
        assert health.state is DeviceState.ONLINE
        gateway.firmware(health.model, version, how.get("key", MAKER))
        gateway.is_open = bool(how.get("open", False))
        rollout = gateway.rollout()
        await for_a_while(rollout, 60)
        if how.get("days"):
            gateway.time_us += 25 * 3600 * 1_000_000
            await for_a_while(rollout, 60)
        running.cancel()
        role.cancel()
        await asyncio.gather(running, role, return_exceptions=True)
        return device

    return gateway, run_virtual(main())


def told(gateway: Gateway) -> list[tuple[str, str, str, bool]]:
    return [(fact.what, fact.old, fact.new, fact.ok) for fact in gateway.facts if isinstance(fact, Updated)]


def test_signed_firmware_reaches_its_devices_while_the_store_is_closed(tmp_path: Path) -> None:
    gateway, device = drive(tmp_path, (2, 3, 4))
    assert device.identity.firmware == (2, 3, 4)
    assert told(gateway)[0][2:] == ("2.3.4", True)
    assert gateway.audit[0][:2] == ("updater", "update.done")
    assert gateway.devices["door-1"].firmware == "2.3.4"
    assert len(told(gateway)) == 1


def test_an_open_store_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    gateway, device = drive(tmp_path / "a", (2, 3, 4), open=True)
    assert told(gateway) == []
    assert device.identity.firmware != (2, 3, 4)
    gateway, device = drive(tmp_path / "b", (2, 3, 4), open=True, days=1)
    assert device.identity.firmware == (2, 3, 4)


def test_firmware_of_another_maker_is_refused_once_and_audited(tmp_path: Path) -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    gateway, device = drive(tmp_path, (2, 3, 4), key=stranger)
    assert device.identity.firmware != (2, 3, 4)
    assert [row[3] for row in told(gateway)] == [False]
    assert "not from the maker" in gateway.audit[0][3]


def test_older_firmware_is_never_brought(tmp_path: Path) -> None:
    gateway, device = drive(tmp_path, (0, 0, 1))
    assert told(gateway) == []
    assert device.counters["requests"] < 5


def test_the_maker_signs_what_the_bootloader_checks(tmp_path: Path) -> None:
    key, image = tmp_path / "maker.pem", tmp_path / "image.bin"
    key.write_bytes(MAKER.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    image.write_bytes(firmware_image((1, 2, 3), b"code"))
    MAKER.public_key().verify(maker_signature(image, key), hashlib.sha256(image.read_bytes()).digest())
    with pytest.raises(PublisherError, match="expected a PEM key"):
        maker_signature(image, image)


def test_the_updater_lays_out_firmware_and_models(tmp_path: Path) -> None:
    shop = Shop(tmp_path).open()
    shop.release("1.0.1", kind="firmware", name="firmware-shelf-8")
    shop.release("2.0.0", kind="model", name="footfall")
    shop.updater().exchange.want({"firmware-shelf-8": "1.0.1", "footfall": "2.0.0"})
    assert shop.updater().run() == ["firmware-shelf-8-1.0.1 waits for its devices", "footfall none -> 2.0.0"]
    assert shop.updater().run() == []
    (image,) = (shop.updater().exchange.firmware / "firmware-shelf-8").glob("*.bin")
    assert hashlib.sha256(image.read_bytes()).hexdigest() == image.stem
    assert shop.outcomes() == [("footfall", "2.0.0", True, "")]
