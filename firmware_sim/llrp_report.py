"""Tag reports: what a reader gathers between reports, and how it writes them (LLRP 1.0.1, clauses 13.2.3-13.2.4)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from firmware_sim import llrp_wire as w
from firmware_sim.llrp_caps import CHANNELS_KHZ
from firmware_sim.llrp_rospec import ReportSpec
from firmware_sim.llrp_wire import Msg, Par, tlv, tv
from firmware_sim.radio import Reads

# TagReportContentSelector bits, from the highest (clause 13.2.1.1)
ROSPEC_ID, SPEC_INDEX, INVENTORY_ID, ANTENNA_ID, CHANNEL, PEAK_RSSI, FIRST_SEEN, LAST_SEEN, SEEN_COUNT, ACCESS_ID = (
    0x8000 >> bit for bit in range(10)
)
IntArray = npt.NDArray[np.int64]
EpcArray = npt.NDArray[np.uint8]
EPC_96_BYTES = 12
HOP_US = 200_000
PC_96_BITS = 0x3000
"""Protocol control word of a tag with a 96-bit EPC."""
SEEN_LIMIT = 0xFFFF


@dataclass(slots=True)
class Sighting:
    """What was gathered of one tag since the last report."""

    tag: int
    port: int
    rssi_cdbm: int
    channel: int
    first_us: int
    last_us: int
    count: int


@dataclass(frozen=True, slots=True)
class Origin:
    """The ids of the specs that a report comes from."""

    rospec_id: int
    spec_index: int
    inventory_id: int


def crc16(data: bytes) -> int:
    """CRC-16 of a Gen2 tag: polynomial 0x1021, preset 0xFFFF, complemented (EPC Gen2 2.0, annex F)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc ^ 0xFFFF


def channel_at(t_us: int) -> int:
    """Index (from 1) of the channel in use at a time."""
    return t_us // HOP_US * 7 % len(CHANNELS_KHZ) + 1


class Gathering:
    """Accumulates reads into sightings, by tag and (where antennas are reported) by antenna."""

    def __init__(self) -> None:
        self.sightings: dict[tuple[int, int], Sighting] = {}

    def add(self, reads: Reads, spec: ReportSpec, loss_cdb: dict[int, int]) -> None:
        """Add reads; `loss_cdb`: what a lowered transmit power takes, by port."""
        by_antenna = bool(spec.fields & ANTENNA_ID)
        rows = zip(reads.t_us.tolist(), reads.tag.tolist(), reads.port.tolist(), reads.rssi_cdbm.tolist(), strict=True)
        for t_us, tag, port, level in rows:
            rssi = level - loss_cdb.get(port, 0)
            key = tag, port if by_antenna else 0
            seen = self.sightings.get(key)
            if seen is None:
                self.sightings[key] = Sighting(tag, port, rssi, channel_at(t_us), t_us, t_us, 1)
            else:
                seen.rssi_cdbm = max(seen.rssi_cdbm, rssi)
                seen.last_us = t_us
                seen.count = min(seen.count + 1, SEEN_LIMIT)

    def take(self, n: int | None = None) -> list[Sighting]:
        """Remove and return the `n` oldest sightings (None: all)."""
        keys = list(self.sightings) if n is None else list(self.sightings)[:n]
        return [self.sightings.pop(key) for key in keys]


@dataclass(frozen=True, slots=True)
class Batch:
    """Sightings of one moment as columns, and the specs that they answer."""

    tag: IntArray
    port: IntArray
    rssi_cdbm: IntArray
    channel: IntArray
    first_us: IntArray
    last_us: IntArray
    count: IntArray
    spec: ReportSpec
    origin: Origin


def batch_of(sightings: list[Sighting], spec: ReportSpec, origin: Origin) -> Batch:
    """Gathered sightings as columns."""
    rows = [(s.tag, s.port, s.rssi_cdbm, s.channel, s.first_us, s.last_us, s.count) for s in sightings]
    tag, port, rssi, channel, first, last, count = np.array(rows, np.int64).reshape(-1, 7).T
    return Batch(tag, port, rssi, channel, first, last, count, spec, origin)


def batch_of_reads(reads: Reads, spec: ReportSpec, origin: Origin, loss_cdb: dict[int, int]) -> Batch:
    """Each read as a sighting of its own."""
    rssi = reads.rssi_cdbm
    for port, loss in loss_cdb.items():
        rssi = np.where(reads.port == port, rssi - loss, rssi)
    channel = reads.t_us // HOP_US * 7 % len(CHANNELS_KHZ) + 1
    return Batch(reads.tag, reads.port, rssi, channel, reads.t_us, reads.t_us, np.ones_like(channel), spec, origin)


