"""UHF RFID as physics: which tag an antenna reads in a round, and how strong.

A tag's level at an antenna is path loss + tag (orientation, detuning) + antenna + static multipath of this place +
isolation of the shelf's walls + a fading process correlated in time (Ornstein-Uhlenbeck). Whether a round reads it
is a logistic function of the margin over the tag's wake-up level. People who stand before an antenna take some dB;
a crowd of tags shares the slots of a round. Reads are drawn in blocks of several rounds and patched when a tag comes
or goes, so that a store of hundreds of tags costs microseconds a second.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firmware_sim.layout import Reader

BLOCK_US = 8_000_000
KEEP_US = 120_000_000
"""Reads nobody fetched are forgotten after this long."""
LEVEL_AT_HALF_METRE_DBM = -50.0
FADE_DB_PER_LOGIT = 2.0
NEVER_READ_SLOPES = 2.75
"""Below this margin (in slopes) a tag counts as out of view."""
REACH_M = 6.0

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RadioProfile:
    """How hard the radio is. The defaults are the mild world of the demo store."""

    round_us: int = 1_000_000
    wake_dbm: float = -57.5
    slope_db: float = 4.0
    tag_sd_db: float = 1.5
    antenna_sd_db: float = 0.7
    multipath_sd_db: float = 1.2
    isolation_db: tuple[float, float] = (5.0, 10.0)
    """Loss through the wall to another shelf, drawn for each (antenna, shelf)."""
    fade_sd_logit: float = 0.4
    fade_tau_s: tuple[float, float] = (4.0, 40.0)
    carried_loss_db: float = 6.0
    block_db: float = 0.0
    """What a person before an antenna takes (0: the antennas hang above the goods)."""
    reads_per_round: int = 700
    """Slots a reader can fill in one round; beyond it, collisions thin the reads."""


MILD = RadioProfile()
FIELD = RadioProfile(
    wake_dbm=-55.0,
    tag_sd_db=3.0,
    antenna_sd_db=2.0,
    multipath_sd_db=3.0,
    isolation_db=(3.0, 12.0),
    fade_sd_logit=1.3,
    block_db=8.0,
)
"""The field world of 4-inference.md: read rates 0.3-0.95, neighbours 8-18 dB weaker, people who block."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Columns of reads in time order."""

    t_us: IntArray
    tag: IntArray
    """Index of the item in the world."""
    port: IntArray
    rssi_cdbm: IntArray
    """Level in hundredths of a dBm."""


