"""MQTT control packets out of a byte stream (MQTT 3.1.1, 2.2.3), as little work as can be: the benches count with it."""

from __future__ import annotations


def take_packet(buffer: bytearray) -> tuple[int, bytes] | None:
    """(first byte, what follows the length) of the next whole packet, taken off the buffer; None when there is none."""
    size, shift, place = 0, 0, 1
    while True:
        if place >= len(buffer):
            return None
        size |= (buffer[place] & 0x7F) << shift
        place += 1
        if not buffer[place - 1] & 0x80:
            break
        shift += 7
    if len(buffer) < place + size:
        return None
    first, rest = buffer[0], bytes(buffer[place : place + size])
    del buffer[: place + size]
    return first, rest
