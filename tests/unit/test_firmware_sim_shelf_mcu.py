"""The shelf MCU role talks SDP/1 as its specification says, and its cells behave as load cells do."""

import asyncio
import hashlib
import struct
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware_sim import sdp
from firmware_sim.bootloader import firmware_image
from firmware_sim.sdp_device import Manners
from firmware_sim.shelf_mcu import ShelfMcu
from firmware_sim.stream import memory_pipe
from tests.unit.firmware_sim_support import Host
from tests.virtual_time import run_virtual

KEY = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
MANNERS = Manners(firmware_key=KEY.public_key().public_bytes_raw())
IDENTITY = sdp.Identity("SH-000017", "SHELF-2", (1, 4, 2), cells=2)


def _counts(frame: sdp.Payload) -> tuple[int, ...]:
    return struct.unpack_from(f"<{frame.body[1]}i", frame.body, 2)


def with_shelf(
    test: Callable[[Host, ShelfMcu], Awaitable[None]], counts=lambda t_us: (1000, -5), manners=MANNERS, **kw
) -> ShelfMcu:
    async def main() -> ShelfMcu:
        ours, theirs = memory_pipe()
        mcu = ShelfMcu(IDENTITY, counts, seed=1, manners=manners, **kw)
        serving = asyncio.ensure_future(mcu.serve(theirs))
        host = Host(ours)
        await test(host, mcu)
        await host.close()
        await serving
        return mcu

    return run_virtual(main())


def test_boots_greets_and_sends_data_at_its_rate() -> None:
    async def test(host: Host, mcu: ShelfMcu) -> None:
        boot = await host.next(sdp.BOOT)
        assert boot.body == IDENTITY.packed() + bytes((sdp.BY_POWER,))
        assert boot.seq == 0
        frames = await host.collect(10.02)
        assert len(frames) == 100
        assert [f.seq for f in frames] == list(range(1, 101))
        assert all(95 <= b.uptime_ms - a.uptime_ms <= 105 for a, b in pairwise(frames))
        assert _counts(frames[0]) == (1000, -5)
        await host.stream.write(sdp.encode(sdp.GET_HELLO, 0, 0))
        assert (await host.next(sdp.HELLO)).body == IDENTITY.packed()

    assert with_shelf(test).counters["boots"] == 1


def test_set_rate_identify_and_what_it_refuses() -> None:
    async def test(host: Host, mcu: ShelfMcu) -> None:
        await host.next(sdp.BOOT)
        assert await host.ask(sdp.SET_RATE, 1, struct.pack("<H", 800)) == sdp.DONE
        assert 78 <= len(await host.collect(1.0)) <= 81
        assert await host.ask(sdp.SET_RATE, 2, struct.pack("<H", 0)) == sdp.BAD_ARGUMENT
        assert await host.ask(sdp.SET_RATE, 3, struct.pack("<H", 801)) == sdp.BAD_ARGUMENT
        assert await host.ask(sdp.IDENTIFY, 4, b"\x0a") == sdp.DONE
        assert mcu.identify_until_s == pytest.approx(asyncio.get_running_loop().time() + 10, abs=0.1)
        assert await host.ask(0x66, 5, b"what?") == sdp.UNKNOWN_TYPE
        assert await host.ask(sdp.FIRMWARE_END, 6) == sdp.BAD_ARGUMENT

    assert with_shelf(test).identity.rate_tenths_hz == 800


def test_a_repeat_is_answered_as_the_first_but_a_new_host_is_obeyed() -> None:
    async def test(host: Host, mcu: ShelfMcu) -> None:
        await host.next(sdp.BOOT)
        assert await host.ask(sdp.IDENTIFY, 7, b"\x14") == sdp.DONE
        lit_until = mcu.identify_until_s
        await asyncio.sleep(0.5)
        assert await host.ask(sdp.IDENTIFY, 7, b"\x14") == sdp.DONE
        assert mcu.identify_until_s == lit_until
        assert mcu.counters["repeats"] == 1
        await asyncio.sleep(60)
        assert await host.ask(sdp.IDENTIFY, 7, b"\x14") == sdp.DONE
        assert mcu.identify_until_s > lit_until

    with_shelf(test)


def test_reboot_acks_then_boots_with_reason_command() -> None:
    async def test(host: Host, mcu: ShelfMcu) -> None:
        await host.next(sdp.BOOT)
        await host.collect(3)
        assert await host.ask(sdp.REBOOT, 1) == sdp.DONE
        boot = await host.next(sdp.BOOT)
        assert (boot.seq, boot.body[-1]) == (0, sdp.BY_COMMAND)
        assert (await host.next(sdp.DATA)).uptime_ms < 200
        mcu.restart(sdp.BY_WATCHDOG, down_s=2.0)
        await host.stream.write(sdp.encode(sdp.GET_HELLO, 1, 0))  # nobody hears it
        assert (await host.next(sdp.BOOT, sdp.HELLO)).body[-1] == sdp.BY_WATCHDOG

    assert with_shelf(test).counters["dropped_down"] == 1