class ReaderField:
    """What the antennas of one reader see, as columns with one row for each (tag, antenna) pair in view."""

    def __init__(self, reader: Reader, profile: RadioProfile, seed: tuple[int, ...]) -> None:
        self.reader = reader
        self._profile = profile
        self._rng = np.random.default_rng(seed)
        self._chance = random.Random(f"{seed}")
        n = len(reader.antennas)
        slot = profile.round_us // max(1, n)
        self._slot_us = slot
        """The reader switches its antennas on one after the other, each for this part of a round."""
        self._ports = np.array([antenna.port for antenna in reader.antennas], np.int64)
        self.offset_db = self._rng.normal(0.0, profile.antenna_sd_db, n)
        self._handicap_db = np.zeros(n)
        self._alive = [True] * n
        self._tag = np.zeros(0, np.int64)
        self._antenna = np.zeros(0, np.int64)
        self._mean = np.zeros(0)
        self._fade = np.zeros(0)
        self._decay = np.zeros(0)
        none = np.zeros(0, np.int64)
        self._reads = Reads(none, none, none, none)
        self._late: dict[int, list[tuple[int, int, int, int]]] = {}
        """Reads (t, tag, antenna, level) of tags that came into view within the current block, by tag."""
        self._gone: list[tuple[int, int]] = []
        """(t, tag): reads of the current block that do not happen, since the tag went."""
        self._covered_us = 0
        self._left: set[int] = set()
        """Tags whose rows are to be dropped from the columns, before the next draw …"""
        self._came: list[tuple[int, int, float, float, float]] = []
        """… and the rows (tag, antenna, mean, fade, decay) of newcomers, to be added then."""

    def _settle(self) -> None:
        """Bring the columns up to date: once a block costs less than with each tag that comes or goes."""
        if self._left:
            keep = np.flatnonzero(~np.isin(self._tag, list(self._left)))
            self._tag, self._antenna = self._tag.take(keep), self._antenna.take(keep)
            self._mean, self._fade, self._decay = self._mean.take(keep), self._fade.take(keep), self._decay.take(keep)
            self._left.clear()
        if self._came:
            tag, antenna, *columns = zip(*self._came, strict=True)
            self._tag = np.concatenate((self._tag, tag))
            self._antenna = np.concatenate((self._antenna, antenna))
            self._mean = np.concatenate((self._mean, columns[0]))
            self._fade = np.concatenate((self._fade, columns[1]))
            self._decay = np.concatenate((self._decay, columns[2]))
            self._came.clear()

    def _draw(self, t0_us: int, t1_us: int) -> Reads:
        """Draw all reads in [t0, t1) and move the fading on."""
        self._settle()
        profile, rng = self._profile, self._rng
        first, rounds = t0_us // profile.round_us, -(-t1_us // profile.round_us) - t0_us // profile.round_us
        kick = rng.standard_normal((rounds, self._tag.size))
        kick *= profile.fade_sd_logit * np.sqrt(1.0 - self._decay * self._decay)
        kick[0] += self._decay * self._fade
        for r in range(1, rounds):
            kick[r] += self._decay * kick[r - 1]
        self._fade = kick[-1]
        margin = self._mean - (profile.wake_dbm + self._handicap_db)[self._antenna]
        p = np.exp(-(kick + margin / profile.slope_db))
        p += 1.0
        np.reciprocal(p, out=p)
        if self._tag.size > profile.reads_per_round:
            p *= np.minimum(1.0, profile.reads_per_round / np.maximum(p.sum(axis=1, keepdims=True), 1.0))
        row, col = np.nonzero(rng.random(p.shape) < p)
        antenna = self._antenna[col]
        t_us = (first + row) * profile.round_us + antenna * self._slot_us + rng.integers(0, self._slot_us, row.size)
        level = self._mean[col] + FADE_DB_PER_LOGIT * kick[row, col] + 0.8 * rng.standard_normal(row.size)
        order = np.argsort(t_us)
        if t0_us % profile.round_us:
            order = order[t_us[order] >= t0_us]
        half_db = np.rint(2.0 * level[order]).astype(np.int64)
        return Reads(t_us[order], self._tag[col[order]], self._ports[antenna[order]], 50 * half_db)

    def _draw_one(self, t0_us: int, tag: int, antenna: int, mean_dbm: float) -> None:
        """Draw the reads of one newcomer up to the end of the block."""
        profile, gauss, luck = self._profile, self._chance.gauss, self._chance.random
        fade = gauss(0.0, profile.fade_sd_logit)
        tau_s = self._chance.uniform(*profile.fade_tau_s)
        decay = math.exp(-profile.round_us / 1e6 / tau_s)
        kick = profile.fade_sd_logit * math.sqrt(1.0 - decay * decay)
        margin = (mean_dbm - profile.wake_dbm - float(self._handicap_db[antenna])) / profile.slope_db
        late = self._late.setdefault(tag, [])
        first_us = t0_us - t0_us % profile.round_us + antenna * self._slot_us
        for round_us in range(first_us, self._covered_us, profile.round_us):
            fade = decay * fade + kick * gauss(0.0, 1.0)
            if luck() * (1.0 + math.exp(-margin - fade)) < 1.0:
                t_us = round_us + int(luck() * self._slot_us)
                if t_us >= t0_us:
                    level = mean_dbm + FADE_DB_PER_LOGIT * fade + gauss(0.0, 0.8)
                    late.append((t_us, tag, antenna, 50 * round(2.0 * level)))
        self._came.append((tag, antenna, mean_dbm, fade, decay))

    def _patch(self) -> None:
        """Apply what came and went since the block was drawn."""
        late = [read for reads in self._late.values() for read in reads]
        self._late.clear()
        if not self._gone and not late:
            return
        since_us = min(read[0] for read in (*self._gone, *late))  # what was read before stays as it is
        split = int(self._reads.t_us.searchsorted(since_us))
        before, reads = _taken(self._reads, slice(0, split)), _taken(self._reads, slice(split, None))
        if self._gone:
            keep = np.ones(reads.t_us.size, np.bool_)
            for t_us, tag in self._gone:
                keep &= (reads.tag != tag) | (reads.t_us < t_us)
            reads = _taken(reads, np.flatnonzero(keep))
            self._gone.clear()
        if late:
            t_us, tag, antenna, level = np.array(late, np.int64).T
            reads = _joined(reads, Reads(t_us, tag, self._ports[antenna], level))
            reads = _taken(reads, np.argsort(reads.t_us, kind="stable"))
        self._reads = _joined(before, reads)

    def cover(self, t_us: int, keep_us: int | None = None) -> None:
        """Draw blocks until they reach `t_us`; reads from `keep_us` on are not forgotten."""
        if t_us <= self._covered_us:
            return
        self._patch()
        while self._covered_us < t_us:
            end = (self._covered_us // BLOCK_US + 1) * BLOCK_US
            fresh = self._draw(self._covered_us, end)
            forget_us = end - KEEP_US if keep_us is None else min(keep_us, end - KEEP_US)
            old = int(np.searchsorted(self._reads.t_us, forget_us))
            self._reads = _joined(_taken(self._reads, slice(old, None)), fresh)
            self._covered_us = end

    def join(self, t_us: int, tag: int, antenna: int, mean_dbm: float) -> None:
        """A tag comes into view of antenna number `antenna`."""
        self.cover(t_us + 1)
        if self._alive[antenna]:
            self._draw_one(t_us, tag, antenna, mean_dbm)
        else:
            self._came.append((tag, antenna, mean_dbm, 0.0, 0.9))

    def join_many(self, tags: list[int], antennas: list[int], means_dbm: list[float]) -> None:
        """Many tags at the start of time, before anything was read."""
        profile, n = self._profile, len(tags)
        tau_s = self._rng.uniform(*profile.fade_tau_s, n)
        self._tag = np.concatenate((self._tag, np.array(tags, np.int64)))
        self._antenna = np.concatenate((self._antenna, np.array(antennas, np.int64)))
        self._mean = np.concatenate((self._mean, means_dbm))
        self._fade = np.concatenate((self._fade, self._rng.normal(0.0, profile.fade_sd_logit, n)))
        self._decay = np.concatenate((self._decay, np.exp(-profile.round_us / 1e6 / tau_s)))

    def leave(self, t_us: int, tag: int) -> None:
        """A tag goes out of view of every antenna of this reader."""
        self.cover(t_us + 1)
        self._left.add(tag)
        if any(row[0] == tag for row in self._came):
            self._came = [row for row in self._came if row[0] != tag]
        self._gone.append((t_us, tag))
        if late := self._late.get(tag):
            self._late[tag] = [read for read in late if read[0] < t_us]

    def _redraw(self, t_us: int) -> None:
        self._patch()
        past = _taken(self._reads, slice(0, int(np.searchsorted(self._reads.t_us, t_us))))
        self._reads = _joined(past, self._draw(t_us, self._covered_us))

    def block(self, t_us: int, antenna: int, people: int) -> None:
        """`people` more (or fewer) stand between an antenna and the goods."""
        self.cover(t_us + 1)
        if self._profile.block_db and self._alive[antenna]:
            self._handicap_db[antenna] += people * self._profile.block_db
            self._redraw(t_us)

    def set_alive(self, t_us: int, port: int, alive: bool) -> None:
        """Cut or mend an antenna's cable."""
        self.cover(t_us + 1)
        antenna = self._ports.tolist().index(port)
        self._alive[antenna] = alive
        self._handicap_db[antenna] = 0.0 if alive else 1000.0
        self._redraw(t_us)

    def connected(self) -> dict[int, bool]:
        """Whether each antenna's cable is whole, by port."""
        return dict(zip(self._ports.tolist(), self._alive, strict=True))

    def fetch(self, t0_us: int, t1_us: int) -> Reads:
        """The reads with t0 <= t < t1; much earlier ones are forgotten."""
        self.cover(t1_us, t0_us)
        if self._gone or self._late:
            self._patch()
        reads = self._reads
        low, high = reads.t_us.searchsorted((t0_us, t1_us)).tolist()
        out = _taken(reads, slice(low, high))
        if low > 8192:
            self._reads = _taken(reads, slice(low, None))
        return out


def _taken(reads: Reads, part: slice | IntArray) -> Reads:
    return Reads(reads.t_us[part], reads.tag[part], reads.port[part], reads.rssi_cdbm[part])


def _joined(a: Reads, b: Reads) -> Reads:
    return Reads(
        np.concatenate((a.t_us, b.t_us)),
        np.concatenate((a.tag, b.tag)),
        np.concatenate((a.port, b.port)),
        np.concatenate((a.rssi_cdbm, b.rssi_cdbm)),
    )


class RadioField:
    """All antennas of the store and the levels of tags at them."""

    def __init__(self, readers: tuple[Reader, ...], profile: RadioProfile, seed: int) -> None:
        self._profile = profile
        self._chance = random.Random(f"{seed}:radio")
        self._readers = {r.device: ReaderField(r, profile, (seed, 0xA7, i)) for i, r in enumerate(readers)}
        self._antennas = [(one, k, a) for one in self._readers.values() for k, a in enumerate(one.reader.antennas)]
        self._seen_by: dict[int, list[ReaderField]] = {}
        self._isolation: dict[tuple[int, str], float] = {}
        self._tag_db: dict[int, float] = {}
        self._stocking: list[tuple[ReaderField, int, int, float]] | None = []

    def _level(self, index: int, tag: int, at_m: tuple[float, float], shelf: str | None) -> float:
        """Mean level of a tag at antenna `index` in dBm, without multipath."""
        one, number, antenna = self._antennas[index]
        distance = max(0.3, math.hypot(at_m[0] - antenna.x_m, at_m[1] - antenna.y_m))
        level = LEVEL_AT_HALF_METRE_DBM - 20.0 * math.log10(distance / 0.5)
        if shelf is not None and shelf != antenna.shelf:
            key = (index, shelf)
            if key not in self._isolation:
                self._isolation[key] = self._chance.uniform(*self._profile.isolation_db)
            level -= self._isolation[key]
        return level + float(one.offset_db[number]) + self._tag_db[tag]

    def place(self, t_us: int, tag: int, at_m: tuple[float, float], shelf: str | None, loss_db: float) -> None:
        """Put a tag at a point: on `shelf`, or in somebody's hands (None). `loss_db`: detuning by its contents."""
        profile, chance = self._profile, self._chance
        self.remove(t_us, tag)
        if tag not in self._tag_db:
            self._tag_db[tag] = chance.gauss(0.0, profile.tag_sd_db)
        if shelf is None:
            loss_db += profile.carried_loss_db
        seen: dict[str, ReaderField] = {}
        floor = profile.wake_dbm - NEVER_READ_SLOPES * profile.slope_db
        for index, (one, number, antenna) in enumerate(self._antennas):
            if abs(at_m[0] - antenna.x_m) + abs(at_m[1] - antenna.y_m) > REACH_M:
                continue
            level = self._level(index, tag, at_m, shelf) - loss_db
            if level < floor:
                continue
            level += chance.gauss(0.0, profile.multipath_sd_db)
            if self._stocking is not None:
                self._stocking.append((one, tag, number, level))
            else:
                one.join(t_us, tag, number, level)
            seen[one.reader.device] = one
        self._seen_by[tag] = list(seen.values())

    def open(self) -> None:
        """End of stocking: from now on, tags come and go one by one."""
        stocking, self._stocking = self._stocking, None
        for one in self._readers.values():
            rows = [(tag, number, level) for field, tag, number, level in stocking or () if field is one]
            if rows:
                one.join_many([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])

    def remove(self, t_us: int, tag: int) -> None:
        """Take a tag out of every antenna's view."""
        seen = self._seen_by.pop(tag, None)
        if seen and self._stocking is not None:
            self.open()
        for one in seen or ():
            one.leave(t_us, tag)

    def block(self, t_us: int, shelf: str, people: int) -> None:
        """`people` more (or fewer) stand before a shelf."""
        for one, number, antenna in self._antennas:
            if antenna.shelf == shelf:
                one.block(t_us, number, people)

    def set_alive(self, t_us: int, device: str, port: int, alive: bool) -> None:
        """Cut or mend the cable of an antenna."""
        self._readers[device].set_alive(t_us, port, alive)

    def connected(self, device: str) -> dict[int, bool]:
        """Whether the cable of each antenna of a reader is whole, by port."""
        return self._readers[device].connected()

    def reads_between(self, device: str, t0_us: int, t1_us: int) -> Reads:
        """All reads of a reader with t0 <= t < t1, in time order."""
        if self._stocking is not None:
            self.open()
        return self._readers[device].fetch(t0_us, t1_us)
