"""Our SDP/1 codec against the protocol's published vectors."""

import dataclasses
import json
from pathlib import Path

import pytest

from devices.sdp import codec, messages

VECTORS = json.loads((Path(__file__).parent / "sdp/vectors.json").read_text())
FROM_DEVICE = [v for v in VECTORS if v["direction"] == "device" and "fields" in v]
FROM_HOST = [v for v in VECTORS if v["direction"] == "host"]
BROKEN = [v for v in VECTORS if "fields" not in v]


def as_fields(got: codec.Received) -> dict:
    """A decoded frame in the words of the vectors."""
    message = got.message
    name = {"PixelFrame": "FRAME", "AdvertHeard": "ADVERT", "ErrorReport": "ERROR"}.get(type(message).__name__)
    fields = {"type": name or type(message).__name__.upper(), "seq": got.seq, "uptime_ms": got.uptime_ms}
    match message:
        case messages.Hello(identity) | messages.Boot(identity, _):
            fields |= dataclasses.asdict(identity)
            fields["firmware"] = [int(part) for part in identity.firmware.split(".")]
            if isinstance(message, messages.Boot):
                fields["reason"] = message.reason
        case messages.Data(counts, temperature_c):
            fields["counts"] = list(counts)
            if temperature_c is not None:
                fields["temperature_centi_c"] = round(temperature_c * 100)
        case messages.PixelFrame(rows, cols, unit, pixels):
            values = [int.from_bytes(pixels[i : i + 2], "little", signed=True) for i in range(0, len(pixels), 2)]
            fields |= {"rows": rows, "cols": cols, "unit": unit, "pixels": values}
        case messages.AdvertHeard(rssi_dbm, address_random, address, ad):
            fields |= {"rssi_dbm": rssi_dbm, "address_type": int(address_random)}
            fields |= {"address": address.hex(), "ad": ad.hex()}
        case _:
            fields |= dataclasses.asdict(message)
    return fields


@pytest.mark.parametrize("vector", FROM_DEVICE, ids=lambda v: v["name"])
def test_reads_what_devices_say(vector: dict) -> None:
    decoder = codec.Decoder()
    items = decoder.feed(bytes.fromhex(vector["wire"]))
    good = [item for item in items if isinstance(item, codec.Received)]
    assert [as_fields(item) for item in good] == [vector["fields"]]
    assert len(items) - len(good) == ("rejected" in vector)


@pytest.mark.parametrize("vector", BROKEN, ids=lambda v: v["name"])
def test_rejects_with_the_reason(vector: dict) -> None:
    wire = bytes.fromhex(vector["wire"])
    assert codec.Decoder().feed(wire) == [codec.Rejected(vector["rejected"], len(wire))]


@pytest.mark.parametrize("vector", FROM_HOST, ids=lambda v: v["name"])
def test_asks_as_the_vectors(vector: dict) -> None:
    fields = vector["fields"]
    request = {
        "SET_RATE": lambda: messages.set_rate(fields["rate_tenths_hz"]),
        "IDENTIFY": lambda: messages.identify(fields["seconds"]),
        "GET_HELLO": lambda: messages.GET_HELLO,
    }[fields["type"]]()
    assert codec.encode(request.kind, fields["seq"], request.body) == bytes.fromhex(vector["wire"])