@lru_cache(maxsize=64)
def _row_type(fields: int, with_header: bool) -> np.dtype[np.void]:
    """One TagReportData with an EPC-96, as packed bytes; with the header of a message of its own if asked."""
    columns = [("h_type", ">u2"), ("h_length", ">u4"), ("h_id", ">u4")] if with_header else []
    columns += [("t_type", ">u2"), ("t_length", ">u2"), ("epc_type", "u1"), ("epc", "12u1")]
    for bit, (name, kind) in _ROW_FIELDS.items():
        if fields & bit:
            columns += [(f"{name}_type", "u1"), (name, kind)]
    return np.dtype(columns)


_ROW_FIELDS = {
    ROSPEC_ID: ("rospec", ">u4"),
    SPEC_INDEX: ("spec_index", ">u2"),
    INVENTORY_ID: ("inventory", ">u2"),
    ANTENNA_ID: ("antenna", ">u2"),
    PEAK_RSSI: ("rssi", "i1"),
    CHANNEL: ("channel", ">u2"),
    FIRST_SEEN: ("first", ">u8"),
    LAST_SEEN: ("last", ">u8"),
    SEEN_COUNT: ("count", ">u2"),
    ACCESS_ID: ("access", ">u4"),
}
"""Selector bit → column, in the order of the wire (clause 16.2.7.3.1)."""
_ROW_TYPES = {
    ROSPEC_ID: Par.ROSPEC_ID,
    SPEC_INDEX: Par.SPEC_INDEX,
    INVENTORY_ID: Par.INVENTORY_PARAMETER_SPEC_ID,
    ANTENNA_ID: Par.ANTENNA_ID,
    PEAK_RSSI: Par.PEAK_RSSI,
    CHANNEL: Par.CHANNEL_INDEX,
    FIRST_SEEN: Par.FIRST_SEEN_UTC,
    LAST_SEEN: Par.LAST_SEEN_UTC,
    SEEN_COUNT: Par.TAG_SEEN_COUNT,
    ACCESS_ID: Par.ACCESSSPEC_ID,
}


