"""Phones as actors in a virtual store: they walk, hear beacons, ask, show, redeem, withdraw; one of them cheats.

A phone hears the zones' beacons as its place on the floor lets it (`ble_air`), asks for the offers of the loudest one,
checks in there and, since its owner agreed, sends the rotating identifier that it was given on its whole way (and a
little longer than the consent lives: nobody may listen any more). It shows what it got at the till on its way out. The
cheat replays the beacon of a place that is nowhere, shows an offer twice, shows a changed and a foreign signature, and
asks a thousand times in a row. What became of it all is written to ``phones.json`` after each walk, what phones alone
may know to ``phones-alone-know.json``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from firmware_sim.adverts import eddystone_eid, ephemeral_id
from firmware_sim.ble_air import BleProfile, Ear, Position, Sender
from firmware_sim.layout import Beacon
from firmware_sim.phones import Phone, redeem, tampered
from firmware_sim.serve import write_json
from firmware_sim.visitors import OnAir
from firmware_sim.visitors import write as write_air

WALK_M_S: Final = 1.2
LISTEN_US: Final = 1_000_000  # a phone in the hand looks at beacons once a second
AT_SHELF_S: Final = 3.0
FLOOD: Final = 1_000
FLOOD_AT_ONCE: Final = 20
NOWHERE: Final = "ibeacon:00000000-dead-4bee-8000-00805f9b34fb:1:1"
AGAIN_S: Final = 2.0
GHOST_S: Final = 5.0  # an app that goes on sending after the withdrawal
FRESH_S: Final = 3.0  # without news of its phone, the air falls silent
ACCOUNT: Final = "acct-7f3e"
SECRETS: Final = "phones-alone-know.json"


@dataclass
class Cheat:
    """One way of cheating: how often it was tried, how often it was refused, and by which answers."""

    tried: int = 0
    refused: int = 0
    answers: list[str] = field(default_factory=list)

    def note(self, answer: str, *, refused: bool) -> None:
        """One try more; each kind of answer is named once."""
        self.tried += 1
        self.refused += refused
        if answer not in self.answers:
            self.answers.append(answer)


@dataclass
class Report:
    """What phones did, counted."""

    walks: int = 0
    asked: int = 0
    unchanged: int = 0
    received: int = 0
    shown: int = 0
    redeemed: int = 0
    withdrawn: int = 0
    advertised: int = 0
    cheats: dict[str, Cheat] = field(default_factory=dict)

    def cheat(self, name: str) -> Cheat:
        """The tally of one way of cheating."""
        return self.cheats.setdefault(name, Cheat())


@dataclass
class Actors:
    """All phones of one store: where its beacons are, how to reach it, and a till that is signed in."""

    api: str
    till_token: str
    beacons: Sequence[Beacon]
    seed: int
    report: Report = field(default_factory=Report)
    secrets: list[str] = field(default_factory=list)
    directory: Path | None = None
    on_air: dict[str, OnAir] = field(default_factory=dict)

    def phone(self, token: str = "") -> Phone:
        """One more phone (or till, with a token)."""
        place = urlsplit(self.api)
        assert place.hostname is not None
        assert place.port is not None
        account = "" if token else f"{ACCOUNT}-{self.seed}-{len(self.secrets)}"
        return Phone(place.hostname, place.port, token=token, account=account)

    async def agree(self, phone: Phone, *purposes: str) -> None:
        """Consent; what the phone alone should know from now on is noted, so that one can look for it elsewhere."""
        await phone.consent(*purposes)
        self.secrets += [phone.receipt, phone.account]

    async def check_in(self, phone: Phone, beacon: Beacon) -> _Radio:
        """Tell that the owner is here; what the phone sends from now on."""
        advertise = (await phone.check_in(key_of(beacon)))["advertise"]
        address = bytes((0x40 | random.getrandbits(6), *random.randbytes(5)))  # resolvable private: 01 first
        self.report.advertised += 1
        self.secrets += [advertise["key"], address.hex(), address.hex(":").upper()]
        return _Radio(self, f"phone-{len(self.secrets)}", advertise, address)

    async def walk(self, number: int, route: Sequence[str]) -> None:
        """One shopper, from the door along the beacons of these zones to the till."""
        ear = Ear(f"phone-{number}", [_sender(b) for b in self.beacons], f"{self.seed}:{number}", BleProfile(loss=0.3))
        places = [_still(b) for b in self.beacons]
        phone, till = self.phone(), self.phone(self.till_token)
        await self.agree(phone, "offers", "zones")
        offers: dict[str, str] = {}
        radio: _Radio | None = None
        now_us, here = 0, (0.5, 4.0)
        for there in [(b.x_m, b.y_m) for zone in route for b in self.beacons if b.zone == zone]:
            steps = math.ceil((math.dist(here, there) / WALK_M_S + AT_SHELF_S) * 1e6 / LISTEN_US)
            for step in range(1, steps + 1):
                share = min(1.0, step * LISTEN_US / 1e6 * WALK_M_S / max(0.1, math.dist(here, there)))
                at = (here[0] + (there[0] - here[0]) * share, here[1] + (there[1] - here[1]) * share)
                await asyncio.sleep(LISTEN_US / 1e6)
                heard = ear.receive(now_us, now_us + LISTEN_US, at, places)
                now_us += LISTEN_US
                if heard:
                    loudest = self.beacons[max(heard, key=lambda packet: packet.rssi_dbm).sender]
                    await self._ask(phone, loudest, offers)
                    radio = radio or await self.check_in(phone, loudest)
                if radio is not None:
                    radio.send_from(at)
            here = there
        await self._check_out(phone, till, number, offers)
        if radio is not None:
            await radio.fade(here)

    async def _ask(self, phone: Phone, beacon: Beacon, offers: dict[str, str]) -> None:
        status, found = await phone.offers(key_of(beacon))
        self.report.asked += 1
        self.report.unchanged += status == 304
        for offer in found:
            if offer["offer"] not in offers:
                self.report.received += 1
                offers[offer["offer"]] = offer["token"]

    async def _check_out(self, phone: Phone, till: Phone, number: int, offers: dict[str, str]) -> None:
        for name, token in offers.items():
            self.report.shown += 1
            status, _ = await redeem(till, token, "till-1", f"receipt-{number}-{name[:6]}")
            self.report.redeemed += status == 200
        self.report.withdrawn += await phone.withdraw() == 204
        self.report.walks += 1

    async def cheat(self) -> bool:
        """All ways of cheating once; False while there is no offer that could be misused."""
        phone, till = self.phone(), self.phone(self.till_token)
        await self.agree(phone)
        zones = [beacon for beacon in self.beacons if (await phone.offers(key_of(beacon)))[1]]
        if not zones:
            await phone.withdraw()
            return False
        token = (await phone.offers(key_of(zones[0])))[1][0]["token"]
        tally = self.report.cheat
        status, found = await phone.offers(NOWHERE)
        tally("replayed_beacon").note(str(status), refused=not found)
        await redeem(till, token, "till-1", "cheat-1")
        for name, shown, reference in (
            ("cloned_nonce", token, "cheat-2"),
            ("changed_offer", tampered(token), "cheat-3"),
            ("foreign_signature", _foreign(token), "cheat-4"),
        ):
            status, cause = await redeem(till, shown, "till-2", reference)
            tally(name).note(f"{status} {cause}", refused=status != 200)
        await self._flood(phone, key_of(zones[0]))
        await phone.withdraw()
        return True

    async def _flood(self, phone: Phone, beacon: str) -> None:
        tally = self.report.cheat("flood")
        for _ in range(FLOOD // FLOOD_AT_ONCE):
            for status in await phone.flood(beacon, FLOOD_AT_ONCE):
                tally.note(str(status), refused=status == 429)


@dataclass
class _Radio:
    """The sending half of a phone whose owner agreed to be followed."""

    actors: Actors
    name: str
    advertise: dict[str, Any]
    address: bytes

    def send_from(self, at: tuple[float, float]) -> None:
        """Be heard at this place for some seconds."""
        key, exponent = bytes.fromhex(self.advertise["key"]), int(self.advertise["exponent"])
        now_s = time.time()
        identifier = ephemeral_id(key, exponent, int(now_s))
        if identifier.hex() not in self.actors.secrets:
            self.actors.secrets.append(identifier.hex())
        ad = eddystone_eid(identifier).hex()
        self.actors.on_air[self.name] = OnAir(self.name, *at, self.address.hex(), ad, now_s + FRESH_S)
        self._tell()

    async def fade(self, at: tuple[float, float]) -> None:
        """Send on for a while, though the consent is withdrawn, then be silent."""
        for _ in range(int(GHOST_S)):
            self.send_from(at)
            await asyncio.sleep(1.0)
        del self.actors.on_air[self.name]
        self._tell()

    def _tell(self) -> None:
        if self.actors.directory is not None:
            write_air(self.actors.directory, self.actors.on_air.values())


def key_of(beacon: Beacon) -> str:
    """What an app reads from the air: UUID, major, minor."""
    return f"ibeacon:{beacon.uuid.lower()}:{beacon.major}:{beacon.minor}"


def _sender(beacon: Beacon) -> Sender:
    return Sender(beacon.id, beacon.interval_s, beacon.measured_power_dbm)


def _still(beacon: Beacon) -> Position:
    return lambda _t_us: (beacon.x_m, beacon.y_m)


def _foreign(token: str) -> str:
    """The same offer under a signature that some other store might have made: 64 bytes of right length."""
    return token.partition(".")[0] + "." + base64.urlsafe_b64encode(os.urandom(64)).rstrip(b"=").decode()


async def play(actors: Actors, file: Path) -> None:
    """Two shoppers at a time, again and again, and the cheat as soon as there is something to misuse."""
    rng = random.Random(actors.seed)
    zones = sorted({beacon.zone for beacon in actors.beacons if beacon.zone})

    async def shop(lane: int) -> None:
        number = lane
        while True:
            with contextlib.suppress(OSError):  # the gateway restarts: the next shopper finds it again
                await actors.walk(number, rng.sample(zones, k=min(2, len(zones))))
            _write(file, actors)
            number += 2

    async def cheat() -> None:
        done = False
        while not done:
            await asyncio.sleep(AGAIN_S)
            with contextlib.suppress(OSError):
                done = await actors.cheat()
        _write(file, actors)

    async with asyncio.TaskGroup() as group:
        for lane in (1, 2):
            group.create_task(shop(lane))
        group.create_task(cheat())


def _write(file: Path, actors: Actors) -> None:
    write_json(file.with_name(SECRETS), actors.secrets)
    write_json(file, asdict(actors.report))
