"""Collects reports for a moment and makes observations of them: one TagReads a batch and EPC width."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from devices.driver import DriverContext
from devices.rfid_llrp.reader_clock import ReaderClock
from devices.rfid_llrp.reports import NO_RSSI_CDBM, ReportDecoder, TagColumns
from edge.core.observation import TagReads

MAX_BATCH_BYTES = 1 << 19  # 17,000 tags: 56 ms of the fastest store
_STAMPS = ("last_seen_utc_us", "last_seen_uptime_us", "first_seen_utc_us", "first_seen_uptime_us")


class ReportBatch:
    """Bounded: `full` asks to be taken early."""

    def __init__(self, context: DriverContext) -> None:
        self._context = context
        self._decoder = ReportDecoder()
        self._clocks: dict[str, ReaderClock] = {}
        self._bodies: list[bytes] = []
        self._n_bytes = 0
        self._arrived_us = 0

    def __bool__(self) -> bool:
        return bool(self._bodies)

    @property
    def full(self) -> bool:
        """Whether it must be taken now."""
        return self._n_bytes >= MAX_BATCH_BYTES

    def add(self, bodies: list[bytes], arrived_us: int) -> None:
        """Bodies of RO_ACCESS_REPORTs that came at `arrived_us` (engine time)."""
        if bodies:
            self._bodies += bodies
            self._n_bytes += sum(map(len, bodies))
            self._arrived_us = arrived_us

    def take(self) -> list[TagReads]:
        """All reads collected so far; the batch is empty then."""
        rejected = self._decoder.rejected_bytes
        tags = self._decoder.decode(self._bodies)
        self._bodies, self._n_bytes = [], 0
        if self._decoder.rejected_bytes != rejected:
            self._context.count("report_bytes_rejected", self._decoder.rejected_bytes - rejected)
        if not tags.n:
            return []
        self._context.count("tags_in", tags.n)
        seen_us = self._seen_us(tags)
        antenna = _column(tags, "antenna", 0).astype(np.uint16)
        count = np.clip(_column(tags, "count", 1), 1, 65535).astype(np.uint16)
        rssi_cdbm = _rssi_cdbm(tags)
        device_id, now_us = self._context.device_id, self._context.now_us()
        if len(tags.epcs) == 1:
            return [TagReads(device_id, now_us, tags.epcs[0][1], antenna, rssi_cdbm, seen_us, count)]
        return [
            TagReads(device_id, now_us, epc, antenna[rows], rssi_cdbm[rows], seen_us[rows], count[rows])
            for rows, epc in tags.epcs
        ]

    def _seen_us(self, tags: TagColumns) -> NDArray[np.int64]:
        name = next((name for name in _STAMPS if name in tags.columns), None)
        if name is None:
            return np.full(tags.n, self._arrived_us, np.int64)
        clock = self._clocks.setdefault(name, ReaderClock())
        seen_us = clock.map(tags.columns[name], self._arrived_us)
        self._context.counters["reader_clock_steps"] = clock.steps
        return seen_us


def _column(tags: TagColumns, name: str, default: int) -> NDArray[np.int64]:
    column = tags.columns.get(name)
    return column if column is not None else np.full(tags.n, default, np.int64)


def _rssi_cdbm(tags: TagColumns) -> NDArray[np.int16]:
    fine = tags.columns.get("impinj_rssi_cdbm")
    if fine is not None:
        return fine.astype(np.int16)
    whole = tags.columns.get("peak_rssi_dbm")
    return (whole * 100 if whole is not None else np.full(tags.n, NO_RSSI_CDBM)).astype(np.int16)
