"""The SDP/1 codec on arbitrary bytes: it never raises, never hoards, and accounts for each byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.sdp import codec, messages


def balanced(ledger: codec.Ledger) -> bool:
    return ledger.fed == ledger.accepted + ledger.rejected + ledger.skipped + ledger.buffered


def data_frame(seq: int, *counts: int) -> bytes:
    body = bytes((0, len(counts))) + b"".join(c.to_bytes(4, "little", signed=True) for c in counts)
    return codec.encode(messages.Kind.DATA, seq, body, uptime_ms=seq * 100)


@given(st.binary(max_size=1300) | st.integers(0, 1300).map(lambda n: b"\x07" * n))
def test_cobs_round_trip(raw: bytes) -> None:
    coded = codec.cobs_encode(raw)
    assert 0 not in coded
    assert len(coded) <= len(raw) + len(raw) // 254 + 1
    assert codec.cobs_decode(coded) == raw


@pytest.mark.parametrize(
    ("raw", "coded"),
    [  # examples of the COBS article, https://en.wikipedia.org/wiki/Consistent_Overhead_Byte_Stuffing
        ("00", "0101"),
        ("0000", "010101"),
        ("11220033", "0311220233"),
        ("11000000", "0211010101"),
    ],
)
def test_cobs_examples(raw: str, coded: str) -> None:
    assert codec.cobs_encode(bytes.fromhex(raw)) == bytes.fromhex(coded)


@pytest.mark.parametrize("coded", [b"\x05\x01", b"\x01\x00", b"\xff" + b"\x01" * 100])
def test_cobs_that_points_beyond_its_end(coded: bytes) -> None:
    assert codec.cobs_decode(coded) is None


@given(st.lists(st.binary(max_size=300), max_size=12))
def test_every_byte_is_accounted_for_whatever_comes(chunks: list[bytes]) -> None:
    decoder = codec.Decoder()
    for chunk in chunks:
        decoder.feed(chunk)
        assert balanced(decoder.ledger)
        assert decoder.ledger.buffered <= codec.CODED_MAX


@given(st.binary(max_size=4000), st.integers(1, 64))
def test_the_frame_after_noise_is_read(noise: bytes, cut: int) -> None:
    decoder = codec.Decoder()
    wire = noise + b"\0" + data_frame(9, 1, -2)
    items = [item for i in range(0, len(wire), cut) for item in decoder.feed(wire[i : i + cut])]
    assert items[-1] == codec.Received(9, 900, messages.Data((1, -2)))
    assert balanced(decoder.ledger)
    assert decoder.ledger.buffered == 0


def test_an_endless_frame_is_rejected_once_and_the_rest_of_it_skipped() -> None:
    decoder = codec.Decoder()
    items = [item for _ in range(100) for item in decoder.feed(b"\x55" * 100)]
    assert [item.reason for item in items if isinstance(item, codec.Rejected)] == ["noise"]
    assert decoder.ledger.buffered == 0
    assert decoder.ledger.skipped > 0
    assert [item.seq for item in decoder.feed(b"\0" + data_frame(3, 7)) if isinstance(item, codec.Received)] == [3]
    assert balanced(decoder.ledger)


@given(st.integers(0, 8 * 40 - 1))
def test_one_flipped_bit_is_never_believed(bit: int) -> None:
    wire = bytearray(data_frame(5, 1000, -2000, 3000, 4000, 5000, 6000))
    at = bit // 8 % (len(wire) - 1)
    wire[at] ^= 1 << bit % 8
    assert not [item for item in codec.Decoder().feed(bytes(wire)) if isinstance(item, codec.Received)]


def test_an_unknown_type_keeps_its_seq() -> None:
    assert codec.Decoder().feed(codec.encode(0x30, 77, b"what is this")) == [
        codec.Received(77, 0, messages.Unknown(0x30))
    ]


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6, 7])
def test_a_body_of_the_wrong_length_is_rejected(kind: int) -> None:
    for n in (1, 64):  # no type's body has 1 or 64 bytes here
        (item,) = codec.Decoder().feed(codec.encode(kind, 1, bytes([3]) * n))
        assert item == codec.Rejected("length", item.n_bytes)
