"""The live feed: committed facts as server-sent events, read and rendered once for all who listen."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from edge.core.fact import StoredFact, kind_of
from edge.core.ports import FactLog

RING = 512
READ = 200


def fact_document(stored: StoredFact) -> dict[str, Any]:
    """A committed fact for people and scripts."""
    return {
        "seq": stored.seq,
        "type": kind_of(stored.type),
        "time_us": stored.event_us,
        "time_quality": stored.quality.value,
        **stored.fields,
    }


def event_of(stored: StoredFact) -> bytes:
    """One event of the stream; its id is the fact's seq."""
    data = json.dumps(fact_document(stored), ensure_ascii=False)
    return f"id: {stored.seq}\nevent: fact\ndata: {data}\n\n".encode()


class Feed:
    """Keeps the last events rendered: a hundred listeners cost one read of the journal, not a hundred."""

    def __init__(self, log: FactLog) -> None:
        self._log = log
        self._ring: deque[tuple[int, bytes]] = deque(maxlen=RING)

    def after(self, seq: int) -> tuple[bytes, int]:
        """Events after `seq`, at most `READ` of them, and the seq to go on from."""
        self._fill(seq)
        if self._ring and self._ring[0][0] <= seq + 1:
            rows = [row for row in self._ring if row[0] > seq][:READ]
        else:
            rows = [(stored.seq, event_of(stored)) for stored in self._log.read(seq + 1, READ)]
        if not rows:
            return b"", seq
        return b"".join(event for _, event in rows), rows[-1][0]

    def _fill(self, seq: int) -> None:
        last = self._ring[-1][0] if self._ring else max(seq, self._log.last_seq - RING)
        while last < self._log.last_seq:
            rows = self._log.read(last + 1, READ)
            if not rows:
                return
            self._ring.extend((stored.seq, event_of(stored)) for stored in rows)
            last = rows[-1].seq
