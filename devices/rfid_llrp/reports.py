"""RO_ACCESS_REPORT bodies to columns, without an object a tag (LLRP 1.1, 14.2.1 and 17.2.6).

A reader builds all its TagReportData alike, so the parameters of one are parsed and the others are compared with it:
where types, lengths and order agree, every field stands at the same offset and numpy takes whole columns. Tags that
are built differently become a group of their own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devices.rfid_llrp.tables import IMPINJ, TV_LENGTHS

TAG_REPORT_DATA = 240
EPC_DATA = 241
EPC_96 = 13
CUSTOM = 1023
MAX_GROUPS = 8  # layouts that are compared with all tags of a batch; what is left is read one by one
MIN_TAG_BYTES = 11  # TagReportData (4) with an EPCData (6) of one byte
NO_RSSI_CDBM = -12_800  # the lowest PeakRSSI there is (s8): this reader does not tell

Fields = dict[str, tuple[int, str]]  # column → (offset in the TagReportData, numpy type)
# TV type → (column, numpy type); the value follows the type byte
_TV_COLUMNS = {
    1: ("antenna", ">u2"),
    2: ("first_seen_utc_us", ">u8"),
    3: ("first_seen_uptime_us", ">u8"),
    4: ("last_seen_utc_us", ">u8"),
    5: ("last_seen_uptime_us", ">u8"),
    6: ("peak_rssi_dbm", "i1"),
    7: ("channel", ">u2"),
    8: ("count", ">u2"),
    9: ("rospec", ">u4"),
    10: ("inventory_spec", ">u2"),
    11: ("crc", ">u2"),
    12: ("pc", ">u2"),
    14: ("spec_index", ">u2"),
    16: ("access_spec", ">u4"),
    19: ("xpc_w1", ">u2"),
    20: ("xpc_w2", ">u2"),
}
# Impinj subtypes → (column, numpy type, bytes of the whole parameter)
_IMPINJ_COLUMNS = {
    56: ("phase", ">u2", 14),  # 1/4096 of a turn
    57: ("impinj_rssi_cdbm", ">i2", 14),  # 1/100 dBm
    68: ("doppler", ">i2", 14),  # 1/16 Hz
}
_SIZES = {"i1": 1, ">u2": 2, ">i2": 2, ">u4": 4, ">u8": 8}
_DEFAULTS = {"count": 1, "peak_rssi_dbm": NO_RSSI_CDBM // 100}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things stand in a TagReportData of `length` bytes; `fixed` are the offsets that make it this layout."""

    length: int
    epc_offset: int
    epc_bytes: int
    fields: Fields
    fixed: NDArray[np.intp]
    signature: NDArray[np.uint8]

    def fits(self, table: NDArray[np.uint8]) -> bool:
        """Whether all tags (n, length) are built like this."""
        return bool((table.take(self.fixed, axis=1) == self.signature).all())


@dataclass(frozen=True, slots=True)
class TagColumns:
    """n tags in the order in which they came. epcs: (rows (k,), epc (k, width) uint8) by width.

    columns are (n,) int64 by name (see `_TV_COLUMNS`, `_IMPINJ_COLUMNS`); a name is there if any tag ever told it.
    """

    n: int
    epcs: tuple[tuple[NDArray[np.intp], NDArray[np.uint8]], ...]
    columns: dict[str, NDArray[np.int64]]


