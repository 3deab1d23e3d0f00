"""What the platform has of one store's journal: order by seq, duplicates, gaps, boots that cannot both be real.

Pure: numbers in, decisions out; the time is an argument (seconds of a monotonic clock).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from cloud_bridge.intervals import IntervalSet

GAP_GRACE_S = 2.0  # batches of several classes overtake each other for a moment
ASK_AGAIN_S = 5.0
ASK_AGAIN_MOST_S = 60.0
ASK_MOST_SEQS = 50_000
JOINED_SEQS = 200  # a message's worth: between two holes so close everything may as well come again
BACKLOG_SILENCE_S = 30.0  # an announced backlog that does not move is a gap after all
BOOTS_KEPT = 8
BIRTHS_KEPT = 16


class StreamKey(NamedTuple):
    """One journal: a store may have several over the years, one epoch each."""

    tenant: str
    store: str
    epoch: str


@dataclass(slots=True)
class Stream:
    """Progress of one journal. Everything up to `contiguous` has arrived; `above` holds what came beyond a gap.

    Brokers deliver again what was not acknowledged in time (JetStream after 30 s, and out of order while a cluster
    elects leaders), so nothing here may rest on the order in which births, wills and events come.
    """

    key: StreamKey
    contiguous: int = 0
    above: IntervalSet = field(default_factory=IntervalSet)
    boots: dict[int, tuple[int, int]] = field(default_factory=dict)  # boot → its lowest and highest seq
    births: dict[int, str] = field(default_factory=dict)  # boot → the process that was born in it
    refused: str = ""
    online: bool | None = None  # None: not known, as of a journal from which only events were heard
    promised: int = 0  # the store says that it has so many
    backlog: tuple[int, int] | None = None
    born_with: tuple[int, str] = (0, "")  # last_seq and time of the newest birth
    arrived_at_s: float = 0.0
    hole: tuple[int, int] | None = None
    hole_since_s: float = 0.0
    ask_at_s: float = 0.0
    ask_pause_s: float = ASK_AGAIN_S

    def accept(self, seq: int, boot: int, now_s: float) -> bool:
        """Take in one event; False for a duplicate or from a refused journal. May set `refused`.

        Whoever sends what is new is there, also where an older connection's will came late.
        """
        self.arrived_at_s = now_s
        if self.refused or not self._boot_fits(seq, boot):
            return False
        if seq <= self.contiguous or seq in self.above:
            return False
        self.online = True
        self._take(seq, seq)
        return True

    def cover(self, missing: Iterable[tuple[int, int]]) -> int:
        """A Gap fact: these will never come and count as received. How many of them were missing here."""
        covered = 0
        for low, high in missing:
            covered += sum(end - start + 1 for start, end in self.above.gaps(max(low, self.contiguous + 1), high))
            self._take(low, high)
        return covered

    def _take(self, low: int, high: int) -> None:
        if low <= self.contiguous + 1:
            self.contiguous = max(self.contiguous, high)
            if self.above:
                self.contiguous = max(self.contiguous, self.above.edge(self.contiguous + 1))
                self.above.remove(0, self.contiguous)
            return
        self.above.add(low, high)

    # --- two boots in one epoch -----------------------------------------------------------------------------------

    def _boot_fits(self, seq: int, boot: int) -> bool:
        """Boots rise with seq: each boot's range of seqs lies wholly before that of the next one."""
        low, high = self.boots.get(boot, (seq, seq))
        if boot in self.boots and low <= seq <= high:
            return True
        low, high = min(low, seq), max(high, seq)
        for other, (other_low, other_high) in self.boots.items():
            if (other < boot and other_high >= low) or (other > boot and other_low <= high):
                self.refused = f"boots {min(boot, other)} and {max(boot, other)} alternate in one epoch (seq {seq})"
                return False
        self.boots[boot] = (low, high)
        if len(self.boots) > BOOTS_KEPT:
            del self.boots[min(self.boots)]
        return True

    def born(self, boot: int, instance: str, promised: int, now_s: float, time: str = "") -> bool:
        """A birth; False for one that comes late and says nothing new. May set `refused`.

        A gateway counts its boot on the disk before its first birth, so a boot belongs to one process for ever: two in
        one boot are a cloned or restored card, in whatever order their births come. A birth of an older boot is one
        that was delivered again; were its process alive, its events would tell (`_boot_fits`).
        """
        newest = max(max(self.births, default=0), max(self.boots, default=0))
        if not self._own_birth(boot, instance):
            return False
        if boot < newest:
            if len(self.births) >= BIRTHS_KEPT and boot <= min(self.births):  # no broker keeps a birth for so long
                self.refused = self.refused or f"boot {boot} came after boot {newest} in one epoch"
            return False
        late = promised < self.born_with[0] or (bool(time) and (promised, time) == self.born_with)
        if boot == newest and late:
            return False
        self.born_with = (promised, time)
        self.online, self.backlog = True, None
        self._promise(promised, now_s)
        return True

    def _own_birth(self, boot: int, instance: str) -> bool:
        """Whether no other process was born in this boot; remembers this one."""
        if not instance:
            return True
        if self.births.setdefault(boot, instance) != instance:
            self.refused = self.refused or f"two processes in boot {boot} of one epoch"
            return False
        if len(self.births) > BIRTHS_KEPT:
            del self.births[min(self.births)]
        return True

    def connected(self, boot: int, online: bool) -> None:
        """``connection``, also as the will; one of another boot than the newest comes late."""
        if boot == max(self.births, default=boot):
            self.online = online

    def announced(self, backlog: tuple[int, int] | None, promised: int, now_s: float) -> None:
        """``state/gateway``: the range that drains behind live facts, and how much there is in all."""
        self.backlog = backlog
        self._promise(promised, now_s)

    def _promise(self, promised: int, now_s: float) -> None:
        self.promised = max(self.promised, promised)
        self.arrived_at_s = now_s
        self.hole = None

    # --- several workers of one journal ---------------------------------------------------------------------------

    def absorb(self, other: Stream) -> None:
        """Take in what another worker has of the same journal. May set `refused`."""
        self._take(1, other.contiguous)
        for low, high in other.above:
            self._take(low, high)
        self.promised = max(self.promised, other.promised)
        self.refused = self.refused or other.refused
        for boot, instance in other.births.items():
            self._own_birth(boot, instance)
        for boot, (low, high) in sorted(other.boots.items()):
            if not self.refused and self._boot_fits(low, boot):
                self._boot_fits(high, boot)

    # --- gaps -----------------------------------------------------------------------------------------------------

    def holes(self) -> list[tuple[int, int]]:
        """What is missing below the highest seq known to exist."""
        top = max(self.promised, self.above.last if self.above else 0)
        return self.above.gaps(self.contiguous + 1, top)

    def to_ask(self, now_s: float) -> tuple[int, int] | None:
        """The range to ask a replay of now, None when there is nothing to ask (again) yet."""
        first = self._first_hole(now_s)
        if first is None:
            self.hole, self.ask_pause_s = None, ASK_AGAIN_S
            return None
        if self.hole is None or self.hole[0] != first[0]:
            self.hole, self.hole_since_s = first, now_s
            self.ask_at_s, self.ask_pause_s = now_s + GAP_GRACE_S, ASK_AGAIN_S
        if now_s < self.ask_at_s:
            return None
        self.ask_at_s = now_s + self.ask_pause_s
        self.ask_pause_s = min(ASK_AGAIN_MOST_S, self.ask_pause_s * 2)
        return first[0], min(first[1], first[0] + ASK_MOST_SEQS - 1)

    def _first_hole(self, now_s: float) -> tuple[int, int] | None:
        """Holes that lie close together are asked for as one: each alone would wait for the one before it."""
        if self.online is False or self.refused:
            return None
        draining = self.backlog if now_s - self.arrived_at_s < BACKLOG_SILENCE_S else None
        found: tuple[int, int] | None = None
        for low, high in self.holes():
            if draining and draining[0] <= low and high <= draining[1]:
                continue
            if found is None:
                found = low, high
            elif low - found[1] <= JOINED_SEQS:
                found = found[0], high
            else:
                break
        return found
