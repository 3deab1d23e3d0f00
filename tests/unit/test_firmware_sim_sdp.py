"""The firmware's own SDP/1 code against the protocol's vectors, and against every byte string hypothesis thinks of."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim import sdp

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/sdp/vectors.json").read_text())
GOOD = [v for v in VECTORS if "fields" in v]
REASON = {"noise before it": "length"}  # 11 22 33 is a broken block, whatever else one calls it


def _body(f: dict) -> bytes:
    """The body of a vector's fields, by the firmware's builders."""
    match f["type"]:
        case "HELLO" | "BOOT":
            keys = ("serial", "model", "cells", "rows", "cols", "unit", "rate_tenths_hz", "features")
            packed = sdp.Identity(firmware=tuple(f["firmware"]), **{k: f[k] for k in keys}).packed()
            return packed + (bytes((f["reason"],)) if f["type"] == "BOOT" else b"")
        case "DATA":
            return sdp.data_body(f["counts"], f.get("temperature_centi_c"))
        case "ACK":
            return sdp.ack_body(f["acked_type"], f["acked_seq"], f["result"])
        case "ERROR":
            return sdp.error_body(f["code"], f["cell"], f["text"])
        case "FRAME":
            pixels = struct.pack(f"<{len(f['pixels'])}h", *f["pixels"])
            return sdp.frame_body(f["rows"], f["cols"], f["unit"], pixels)
        case "ADVERT":
            address, ad = bytes.fromhex(f["address"]), bytes.fromhex(f["ad"])
            return sdp.advert_body(f["rssi_dbm"], f["address_type"], address, ad)
        case "SET_RATE":
            return struct.pack("<H", f["rate_tenths_hz"])
        case "IDENTIFY":
            return bytes((f["seconds"],))
        case "GET_HELLO":
            return b""
    raise AssertionError(f"vector of unknown type {f['type']}")


@pytest.mark.parametrize("vector", GOOD, ids=lambda v: v["name"])
def test_encodes_and_decodes_as_the_vectors(vector: dict) -> None:
    f, wire = vector["fields"], bytes.fromhex(vector["wire"])
    kind = getattr(sdp, f["type"])
    encoded = sdp.encode(kind, f["seq"], f.get("uptime_ms", 0), _body(f))
    assert wire.endswith(encoded)
    receiver = sdp.Receiver()
    (got,) = receiver.feed(wire)
    assert (got.kind, got.seq, got.body) == (kind, f["seq"], _body(f))
    assert got.uptime_ms == f.get("uptime_ms", 0)
    assert sum(receiver.dropped.values()) == ("rejected" in vector)


@pytest.mark.parametrize("vector", [v for v in VECTORS if "fields" not in v], ids=lambda v: v["name"])
def test_drops_as_the_vectors(vector: dict) -> None:
    receiver = sdp.Receiver()
    assert receiver.feed(bytes.fromhex(vector["wire"])) == []
    assert dict(receiver.dropped) == {vector["rejected"]: 1}


@given(st.binary(max_size=1200) | st.integers(0, 1200).map(lambda n: b"\x07" * n))
def test_cobs_round_trip_without_zeros(raw: bytes) -> None:
    coded = sdp.cobs(raw)
    assert 0 not in coded
    assert sdp.uncobs(coded) == raw
    assert len(coded) <= len(raw) + len(raw) // 254 + 1


def test_cobs_of_the_published_examples() -> None:
    # Examples of the COBS article: https://en.wikipedia.org/wiki/Consistent_Overhead_Byte_Stuffing#Encoding_examples
    ramp = bytes(range(1, 255))
    assert sdp.cobs(b"\0") == b"\x01\x01"
    assert sdp.cobs(bytes.fromhex("11220033")) == bytes.fromhex("0311220233")
    assert sdp.cobs(ramp) == b"\xff" + ramp
    assert sdp.cobs(b"\0" + ramp) == b"\x01\xff" + ramp
    assert sdp.cobs(ramp + b"\xff") == b"\xff" + ramp + b"\x02\xff"


@given(st.lists(st.binary(max_size=90), max_size=6), st.data())
def test_reads_frames_whatever_the_cuts_and_the_noise_between(bodies: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(b"\0" + sdp.encode(0x70, i, i, body) for i, body in enumerate(bodies))
    receiver, got = sdp.Receiver(), []
    while wire:
        n = data.draw(st.integers(1, len(wire)))
        got += receiver.feed(wire[:n])
        wire = wire[n:]
    assert [p.body for p in got] == bodies
    assert not receiver.dropped


@given(st.binary(max_size=4000))
def test_noise_never_raises_and_the_next_frame_is_read(noise: bytes) -> None:
    receiver = sdp.Receiver()
    receiver.feed(noise)
    assert receiver.feed(b"\0" + sdp.encode(sdp.REBOOT, 9, 0))[-1].seq == 9


def test_an_endless_frame_is_dropped_once() -> None:
    receiver = sdp.Receiver()
    for _ in range(50):
        assert receiver.feed(b"\x55" * 100) == []
    assert [p.seq for p in receiver.feed(b"\0" + sdp.encode(sdp.GET_HELLO, 3, 0))] == [3]
    assert dict(receiver.dropped) == {"noise": 1}


def test_names_too_long_and_error_texts_cut() -> None:
    with pytest.raises(ValueError, match="17 bytes"):
        sdp.Identity("S" * 17, "M").packed()
    assert len(sdp.error_body(1, 2, "あ" * 30)) == 2 + 60
    assert len(sdp.error_body(1, 2, "x" + "あ" * 30)) == 2 + 58  # no half character
