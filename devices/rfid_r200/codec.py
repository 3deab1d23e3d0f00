"""Frames of the M100/R200 family: BB · type · command · length u16 · parameters · checksum · 7E (user manual, 2.1).

The checksum is the low byte of the sum from type to the last parameter. BB and 7E occur inside, so a frame ends where
its length says; what does not fit is dropped byte by byte up to the next BB that begins a good frame.
"""

from __future__ import annotations

import struct
from binascii import crc_hqx
from dataclasses import dataclass

from devices.rejected import Rejected

HEAD, TAIL = 0xBB, 0x7E
COMMAND, RESPONSE, NOTICE = 0, 1, 2
FRAME_OVERHEAD = 7
MAX_PARAMETER_BYTES = 128  # ours: the longest that inventory brings is 5 + 62 bytes of EPC
MAX_REJECTS_A_FEED = 64  # reported one by one; the rest of a flood is counted only
# Commands (user manual, 2.2)
GET_INFO, SINGLE_POLL, MULTI_POLL, STOP_POLL = 0x03, 0x22, 0x27, 0x28
SET_REGION, GET_QUERY, SET_QUERY, SET_POWER = 0x07, 0x0D, 0x0E, 0xB6
ERROR = 0xFF
NO_TAG = 0x15
_ERRORS = {
    0x09: "the tag cannot be read",
    0x10: "the tag cannot be written",
    0x15: "no tag answers",
    0x16: "the access password is wrong",
    0x17: "the module does not know this command or its parameters",
    0x20: "no free channel: the band is busy",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame with a good checksum: type (COMMAND, RESPONSE, NOTICE), command, parameters."""

    type: int
    command: int
    data: bytes = b""

    @property
    def error(self) -> int | None:
        """The code of an error answer, else None."""
        return self.data[0] if self.command == ERROR and self.data else None


@dataclass(frozen=True, slots=True)
class TagNotice:
    """One tag seen: RSSI in dBm, protocol control word, EPC, whether the tag's own CRC-16 fits them."""

    rssi_dbm: int
    pc: int
    epc: bytes
    crc_ok: bool


class Decoder:
    """Splits the stream. Accounting: bytes fed = accepted + rejected + skipped + buffered."""

    def __init__(self) -> None:
        self._buffer = b""
        self.accepted_bytes = 0
        self.rejected_bytes = 0
        self.skipped_bytes = 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes of a frame that is not complete; at most MAX_PARAMETER_BYTES + FRAME_OVERHEAD."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame | Rejected]:
        """All that is complete now, in order."""
        buffer = self._buffer + data
        out: list[Frame | Rejected] = []
        at = 0
        while True:
            start = buffer.find(HEAD, at)
            self.skipped_bytes += (start if start >= 0 else len(buffer)) - at
            if start < 0:
                at = len(buffer)
                break
            at = start
            length = _frame_length(buffer, at)
            if length == 0 or at + length > len(buffer):
                break
            found = _frame(buffer[at : at + length]) if length > 0 else Rejected("impossible length", 1)
            if isinstance(found, Frame):
                self.accepted_bytes += length
                at += length
                out.append(found)
            else:  # perhaps this BB was data of a frame whose beginning is lost: look on behind it
                self.rejected_bytes += 1
                at += 1
                if len(out) < MAX_REJECTS_A_FEED:
                    out.append(found)
        self._buffer = buffer[at:]
        return out


def _frame_length(buffer: bytes, at: int) -> int:
    """Whole length of the frame at `at`; 0 if too few bytes are there to know, -1 if it cannot be a frame."""
    head = buffer[at : at + 5]
    if len(head) > 1 and head[1] not in (COMMAND, RESPONSE, NOTICE):
        return -1
    if len(head) < 5:
        return 0
    n_bytes = head[3] << 8 | head[4]
    return FRAME_OVERHEAD + n_bytes if n_bytes <= MAX_PARAMETER_BYTES else -1


def _frame(raw: bytes) -> Frame | Rejected:
    if raw[-1] != TAIL:
        return Rejected(f"ends with {raw[-1]:02X}; expected 7E", 1)
    checksum = sum(raw[1:-2]) & 0xFF
    if raw[-2] != checksum:
        return Rejected(f"checksum {raw[-2]:02X}; expected {checksum:02X}", 1)
    return Frame(raw[1], raw[2], raw[5:-2])


def encode(frame: Frame) -> bytes:
    """The bytes of a frame."""
    body = struct.pack(">BBH", frame.type, frame.command, len(frame.data)) + frame.data
    return bytes((HEAD,)) + body + bytes((sum(body) & 0xFF, TAIL))


def read_notice(frame: Frame) -> TagNotice | Rejected:
    """A tag notice (user manual, 2.3): RSSI s8, PC u16, EPC, CRC u16.

    The checksum of the frame is weak, so the length that PC tells (Gen2: 5 top bits, in words) must be that of the EPC.
    """
    n_bytes = len(frame.data) + FRAME_OVERHEAD
    if frame.command != SINGLE_POLL or len(frame.data) < 5:
        return Rejected(f"command {frame.command:02X} with {len(frame.data)} bytes is no tag notice", n_bytes)
    rssi_dbm, pc = struct.unpack_from(">bH", frame.data)
    epc = frame.data[3:-2]
    if (pc >> 11) * 2 != len(epc):
        return Rejected(f"PC {pc:04X} says {(pc >> 11) * 2} bytes of EPC, {len(epc)} are there", n_bytes)
    return TagNotice(rssi_dbm, pc, epc, crc16(frame.data[1:-2]) == int.from_bytes(frame.data[-2:], "big"))


def crc16(data: bytes) -> int:
    """CRC-16 of Gen2 (EPC Gen2 2.1, annex F: polynomial 1021, preset FFFF, ones' complement)."""
    return crc_hqx(data, 0xFFFF) ^ 0xFFFF


def error_text(code: int) -> str:
    """An error code in words."""
    return f"error {code:02X}: {_ERRORS.get(code, 'not in the manual')}"