def _rows(batch: Batch, epcs: EpcArray, shift_us: int, with_header: bool) -> npt.NDArray[np.void]:
    """The TagReportData of a batch, one row a tag (only for 96-bit EPCs and standard fields)."""
    fields = batch.spec.fields
    rows = np.zeros(batch.tag.size, _row_type(fields, with_header))
    rows["t_type"] = Par.TAG_REPORT_DATA
    rows["t_length"] = rows.dtype.itemsize - (w.HEADER_BYTES if with_header else 0)
    rows["epc_type"] = 0x80 | Par.EPC_96
    rows["epc"] = epcs[batch.tag]
    values: dict[int, IntArray | int] = {
        ROSPEC_ID: batch.origin.rospec_id,
        SPEC_INDEX: batch.origin.spec_index,
        INVENTORY_ID: batch.origin.inventory_id,
        ANTENNA_ID: batch.port,
        CHANNEL: batch.channel,
        SEEN_COUNT: batch.count,
        ACCESS_ID: 0,
    }
    if fields & PEAK_RSSI:
        values[PEAK_RSSI] = np.minimum(np.maximum((batch.rssi_cdbm + 50) // 100, -128), 127)
    if fields & FIRST_SEEN:
        values[FIRST_SEEN] = batch.first_us + shift_us
    if fields & LAST_SEEN:
        values[LAST_SEEN] = batch.last_us + shift_us
    for bit, value in values.items():
        if fields & bit:
            name = _ROW_FIELDS[bit][0]
            rows[name] = value
            rows[f"{name}_type"] = 0x80 | _ROW_TYPES[bit]
    return rows


class ReportWriter:
    """Writes batches as RO_ACCESS_REPORT messages."""

    def __init__(self, omit_unchanged: bool) -> None:
        """`omit_unchanged`: leave out ids equal to those of the tag before, as the standard allows."""
        self._omit = omit_unchanged

    def _plain(self, spec: ReportSpec, epcs: EpcArray) -> bool:
        return not (self._omit or spec.pc or spec.crc or spec.impinj) and epcs.shape[1] == EPC_96_BYTES

    def messages(
        self, batch: Batch, epcs: EpcArray, shift_us: int, next_ids: Callable[[int], int], version: int
    ) -> bytes:
        """RO_ACCESS_REPORTs: one a tag where the client asked for that, else one for the batch.

        `shift_us` turns the world's time into UTC; `next_ids(n)` reserves message ids and returns the first.
        """
        spec, n = batch.spec, batch.tag.size
        if not self._plain(spec, epcs):
            size = 1 if spec.n == 1 else max(1, n)
            parts = [range(at, min(at + size, n)) for at in range(0, n, size)]
            bodies = [self._body(batch, part, epcs, shift_us) for part in parts]
            return b"".join(w.message(Msg.RO_ACCESS_REPORT, next_ids(1), body, version) for body in bodies)
        if spec.n != 1:
            body = _rows(batch, epcs, shift_us, False).tobytes()
            return w.message(Msg.RO_ACCESS_REPORT, next_ids(1), body, version)
        rows = _rows(batch, epcs, shift_us, True)
        rows["h_type"] = version << 10 | Msg.RO_ACCESS_REPORT
        rows["h_length"] = rows.dtype.itemsize
        rows["h_id"] = np.arange(next_ids(n), next_ids(0)) & 0xFFFFFFFF
        return rows.tobytes()

    def _body(self, batch: Batch, part: range, epcs: EpcArray, shift_us: int) -> bytes:
        """One report, tag by tag: with vendor's values, memory words, or ids left out."""
        out: list[bytes] = []
        before: tuple[bytes, bytes] = b"", b""
        for i in part:
            seen = Sighting(
                int(batch.tag[i]),
                int(batch.port[i]),
                int(batch.rssi_cdbm[i]),
                int(batch.channel[i]),
                int(batch.first_us[i]),
                int(batch.last_us[i]),
                int(batch.count[i]),
            )
            ids = _ids(batch.spec, batch.origin, seen)
            fields = b"" if self._omit and ids == before else b"".join(ids)
            before = ids
            values = _values(batch.spec, seen, shift_us) + self._extra(batch.spec, seen, epcs)
            out.append(tlv(Par.TAG_REPORT_DATA, _epc(seen.tag, epcs) + fields + values))
        return b"".join(out)

    @staticmethod
    def _extra(spec: ReportSpec, seen: Sighting, epcs: EpcArray) -> bytes:
        out = b""
        if spec.pc:
            out += tv(Par.C1G2_PC, struct.pack(">H", PC_96_BITS))
        if spec.crc:
            stored = struct.pack(">H", PC_96_BITS) + epcs[seen.tag].tobytes()
            out += tv(Par.C1G2_CRC, struct.pack(">H", crc16(stored)))
        if 56 in spec.impinj:
            out += w.custom(56, struct.pack(">H", phase_angle(seen)))
        if 57 in spec.impinj:
            out += w.custom(57, struct.pack(">h", seen.rssi_cdbm))
        if 68 in spec.impinj:
            out += w.custom(68, struct.pack(">h", (seen.first_us >> 6) % 33 - 16))
        return out


def _epc(tag: int, epcs: EpcArray) -> bytes:
    raw = epcs[tag].tobytes()
    if len(raw) == EPC_96_BYTES:
        return tv(Par.EPC_96, raw)
    return tlv(Par.EPC_DATA, struct.pack(">H", 8 * len(raw)) + raw)


def phase_angle(seen: Sighting) -> int:
    """Phase of the backscatter in 4096ths of a turn: fixed for a tag that stands still, by antenna and channel."""
    turn = seen.tag * 2_654_435_761 + seen.port * 40_503 + seen.channel * 7_919
    return (turn + (seen.first_us >> 4) % 61 - 30) & 0xFFF


def _ids(spec: ReportSpec, origin: Origin, seen: Sighting) -> tuple[bytes, bytes]:
    ids = antenna = b""
    if spec.fields & ROSPEC_ID:
        ids += tv(Par.ROSPEC_ID, struct.pack(">I", origin.rospec_id))
    if spec.fields & SPEC_INDEX:
        ids += tv(Par.SPEC_INDEX, struct.pack(">H", origin.spec_index))
    if spec.fields & INVENTORY_ID:
        ids += tv(Par.INVENTORY_PARAMETER_SPEC_ID, struct.pack(">H", origin.inventory_id))
    if spec.fields & ANTENNA_ID:
        antenna = tv(Par.ANTENNA_ID, struct.pack(">H", seen.port))
    return ids, antenna


def _values(spec: ReportSpec, seen: Sighting, utc_shift_us: int) -> bytes:
    fields = spec.fields
    out = b""
    if fields & PEAK_RSSI:
        out += tv(Par.PEAK_RSSI, struct.pack(">b", max(-128, min(127, (seen.rssi_cdbm + 50) // 100))))
    if fields & CHANNEL:
        out += tv(Par.CHANNEL_INDEX, struct.pack(">H", seen.channel))
    if fields & FIRST_SEEN:
        out += tv(Par.FIRST_SEEN_UTC, struct.pack(">Q", seen.first_us + utc_shift_us))
    if fields & LAST_SEEN:
        out += tv(Par.LAST_SEEN_UTC, struct.pack(">Q", seen.last_us + utc_shift_us))
    if fields & SEEN_COUNT:
        out += tv(Par.TAG_SEEN_COUNT, struct.pack(">H", seen.count))
    if fields & ACCESS_ID:
        out += tv(Par.ACCESSSPEC_ID, struct.pack(">I", 0))
    return out
