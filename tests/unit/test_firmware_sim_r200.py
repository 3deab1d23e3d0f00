"""The serial UHF module's role, spoken to in bytes of its manual."""

import asyncio

import numpy as np
import pytest

from firmware_sim.clock import SimClock
from firmware_sim.r200_module import R200Module, frame
from firmware_sim.radio import Reads
from firmware_sim.stream import memory_pipe

# Examples of the YRM100 protocol manual
SINGLE = bytes.fromhex("BB00220000227E")
MULTI_10000 = bytes.fromhex("BB00270003222710837E")
STOP = bytes.fromhex("BB00280000287E")
GET_INFO = bytes.fromhex("BB00030001000 47E".replace(" ", ""))
NO_TAG = bytes.fromhex("BB01FF000115167E")


class Tags:
    """Two tags, each read every 100 ms; the EPCs hold BB and 7E on purpose."""

    def __init__(self, present=True):
        self.present = present

    epcs = np.frombuffer(bytes.fromhex("bb7ebb7ebb7ebb7ebb7ebb7e300833b2ddd9014000000001"), np.uint8).reshape(2, 12)

    def connected(self):
        return {1: True}

    def reads_between(self, t0_us, t1_us):
        times = np.arange(-(-t0_us // 50_000) * 50_000, t1_us, 50_000) if self.present else np.zeros(0, np.int64)
        n = times.size
        return Reads(times, times // 50_000 % 2, np.ones(n, np.int64), np.full(n, -5230, np.int64))


def _with_module(story, tags=None):
    async def main():
        module = R200Module(tags or Tags(), SimClock().now_us)
        host, line = memory_pipe()
        serving = asyncio.create_task(module.serve(line))
        await asyncio.sleep(0.12)
        await story(host, module)
        await host.close()
        await asyncio.wait_for(serving, 2)

    asyncio.run(main())


async def _frames(host, n):
    data = b""
    out = []
    while len(out) < n:
        data += await asyncio.wait_for(host.read(1000), 3)
        while len(data) >= 7 and len(data) >= 7 + int.from_bytes(data[3:5], "big"):
            size = 7 + int.from_bytes(data[3:5], "big")
            one, data = data[:size], data[size:]
            assert one[0] == 0xBB
            assert one[-1] == 0x7E
            assert one[-2] == sum(one[1:-2]) & 0xFF
            out.append((one[1], one[2], one[5:-2]))
    return out


def test_frames_equal_the_manuals_examples():
    assert frame(0, 0x22) == SINGLE
    assert frame(0, 0x27, bytes.fromhex("222710")) == MULTI_10000
    assert frame(1, 0xFF, b"\x15") == NO_TAG


def test_single_and_multi_inventory_give_notices_with_a_right_crc():
    async def story(host, module):
        await host.write(SINGLE)
        ((kind, command, body),) = await _frames(host, 1)
        assert (kind, command, len(body)) == (2, 0x22, 17)
        assert body[0] == 256 - 52
        assert body[1:3] == b"\x30\x00"
        await host.write(MULTI_10000)
        notices = await _frames(host, 6)
        assert {body[3:15] for _, _, body in notices} == {row.tobytes() for row in Tags.epcs}
        crc = {body[3:15].hex(): body[15:].hex() for _, _, body in notices}
        assert crc["300833b2ddd9014000000001"] == f"{_gen2_crc(bytes.fromhex('3000300833b2ddd9014000000001')):04x}"
        await host.write(STOP)
        answers = await _frames(host, 1)
        while answers[-1][0] == 2:
            answers = await _frames(host, 1)
        assert answers[-1] == (1, 0x28, b"\x00")

    _with_module(story)


def _gen2_crc(data):
    crc = 0xFFFF
    for bit in "".join(f"{byte:08b}" for byte in data):
        top = crc >> 15 ^ int(bit)
        crc = (crc << 1 ^ (0x1021 if top else 0)) & 0xFFFF
    return crc ^ 0xFFFF


def test_an_empty_round_answers_the_inventory_error():
    async def story(host, module):
        await host.write(SINGLE)
        assert await asyncio.wait_for(host.read(100), 3) == NO_TAG

    _with_module(story, Tags(present=False))


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (frame(0, 0x03, b"\x00"), (1, 0x03, b"\x00M100 26dBm V1.0")),
        (frame(0, 0xB6, bytes.fromhex("07d0")), (1, 0xB6, b"\x00")),
        (frame(0, 0xB6, b"\x01"), (1, 0xFF, b"\x17")),
        (frame(0, 0x99), (1, 0xFF, b"\x17")),
        (frame(0, 0xB7), (1, 0xB7, bytes.fromhex("0a28"))),
    ],
)
def test_settings_and_unknown_commands(command, answer):
    async def story(host, module):
        await host.write(command)
        assert await _frames(host, 1) == [answer]

    _with_module(story)


def test_garbage_before_a_command_is_skipped():
    async def story(host, module):
        await host.write(b"\x7e\xbb\xbb\x00\x22\x00" + b"\xbb\x00\x22\x00\x00\x99\x7e" + frame(0, 0xB7))
        assert (await _frames(host, 1))[0][1] == 0xB7
        assert module.counters["skipped"] > 5

    _with_module(story)


def test_lower_power_hears_less():
    async def story(host, module):
        await host.write(frame(0, 0xB6, (0).to_bytes(2, "big")))
        assert await _frames(host, 1) == [(1, 0xB6, b"\x00")]
        await host.write(SINGLE)
        ((_, _, body),) = await _frames(host, 1)
        assert body[0] == 256 - 78

    _with_module(story)
