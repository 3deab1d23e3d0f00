"""Frames of the M100/R200 family: the manual's examples, resynchronisation, hostile bytes."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.rejected import Rejected
from devices.rfid_r200.codec import (
    FRAME_OVERHEAD,
    MAX_PARAMETER_BYTES,
    NOTICE,
    SINGLE_POLL,
    Decoder,
    Frame,
    TagNotice,
    crc16,
    encode,
    error_text,
    read_notice,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/r200/frames.json").read_text())["frames"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["title"])
def test_examples_of_the_manual(vector):
    wire = bytes.fromhex(vector["bytes"])
    expected = Frame(vector["type"], vector["command"], bytes.fromhex(vector["data"]))
    assert encode(expected) == wire
    assert Decoder().feed(wire) == [expected]
    if "notice" in vector:
        tag = read_notice(expected)
        assert (tag.rssi_dbm, tag.pc, tag.epc.hex()) == tuple(vector["notice"].values())


def notice(epc: bytes, rssi_dbm: int = -55) -> Frame:
    protected = (len(epc) // 2 << 11).to_bytes(2, "big") + epc
    data = rssi_dbm.to_bytes(1, "big", signed=True) + protected + crc16(protected).to_bytes(2, "big")
    return Frame(NOTICE, SINGLE_POLL, data)


frames = st.builds(Frame, st.integers(0, 2), st.integers(0, 255), st.binary(max_size=MAX_PARAMETER_BYTES))


@given(st.lists(frames, max_size=6), st.integers(0, 2**32))
def test_any_cut_of_the_stream_gives_the_same_frames(expected, seed):
    """Also with BB and 7E inside the parameters."""
    rng = random.Random(seed)
    wire = b"".join(map(encode, expected))
    decoder, found, at = Decoder(), [], 0
    while at < len(wire):
        step = rng.randrange(1, 30)
        found += decoder.feed(wire[at : at + step])
        at += step
    assert found == expected
    assert (decoder.accepted_bytes, decoder.rejected_bytes, decoder.skipped_bytes) == (len(wire), 0, 0)


@given(st.lists(st.one_of(st.binary(max_size=80), frames.map(encode)), max_size=8))
@settings(max_examples=300)
def test_every_byte_is_accounted_for(chunks):
    decoder = Decoder()
    for chunk in chunks:
        assert all(isinstance(item, Frame | Rejected) for item in decoder.feed(chunk))
        assert decoder.buffered_bytes < MAX_PARAMETER_BYTES + FRAME_OVERHEAD
    counted = decoder.accepted_bytes + decoder.rejected_bytes + decoder.skipped_bytes + decoder.buffered_bytes
    assert counted == sum(map(len, chunks))


def test_a_damaged_frame_costs_its_neighbours_nothing():
    tags = [notice(bytes([n]) * 12) for n in (0x11, 0xBB, 0x7E)]
    first, second, third = (bytearray(encode(tag)) for tag in tags)
    second[9] ^= 0x40
    decoder = Decoder()
    found = decoder.feed(b"\x00\xff" + bytes(first + second + third) + encode(tags[0]) * 8)
    good = [item for item in found if isinstance(item, Frame)]
    assert good == [tags[0], tags[2], *[tags[0]] * 8]
    assert any("checksum" in item.reason for item in found if isinstance(item, Rejected))


def test_notice_whose_lengths_disagree_is_rejected_although_the_checksum_fits():
    good = notice(bytes(12))
    shorter = Frame(good.type, good.command, good.data[:-1])
    assert "says 12 bytes of EPC, 11 are there" in read_notice(shorter).reason
    assert "no tag notice" in read_notice(Frame(NOTICE, SINGLE_POLL, b"abc")).reason
    swapped = bytearray(good.data)
    swapped[4], swapped[5] = 1, 255  # the 8-bit sum does not notice, the tag's CRC does
    found = read_notice(Frame(good.type, good.command, bytes(swapped)))
    assert isinstance(found, TagNotice)
    assert not found.crc_ok
    assert read_notice(good).crc_ok


def test_hostile_stream_costs_at_most_a_millisecond_a_kilobyte():
    for wire in (b"\xbb" * 50_000, b"\xbb\x02\x22\x00\x80" * 10_000, random.Random(1).randbytes(50_000)):
        decoder = Decoder()
        started_s = time.process_time()
        for at in range(0, len(wire), 512):
            decoder.feed(wire[at : at + 512])
        assert time.process_time() - started_s < 1e-3 * len(wire) / 1024 * 5  # 5: other work on this machine


def test_errors_in_words():
    assert error_text(0x20) == "error 20: no free channel: the band is busy"
    assert "not in the manual" in error_text(0x77)
