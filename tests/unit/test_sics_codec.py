"""MT-SICS lines: the manual's own examples, garbage, and the books over each byte."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.scale_sics import codec

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/sics/vectors.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["line"])
def test_lines_of_the_manual(vector: dict) -> None:
    (line,) = codec.Decoder().feed(vector["line"].encode() + b"\r\n")
    assert type(line).__name__ == vector["type"]
    for name, value in vector["fields"].items():
        got = getattr(line, name)
        assert got == (pytest.approx(value) if isinstance(value, float) else value), name


@given(st.lists(st.binary(max_size=300), max_size=12))
def test_every_byte_is_accounted_for(chunks: list[bytes]) -> None:
    decoder = codec.Decoder()
    for chunk in chunks:
        decoder.feed(chunk)
        assert decoder.fed == decoder.accepted + decoder.rejected + decoder.skipped + decoder.buffered
        assert decoder.buffered <= codec.LINE_MAX


@given(st.binary(max_size=400), st.integers(1, 40))
def test_the_weight_after_noise_is_read(noise: bytes, cut: int) -> None:
    decoder = codec.Decoder()
    wire = noise + b"\r\nS D      -12.50 kg\r\n"
    lines = [line for i in range(0, len(wire), cut) for line in decoder.feed(wire[i : i + cut])]
    assert lines[-1] == codec.Weight(-12_500.0, False)


@given(st.text(max_size=60))
def test_any_line_is_read_or_rejected(text: str) -> None:
    line = text.encode("utf-8", errors="replace").replace(b"\n", b"").replace(b"\r", b"")
    assert codec.read_line(line, len(line)) is not None