async def _upload(host: Host, image: bytes, signer: Ed25519PrivateKey, sha256: bytes | None = None) -> int:
    digest = sha256 or hashlib.sha256(image).digest()
    begin = sdp.begin_body(len(image), digest, signer.sign(digest))
    assert await host.ask(sdp.FIRMWARE_BEGIN, 10, begin) == sdp.DONE
    for offset in range(0, len(image), 128):
        block = struct.pack("<I", offset) + image[offset : offset + 128]
        assert await host.ask(sdp.FIRMWARE_BLOCK, 11 + offset // 128, block) == sdp.DONE
    return await host.ask(sdp.FIRMWARE_END, 2000)


def test_a_signed_image_boots_as_the_new_version() -> None:
    async def test(host: Host, mcu: ShelfMcu) -> None:
        await host.next(sdp.BOOT)
        assert await _upload(host, firmware_image((2, 0, 1), bytes(1000)), KEY) == sdp.DONE
        boot = await host.next(sdp.BOOT)
        assert boot.body[-1] == sdp.BY_FIRMWARE
        assert tuple(boot.body[32:35]) == (2, 0, 1)

    assert with_shelf(test).identity.firmware == (2, 0, 1)


@pytest.mark.parametrize("what", ["foreign key", "other image", "no key in the device"])
def test_an_image_that_nobody_signed_leaves_the_old_firmware(what: str) -> None:
    image = firmware_image((9, 9, 9), b"x" * 300)
    signer = Ed25519PrivateKey.from_private_bytes(b"\1" * 32) if what == "foreign key" else KEY
    sha256 = hashlib.sha256(b"other").digest() if what == "other image" else None
    manners = Manners() if what.startswith("no key") else MANNERS

    async def test(host: Host, mcu: ShelfMcu) -> None:
        await host.next(sdp.BOOT)
        assert await _upload(host, image, signer, sha256) == sdp.BAD_SIGNATURE
        assert sdp.BOOT not in [f.kind for f in await host.collect(5)]

    assert with_shelf(test, manners=manners).identity.firmware == (1, 4, 2)


def test_blocks_out_of_order_or_beyond_the_size_are_refused() -> None:
    async def test(host: Host, mcu: ShelfMcu) -> None:
        await host.next(sdp.BOOT)
        begin = sdp.begin_body(20, bytes(32), bytes(64))
        assert await host.ask(sdp.FIRMWARE_BLOCK, 1, struct.pack("<I", 0) + b"a") == sdp.BAD_ARGUMENT
        assert await host.ask(sdp.FIRMWARE_BEGIN, 2, begin) == sdp.DONE
        assert await host.ask(sdp.FIRMWARE_BLOCK, 3, struct.pack("<I", 8) + b"a" * 8) == sdp.BAD_ARGUMENT
        assert await host.ask(sdp.FIRMWARE_BLOCK, 4, struct.pack("<I", 0) + b"a" * 21) == sdp.BAD_ARGUMENT
        assert await host.ask(sdp.FIRMWARE_BLOCK, 5, struct.pack("<I", 0) + b"a" * 8) == sdp.DONE
        assert await host.ask(sdp.FIRMWARE_END, 6) == sdp.BAD_ARGUMENT  # 12 bytes are missing

    with_shelf(test)


def test_errors_are_reported_once_when_a_cell_starts_to_fail() -> None:
    state = {"counts": (5, 6)}

    async def test(host: Host, mcu: ShelfMcu) -> None:
        await host.next(sdp.BOOT)
        state["counts"] = (sdp.SATURATED_HIGH, sdp.NO_READING)
        errors = [f.body[:2] for f in await host.collect(3.0) if f.kind == sdp.ERROR]
        assert errors == [bytes((sdp.CELL_SATURATED, 0)), bytes((sdp.ADC_TIMEOUT, 1))]
        mcu.report(sdp.LOW_VOLTAGE, sdp.NO_CELL, "4.1 V")
        assert (await host.next(sdp.ERROR)).body == b"\x04\xff4.1 V"

    with_shelf(test, counts=lambda t_us: state["counts"])


def test_temperature_is_sent_and_announced() -> None:
    async def test(host: Host, mcu: ShelfMcu) -> None:
        assert (await host.next(sdp.BOOT)).body[41] & sdp.FEATURE_TEMPERATURE
        assert (await host.next(sdp.DATA)).body[-2:] == struct.pack("<h", -525)

    with_shelf(test, temperature_c=lambda t_us: -5.25)


def test_a_second_connection_meets_a_device_that_has_lived_on() -> None:
    async def main() -> None:
        mcu = ShelfMcu(IDENTITY, lambda t_us: (1, 2), seed=1)
        uptimes = []
        for _ in range(2):
            ours, theirs = memory_pipe()
            serving = asyncio.ensure_future(mcu.serve(theirs))
            host = Host(ours)
            uptimes.append(await host.next(sdp.DATA, sdp.BOOT))
            await host.collect(5)
            await host.close()
            await serving
        assert [f.kind for f in uptimes] == [sdp.BOOT, sdp.DATA]
        assert uptimes[1].uptime_ms > 5000

    run_virtual(main())


def test_a_broken_source_ends_the_role_loudly() -> None:
    with pytest.raises(ValueError, match="3 counts for 2 cells"):
        with_shelf(lambda host, mcu: host.collect(2), counts=lambda t_us: (1, 2, 3))
    with pytest.raises(ValueError, match="17 cells"):
        ShelfMcu(sdp.Identity("S", "M", cells=17), lambda t_us: [], seed=1)