class ReportDecoder:
    """Decodes the reports of one connection; keeps what "unchanged since the last tag" refers to.

    LLRP 1.1, 14.2.3.1: a field that the client asked for and that a report leaves out has the value it had in the
    tag before. Accounting: bytes in = accepted_bytes + rejected_bytes + skipped_bytes (parameters that are no tags).
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._layout: Layout | None = None
        self.accepted_bytes = 0
        self.rejected_bytes = 0
        self.skipped_bytes = 0
        self.rejected_tags = 0

    def decode(self, bodies: Sequence[bytes]) -> TagColumns:
        """The tags of some report bodies, in order. Never raises; garbage is counted and left out."""
        joined = bodies[0] if len(bodies) == 1 else b"".join(bodies)
        groups = self._alike(joined)
        if groups is None:
            groups = self._mixed(bodies)
        n = sum(len(rows) for _, rows, _ in groups)
        if len(groups) > 1 or (groups and groups[0][1][-1] != n - 1):
            groups = _renumbered(groups)
        return self._columns(n, groups)

    def _alike(self, joined: bytes) -> list[_Group] | None:
        """All tags of one layout, the one of the last batch or that of the first tag; None where they differ."""
        if len(joined) < 4:
            return None
        length = joined[2] << 8 | joined[3]
        if length < 4 or len(joined) % length:
            return None
        table = np.frombuffer(joined, np.uint8).reshape(-1, length)
        layout = self._layout
        if layout is None or layout.length != length or not layout.fits(table):
            layout = read_layout(joined[:length])
            if layout is None or not layout.fits(table):
                return None
        self._layout = layout
        self.accepted_bytes += len(joined)
        return [(layout, np.arange(len(table)), table)]

    def _mixed(self, bodies: Sequence[bytes]) -> list[_Group]:
        """Tags of several layouts: by length first, then by comparison with the first of each kind."""
        by_length: dict[int, tuple[list[int], list[bytes]]] = {}
        n = 0
        for body in bodies:
            for tag in self._split(body):
                rows, tags = by_length.setdefault(len(tag), ([], []))
                rows.append(n)
                tags.append(tag)
                n += 1
        groups: list[_Group] = []
        for length, (rows, tags) in by_length.items():
            table = np.frombuffer(b"".join(tags), np.uint8).reshape(-1, length)
            groups += self._sorted_by_layout(np.array(rows), table)
        return groups

    def _split(self, body: bytes) -> list[bytes]:
        tags = []
        at, end = 0, len(body)
        while at < end:
            number, length = struct.unpack_from(">HH", body, at) if end - at >= 4 else (0, 0)
            if not 4 <= length <= end - at:
                self.rejected_bytes += end - at
                break
            if number & 0x3FF == TAG_REPORT_DATA:
                tags.append(body[at : at + length])
            else:
                self.skipped_bytes += length
            at += length
        return tags

    def _sorted_by_layout(self, rows: NDArray[np.intp], table: NDArray[np.uint8]) -> list[_Group]:
        groups: list[_Group] = []
        for _ in range(MAX_GROUPS):
            layout = read_layout(table[0].tobytes()) if len(rows) else None
            if layout is None:
                break
            same = (table.take(layout.fixed, axis=1) == layout.signature).all(axis=1)
            groups.append((layout, rows[same], table[same]))
            rows, table = rows[~same], table[~same]
        groups += self._one_by_one(rows, table)
        self.accepted_bytes += sum(chosen.size for _, _, chosen in groups)
        return groups

    def _one_by_one(self, rows: NDArray[np.intp], table: NDArray[np.uint8]) -> list[_Group]:
        """What is left when the first tag is malformed, or there are too many kinds to compare all with each."""
        groups: list[_Group] = []
        for at in range(len(rows)):
            layout = read_layout(table[at].tobytes()) if table.shape[1] >= MIN_TAG_BYTES else None
            if layout is None:
                self.rejected_bytes += table.shape[1]
                self.rejected_tags += 1
            else:
                groups.append((layout, rows[at : at + 1], table[at : at + 1]))
        return groups

    def _columns(self, n: int, groups: list[_Group]) -> TagColumns:
        names = dict.fromkeys(self._last)
        for layout, _, _ in groups:
            names.update(dict.fromkeys(layout.fields))
        columns = {name: self._column(name, n, groups) for name in names} if n else {}
        epcs = []
        for width in dict.fromkeys(layout.epc_bytes for layout, _, _ in groups):
            mine = [group for group in groups if group[0].epc_bytes == width]
            rows = np.concatenate([rows for _, rows, _ in mine])
            epc = np.concatenate([t[:, g.epc_offset : g.epc_offset + width] for g, _, t in mine])
            if len(mine) > 1:  # concatenate also copies: nothing keeps the report's bytes alive
                order = np.argsort(rows)
                rows, epc = rows[order], epc[order]
            epcs.append((rows, epc))
        return TagColumns(n, tuple(epcs), columns)

    def _column(self, name: str, n: int, groups: list[_Group]) -> NDArray[np.int64]:
        if len(groups) == 1:
            layout, _, table = groups[0]
            if name not in layout.fields:
                return np.full(n, self._last[name], np.int64)
            column = _take(layout, name, table)
        else:
            column = self._filled(name, n, groups)
        self._last[name] = int(column[-1])
        return column

    def _filled(self, name: str, n: int, groups: list[_Group]) -> NDArray[np.int64]:
        """A column that some layouts leave out: there the value of the tag before stands."""
        column = np.zeros(n, np.int64)
        told = np.zeros(n, bool)
        for layout, rows, table in groups:
            if name in layout.fields:
                column[rows] = _take(layout, name, table)
                told[rows] = True
        source = np.maximum.accumulate(np.where(told, np.arange(n), -1))
        before = self._last.get(name, _DEFAULTS.get(name, 0))
        return np.where(source >= 0, column[source], before)


_Group = tuple[Layout, NDArray[np.intp], NDArray[np.uint8]]


def _renumbered(groups: list[_Group]) -> list[_Group]:
    """Rows without the holes that rejected tags left."""
    order = np.sort(np.concatenate([rows for _, rows, _ in groups]))
    return [(layout, np.searchsorted(order, rows), table) for layout, rows, table in groups]


def _take(layout: Layout, name: str, table: NDArray[np.uint8]) -> NDArray[np.int64]:
    offset, kind = layout.fields[name]
    size = _SIZES[kind]
    return np.ascontiguousarray(table[:, offset : offset + size]).view(kind).ravel().astype(np.int64)


def read_layout(tag: bytes) -> Layout | None:
    """The layout of one whole TagReportData; None where it contradicts itself or has no EPC."""
    fields: Fields = {}
    fixed = [0, 1, 2, 3]
    epc: tuple[int, int] | None = None
    at = 4
    while at < len(tag):
        if tag[at] & 0x80:
            number, length = tag[at] & 0x7F, TV_LENGTHS.get(tag[at] & 0x7F, 0)
            fixed.append(at)
            if number == EPC_96:
                epc = (at + 1, 12)
            elif number in _TV_COLUMNS:
                name, kind = _TV_COLUMNS[number]
                fields[name] = (at + 1, kind)
        else:
            number, length = struct.unpack_from(">HH", tag, at) if len(tag) - at >= 4 else (0, 0)
            epc = _tlv_layout(tag[at : at + length], at, fields, fixed) or epc
        if length < 1 or at + length > len(tag):
            return None
        at += length
    if epc is None or epc[1] == 0:
        return None
    offsets = np.array(fixed)
    return Layout(len(tag), *epc, fields, offsets, np.frombuffer(tag, np.uint8)[offsets])


def _tlv_layout(tlv: bytes, at: int, fields: Fields, fixed: list[int]) -> tuple[int, int] | None:
    """Notes a TLV's fields; (offset, bytes) of the EPC if it is one."""
    fixed += range(at, at + min(4, len(tlv)))
    number = (tlv[0] << 8 | tlv[1]) & 0x3FF if len(tlv) >= 4 else 0
    if number == EPC_DATA and len(tlv) >= 6:
        fixed += (at + 4, at + 5)
        n_bytes = -(-(tlv[4] << 8 | tlv[5]) // 8)
        return (at + 6, n_bytes) if 6 + n_bytes <= len(tlv) else None
    if number == CUSTOM and len(tlv) >= 12:
        fixed += range(at + 4, at + 12)
        vendor, subtype = struct.unpack_from(">II", tlv, 4)
        column = _IMPINJ_COLUMNS.get(subtype) if vendor == IMPINJ else None
        if column is not None and len(tlv) == column[2]:
            fields[column[0]] = (at + 12, column[1])
    return None
