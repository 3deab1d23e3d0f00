"""The uplink's book-keeping, without any I/O: what is to be sent, what is on the wire, what the broker has.

Two lanes: live facts (committed since the connection came up) go first, the backlog drains behind them. A chunk is a
contiguous range of seqs that was read at once and left in one or more messages; it is delivered when the broker has
acknowledged all of them. Rows that the journal dropped are simply absent within a chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cloud_bridge.intervals import IntervalSet

RESEND_LIMIT = 20_000
"""On reconnect, facts that the broker had but the platform has not acknowledged are sent again up to this many; beyond
it the broker is believed until the platform asks (a platform that is down for days must not cost the whole backlog on
each reconnect)."""


@dataclass(slots=True)
class Chunk:
    """A range on the wire and the number of its messages that the broker has not acknowledged."""

    from_seq: int
    to_seq: int
    waiting: int


class Outbox:
    """Lanes and deliveries of one uplink."""

    def __init__(self, acked_seq: int) -> None:
        self.acked_seq = acked_seq
        self.live_from = acked_seq + 1
        self.backlog = IntervalSet()
        self._delivered = IntervalSet()
        self._by_token: dict[int, Chunk] = {}

    @property
    def in_flight(self) -> int:
        """Messages that the broker has not acknowledged."""
        return len(self._by_token)

    @property
    def delivered_seq(self) -> int:
        """The broker has everything up to this seq."""
        return self._delivered.edge(self.acked_seq + 1)

    def resume(self, last_seq: int) -> None:
        """A connection came up: everything that is not safely away becomes backlog, what comes now is live."""
        if self._delivered.count <= RESEND_LIMIT:
            self._delivered.clear()
        self.backlog.clear()
        for low, high in self._delivered.gaps(self.acked_seq + 1, last_seq):
            self.backlog.add(low, high)
        self.live_from = last_seq + 1
        self._by_token.clear()

    def sent(self, from_seq: int, to_seq: int, tokens: Sequence[int]) -> None:
        """A chunk left in these messages; none means that it had no rows any more."""
        if not tokens:
            self._delivered.add(from_seq, to_seq)
            return
        chunk = Chunk(from_seq, to_seq, len(tokens))
        for token in tokens:
            self._by_token[token] = chunk

    def acknowledged(self, tokens: Iterable[int]) -> None:
        """The broker has these messages; tokens of other messages are ignored."""
        for token in tokens:
            chunk = self._by_token.pop(token, None)
            if chunk is None:
                continue
            chunk.waiting -= 1
            if chunk.waiting == 0 and chunk.to_seq > self.acked_seq:
                self._delivered.add(max(chunk.from_seq, self.acked_seq + 1), chunk.to_seq)

    def platform_has(self, seq: int) -> None:
        """The platform acknowledged everything up to `seq`: nothing of it needs to be sent any more."""
        self.acked_seq = max(self.acked_seq, seq)
        self.backlog.remove(0, seq)
        self._delivered.remove(0, seq)
        self.live_from = max(self.live_from, seq + 1)

    def send_again(self, from_seq: int, to_seq: int) -> None:
        """The platform misses these, whatever the broker said."""
        to_seq = min(to_seq, self.live_from - 1)
        if to_seq >= from_seq:
            self._delivered.remove(from_seq, to_seq)
            self.backlog.add(from_seq, to_seq)
