"""Phone actors against the served API, honest and not; and what of them is left in the journal: nothing."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
import uvicorn

from edge.core.observation import Advert
from edge.demo.offers import cheats_that_worked, in_words
from edge.journal import Store
from firmware_sim import phone_actors
from firmware_sim.layout import Beacon
from firmware_sim.phones import Phone, redeem, tampered
from tests.unit.api_support import gateway
from tests.unit.test_offers_api import BEACON, STORE, UUID, prepare

PLACES = (("b-1", "z-1", 5.0),)


def beacon(name: str, zone: str, x_m: float, minor: int) -> Beacon:
    return Beacon(name, "zone", UUID, 1, minor, zone, x_m, 4.0, bytes(6))


PHONE_MAC = "5C:F7:E6:8B:12:34"


def test_honest_phones_redeem_once_and_cheats_do_not(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "journal.db"
        async with gateway(store=Store(path), site=STORE) as bench:
            await prepare(bench)
            listener = socket.create_server(("127.0.0.1", 0))
            port = listener.getsockname()[1]
            server = uvicorn.Server(uvicorn.Config(bench.app, log_level="warning", access_log=False, lifespan="off"))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            phone, cheat = Phone("127.0.0.1", port), Phone("127.0.0.1", port)
            till = Phone("127.0.0.1", port, token=bench.tokens["staff"])
            await phone.consent()
            receipts = [phone.receipt]
            offer = (await phone.offers(BEACON))[1][0]["token"]
            assert (await phone.offers(BEACON))[0] == 304
            assert await redeem(till, tampered(offer), "till-1", "r-0") == (422, "signature")
            first, second = await asyncio.gather(
                redeem(till, offer, "till-1", "r-1"), redeem(till, offer, "till-2", "r-2")
            )
            assert sorted([first, second]) == [(200, ""), (409, "redeemed")]
            assert (await cheat.offers("ibeacon:elsewhere:9:9"))[0] == 404
            await cheat.consent()
            receipts.append(cheat.receipt)
            assert (await cheat.flood(BEACON, 80)).count(429) >= 30
            assert (await phone.offers(BEACON))[0] in (200, 304)
            assert await phone.withdraw() == 204
            bench.services.runtime.emit(Advert("ear-9", 0, f"bthome:{PHONE_MAC}", -50))
            bench.services.runtime.step()
            server.should_exit = True
            await serving
            await bench.services.runtime.journal.flush()
        left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert b"p-1" in left  # the search would find something
        for planted in (PHONE_MAC, PHONE_MAC.lower(), PHONE_MAC.replace(":", ""), *receipts):
            assert planted.encode() not in left

    asyncio.run(main())


def test_actors_walk_redeem_and_every_cheat_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = asyncio.sleep
    monkeypatch.setattr(phone_actors.asyncio, "sleep", lambda _seconds: real(0))  # walking takes no time here
    beacons = [beacon(name, zone, x, minor) for minor, (name, zone, x) in enumerate(PLACES, 1)]

    async def main() -> None:
        async with gateway(site=STORE) as bench:
            await prepare(bench)
            listener = socket.create_server(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(bench.app, log_level="warning", access_log=False, lifespan="off"))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            api = f"http://127.0.0.1:{listener.getsockname()[1]}"
            actors = phone_actors.Actors(api, bench.tokens["staff"], beacons, seed=3)
            await actors.walk(1, ["z-1"])
            assert await actors.cheat()
            server.should_exit = True
            await serving
        report = actors.report
        assert (report.walks, report.received, report.redeemed, report.withdrawn) == (1, 1, 1, 1)
        assert report.unchanged > 0
        flood = report.cheats.pop("flood")
        assert flood.tried == phone_actors.FLOOD
        assert flood.refused > 0.9 * flood.tried
        assert {name: one.answers for name, one in report.cheats.items()} == {
            "replayed_beacon": ["404"],
            "cloned_nonce": ["409 redeemed"],
            "changed_offer": ["422 signature"],
            "foreign_signature": ["422 signature"],
        }

    asyncio.run(main())


def test_the_demos_words_name_a_cheat_that_worked() -> None:
    told = {
        "walks": 2,
        "received": 3,
        "shown": 3,
        "redeemed": 3,
        "withdrawn": 2,
        "cheats": {
            "cloned_nonce": {"tried": 1, "refused": 1, "answers": ["409 redeemed"]},
            "flood": {"tried": 1000, "refused": 947, "answers": ["200", "429"]},
        },
    }
    words = "2 walks, 3 received, 3 shown, 3 redeemed, 2 withdrawn, 0 followed by their rotating ids; cheats refused: cloned_nonce (409 redeemed), "
    assert in_words(told) == words + "flood (947 of 1000)"
    told["cheats"]["cloned_nonce"] = {"tried": 1, "refused": 0, "answers": ["200 "]}  # type: ignore[index]
    told["cheats"]["flood"]["refused"] = 10  # type: ignore[index]
    assert cheats_that_worked(told) == ["cloned_nonce", "flood"]
    assert in_words(told).endswith("NOT REFUSED: cloned_nonce, flood")
