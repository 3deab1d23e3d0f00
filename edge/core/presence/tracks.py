"""Tracks: what is known of each tag, as columns by row, and the filter over its candidate places.

Each tag has K slots, one a place that reads it now or did lately. A slot keeps hit rates over 3, 10, 40 and 160 s, RSSI
levels over the last three, and the scorer's memory; none of them depends on what is believed, so that a false belief
cannot feed itself. Once a second, tags with news run one step; settled and silent tags run it every 3 s, with misses in
closed form (decay over the time gone by). A scorer without a memory gives evidence only: a hidden Markov model over the
slots and "absent" adds it up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.core.instant import US_PER_S
from edge.core.presence import scorer as sc
from edge.core.presence.distinct import distinct
from edge.core.presence.guard import GUARD_US, guard
from edge.core.presence.own import Own
from edge.core.presence.places import NOWHERE
from edge.core.presence.scorer import F32, Scorer
from edge.core.presence.usual import Usual

K = 6  # own shelf, three neighbours, and two for a place that is just becoming one
HITS = 4
LEVELS = 3
C = HITS + LEVELS
TAUS_S = np.array([2.5, 10.0, 40.0, 160.0], np.float32)
FLOOR_DB = np.float32(-16.0)  # level of a place that has not heard the tag
LEVEL_MIN_DB, LEVEL_MAX_DB = np.float32(-40), np.float32(30)  # about the usual level of a place
MARGIN_MAX = np.float32(6)
TOTALLED = np.array([sc.HIT_3S, sc.HIT_10S, sc.HIT_LONG])  # hit rates over 3 s, over 10 s and over 160 s
SHRINK = np.float32(0.03)  # hits of evidence at which level is half floor, half measured
LOG_EPS = np.float32(0.02)
DB_UNIT = np.float32(8.0)
KEEP_HITS = 0.5  # a slot that is read so well is not given to another place
TELL_CHANGE = 0.1  # a changed probability is told as evidence from this difference on
TELL_SHRUNK = 3.0
TELL_DOUBT_MIN = 0.003
SURE = 0.9  # tags as sure as this teach what is usual at their place …
LEARN_EVERY = 5  # … in every fifth step; not a divisor of the cohorts, so that each of them takes part
TINY = np.float32(1e-20)  # keeps decayed values out of the denormal range, which is slow
CHUNK = 2048  # rows at a time: the working set stays in the second-level cache
RESTORED_HITS = 0.8
GONE_SILENCE_US = 5 * US_PER_S  # nobody departs who was read just now
BLIND_SURE = 0.95  # what a tag of a blind place needs to move
EXIT_BONUS = np.float32(2)  # nats a step: who is read best at the exit is on the way out, and walks fast
EXIT_GONE_US, EXIT_SURE = 10 * US_PER_S, 0.95  # silent for so long after the exit: outside
REST_US = 3 * US_PER_S
SETTLED = 0.98
ELSEWHERE_DB = np.float32(8)
COLUMNS = ("stepped_us", "read_us", "guarded_us", "told")
FLAGS = ("news", "tracked", "settled", "product")
Rows = NDArray[np.int64]
# Rows of the slot features that are made alike, over 10 s and over 40 s: one call for two.
_STRENGTH, _LEVEL = slice(sc.HIT_10S, sc.HIT_40S + 1), slice(sc.LEVEL_10S, sc.LEVEL_40S + 1)
_MARGIN = slice(sc.MARGIN_10S, sc.MARGIN_40S + 1)


@dataclass(frozen=True, slots=True)
class Motion:
    """Rates of the hidden Markov model, per second, and the probabilities at which a change is believed.

    A scorer with a memory has learned the rates; of it only the latter are used.
    """

    move_hz: float = 1 / 4000  # to each place that reads it
    leave_hz: float = 1 / 2400
    enter_hz: float = 1 / 30
    stray: float = 0.2  # weight of a shelf where the planogram does not have the product, as a goal
    believe_move: float = 0.8
    believe_arrival: float = 0.7
    believe_departure: float = 0.5
    believe_stray: float = 0.95  # a shelf where the planogram does not have the product


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Rows whose best place is known with a probability: place index or NOWHERE."""

    rows: Rows
    place: NDArray[np.int32]
    probability: F32


class Tracks:
    """The columns and the filter step."""

    def __init__(self, n_places: int, scorer: Scorer, motion: Motion) -> None:
        self.scorer, self.motion = scorer, motion
        self.n_places = n_places
        self.usual = Usual(n_places)
        self.own = Own()
        self._steps = 0
        self.exits = np.zeros(n_places + 1, bool)  # places with the role exit
        self.homes = np.zeros((1, n_places + 1), np.int8)  # by product and place: see scorer.HOME
        self.slot_place = np.zeros((0, K), np.int32)
        self.reads = np.zeros(0, np.float32)  # since the last step, (rows * K)
        self.levels = np.zeros(0, np.float32)
        self.stat = np.zeros((0, C * K), np.float32)
        self.memory = np.zeros((0, scorer.units, K), np.float16)
        self.alpha = np.zeros((0, K + 1), np.float32)
        self.stepped_us = np.zeros(0, np.int64)
        self.read_us = np.zeros(0, np.int64)
        self.news = np.zeros(0, bool)
        self.tracked = np.zeros(0, bool)
        self.settled = np.zeros(0, bool)  # sure of its place, and nothing said otherwise since
        self.said = np.zeros(0, np.int32)  # place that was last believed
        self.product = np.zeros(0, np.int32)  # row of `homes`
        self.told = np.zeros(0, np.float32)  # probability of it that was last given out
        self.guarded_us = np.zeros(0, np.int64)  # until then a restored tag needs more than usual to change its place

    def grow(self, capacity: int) -> None:
        """Make room for rows up to `capacity`."""
        more = capacity - len(self.said)
        if more <= 0:
            return
        for name, fill in (("slot_place", NOWHERE), ("said", NOWHERE), ("stat", 0), ("memory", 0), ("alpha", 0)):
            old = getattr(self, name)
            setattr(self, name, np.concatenate((old, np.full((more, *old.shape[1:]), fill, old.dtype))))
        for name in (*COLUMNS, *FLAGS):
            old = getattr(self, name)
            setattr(self, name, np.concatenate((old, np.zeros(more, old.dtype))))
        self.own.grow(more)
        for name in ("reads", "levels"):
            setattr(self, name, np.concatenate((getattr(self, name), np.zeros(more * K, np.float32))))

    def begin(self, rows: Rows, now_us: int) -> None:
        """Start tracking rows: nowhere, nothing known."""
        self.slot_place[rows] = NOWHERE
        self.said[rows] = NOWHERE
        self.stat[rows] = 0
        self.memory[rows] = 0
        self.alpha[rows] = 0
        self.alpha[rows, K] = 1
        self.reads.reshape(-1, K)[rows] = 0
        self.levels.reshape(-1, K)[rows] = 0
        self.stepped_us[rows] = now_us - US_PER_S
        self.read_us[rows] = now_us
        self.own.sums[rows] = 0
        self.news[rows] = False
        self.tracked[rows] = True

    def assume(self, row: int, place: int, now_us: int) -> None:
        """A restored tag: it stands where it was said to stand, as surely as a long stay would make it."""
        self.slot_place[row, 0] = self.said[row] = place
        self.stat.reshape(-1, C, K)[row, :HITS, 0] = RESTORED_HITS
        self.memory[row, :, 0] = self.scorer.rested
        self.alpha[row] = 0
        self.alpha[row, 0], self.alpha[row, K] = 0.999, 0.001
        self.guarded_us[row] = now_us + GUARD_US
        self.told[row] = 0.0  # told again as evidence with its first news: the parts behind may know it less surely

    def renumber(self, renumbered: NDArray[np.int32], n_places: int) -> None:
        """Places got other numbers: renumbered (old places + 1,) gives the new one, NOWHERE for a lost place."""
        self.slot_place = renumbered[self.slot_place]
        gone = self.slot_place == NOWHERE
        self.alpha[:, :K][gone] = 0
        self.alpha[:, K] += np.where(self.alpha.sum(axis=1) <= 0, np.float32(1), np.float32(0))
        self.alpha /= self.alpha.sum(axis=1, keepdims=True)
        for columns in (self.stat.reshape(-1, C, K), self.memory):
            columns.transpose(0, 2, 1)[gone] = 0
        self.reads.reshape(-1, K)[gone] = self.levels.reshape(-1, K)[gone] = 0
        self.said = renumbered[self.said]
        self.usual = self.usual.renumbered(renumbered, n_places)
        self.n_places = n_places

    def fold(self, rows: Rows, place: NDArray[np.int32], level_dbm: F32, reads: F32, now_us: int) -> None:
        """Add reads (n,): their slot is found or given; reads of a seventh place are left out while six are strong."""
        if not len(rows):
            return
        match = self.slot_place.take(rows, axis=0) == place[:, None]
        slot = match.argmax(axis=1)
        found = np.logical_or.reduce(match, axis=1)
        if np.count_nonzero(found) < len(found):
            missing = (~found).nonzero()[0]
            self._give_slots(rows[missing], place[missing])
            match = self.slot_place[rows[missing]] == place[missing, None]
            slot[missing] = match.argmax(axis=1)
            found[missing] = match.any(axis=1)
            rows, slot, place = rows[found], slot[found], place[found]
            level_dbm, reads = level_dbm[found], reads[found]
        flat = rows * K + slot
        np.add.at(self.reads, flat, reads)
        np.add.at(self.levels, flat, reads * level_dbm)
        self.news[rows] = True
        self.read_us[rows] = now_us
        # read elsewhere only, and as strongly as what stands there: do not rest
        elsewhere = place != self.said.take(rows)
        at_home = rows[~elsewhere]
        elsewhere &= level_dbm > (self.usual.rssi_dbm - ELSEWHERE_DB).take(place)
        as_before = self.settled.take(at_home)
        self.settled[rows[elsewhere]] = False
        self.settled[at_home] = as_before

    def _give_slots(self, rows: Rows, place: NDArray[np.int32]) -> None:
        pairs = distinct(rows * (self.n_places + 1) + place)
        rows, place = pairs // (self.n_places + 1), (pairs % (self.n_places + 1)).astype(np.int32)
        while len(rows):  # one new place a row and round, at most K rounds
            first = np.ones(len(rows), bool)
            first[1:] = rows[1:] != rows[:-1]
            row, new = rows[first], place[first]
            rows, place = rows[~first], place[~first]
            taken = self.slot_place[row]
            worth = self.stat[row, K : 2 * K] + self.reads.reshape(-1, K)[row]  # hit rate over 10 s, and just now
            worth[taken == self.said[row, None]] = np.inf
            worth[taken == NOWHERE] = -1
            slot = worth.argmin(axis=1)
            give = worth[np.arange(len(row)), slot] < KEEP_HITS
            row, slot, new = row[give], slot[give], new[give]
            self.slot_place[row, slot] = new
            self.stat.reshape(-1, C, K)[row, :, slot] = 0
            self.memory[row, :, slot] = 0
            self.alpha[row, slot] = 0
            self.reads[row * K + slot] = self.levels[row * K + slot] = 0

    def slept(self, gap_us: int, now_us: int) -> None:
        """Nobody listened for so long: silence in that time says nothing."""
        for column in (self.read_us, self.stepped_us):
            np.minimum(column + gap_us, now_us, out=column)

    def restless(self, n_rows: int, now_us: int) -> Rows:
        """Rows with news that are not sure of their place."""
        rows: Rows = (self.news[:n_rows] & ~self.settled[:n_rows]).nonzero()[0]
        return rows

    def due(self, n_rows: int, now_us: int, cohort: slice, rest_us: int) -> Rows:
        """Rows of a cohort with news, or silent and not yet gone; settled and silent ones rest for `rest_us` first."""
        tracked, news = self.tracked[:n_rows][cohort], self.news[:n_rows][cohort]
        rested = self.stepped_us[:n_rows][cohort] <= now_us - rest_us
        silent = rested & (self.said[:n_rows][cohort] != NOWHERE) & tracked
        news = news & (rested | ~self.settled[:n_rows][cohort])
        rows: Rows = (news | silent).nonzero()[0]
        return rows if cohort.step is None else rows * cohort.step + cohort.start

    def accept(
        self, verdicts: Verdicts, now_us: int, blind: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], F32]:
        """Believe verdicts: indices of changed places, of probabilities that drifted, and each tag's probability."""
        rows, place = verdicts.rows, verdicts.place
        said = self.said.take(rows)
        judged = place
        if np.count_nonzero(self.exits):
            judged = place.copy()
            gone = (self.exits & ~blind)[said] & (now_us - self.read_us.take(rows) > EXIT_GONE_US)
            place[gone], verdicts.probability[gone] = NOWHERE, EXIT_SURE
            self.alpha[rows[gone]] = np.eye(K + 1, dtype=np.float32)[K]
        is_said = place == said
        self.settled[rows] = is_said & (verdicts.probability > SETTLED)
        changed = (~is_said).nonzero()[0]
        if len(changed):
            needed = self._needed(rows[changed], judged[changed], now_us, blind)
            changed = changed[verdicts.probability[changed] >= needed]
        probability = np.where(is_said, verdicts.probability, 1 - verdicts.probability)
        probability[changed] = verdicts.probability[changed]
        doubt, told_doubt = 1 - probability, 1 - self.told.take(rows)
        drifted = np.abs(doubt - told_doubt) >= TELL_CHANGE
        # Doubts of many tags add up in a count: one that shrank threefold is news too, down to a third of a percent.
        drifted |= (doubt * TELL_SHRUNK <= told_doubt) & (told_doubt > TELL_DOUBT_MIN)
        drifted &= said != NOWHERE
        drifted[changed] = False
        tell = drifted.nonzero()[0]
        if len(changed):
            moved = rows[changed]
            self.said[moved] = place[changed]
            self.guarded_us[moved] = 0
            self.told[moved] = probability[changed]
        self.told[rows[tell]] = probability[tell]
        return changed, tell, probability

    def _needed(self, rows: Rows, place: NDArray[np.int32], now_us: int, blind: NDArray[np.bool_]) -> F32:
        """How probable a place has to be to be believed of tags that were believed elsewhere."""
        said, motion = self.said.take(rows), self.motion
        needed = np.where(said == NOWHERE, motion.believe_arrival, motion.believe_move)
        stray = self.homes[self.product.take(rows), place] < 0
        needed[stray] = np.maximum(needed[stray], motion.believe_stray)
        read_us, nowhere = self.read_us.take(rows), place == NOWHERE
        needed[nowhere] = motion.believe_departure
        needed[nowhere & (now_us - read_us < GONE_SILENCE_US)] = np.inf
        guard(needed, self.guarded_us.take(rows), read_us, nowhere, now_us)
        if np.count_nonzero(blind):  # a place that cannot be heard loses tags to other places only, never to nowhere
            frozen = blind[said]
            needed[frozen] = np.where(place[frozen] == NOWHERE, np.inf, BLIND_SURE)
        return needed

    def step(self, rows: Rows, now_us: int, blind: NDArray[np.bool_], log_activity: F32) -> Verdicts:
        """One step of the filter for these rows; blind and log_activity are by place (+ 1 dummy)."""
        place = np.empty(len(rows), np.int32)
        probability = np.empty(len(rows), np.float32)
        self._steps += 1
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            around = np.full((K + 1, len(part)), NOWHERE, np.int32)  # the places of the slots, and nowhere
            around[:K] = self.slot_place.take(part, axis=0).T
            k = self._width(around)
            around, places = around[: k + 1], around[:k]
            slots, tags, dt_s = self._features(part, places, now_us, blind, log_activity)
            evidence = self._scored(part, slots, tags)
            if np.count_nonzero(self.exits):
                best_now = slots[sc.HIT_3S] >= slots[sc.HIT_3S].max(axis=0)
                evidence[:k] += EXIT_BONUS * (self.exits[places] & best_now & (slots[sc.MARGIN_10S] > -1))
            np.copyto(evidence[:k], -np.inf, where=places == NOWHERE)
            evidence -= np.maximum.reduce(evidence)
            likelihood = np.exp(np.maximum(evidence, np.float32(-30), out=evidence), out=evidence)
            if not self.scorer.units:
                goals = np.where(slots[sc.HOME] < 0, np.float32(self.motion.stray), np.float32(1))
                likelihood *= self._prior(part, places, dt_s, goals)
            alpha = self._normalise(part, likelihood, k)
            highest = np.maximum.reduce(alpha)
            likeliest = around[alpha.argmax(axis=0), np.arange(len(part))]
            gone = alpha[k] >= self.motion.believe_departure
            likeliest[gone] = NOWHERE
            np.copyto(highest, alpha[k], where=gone)
            place[start : start + CHUNK] = likeliest
            probability[start : start + CHUNK] = highest
        return Verdicts(rows, place, probability)

    def _width(self, around: NDArray[np.int32]) -> int:
        """How many slots are to be computed: those in use by any of the tags, and one that is not, for all of these."""
        used = np.logical_or.reduce(around != NOWHERE, axis=1).nonzero()[0]
        return min(K, int(used[-1]) + 2) if len(used) else 1

    def _features(
        self, rows: Rows, places: NDArray[np.int32], now_us: int, blind: NDArray[np.bool_], log_activity: F32
    ) -> tuple[F32, F32, F32]:
        """Slot features (F_SLOT, k, n), tag features (F_TAG, n) and seconds since the last step (n,)."""
        frozen = blind[places] if np.count_nonzero(blind) else None
        dt_s = _seconds(now_us - self.stepped_us.take(rows), 0.2, 30.0)
        stat, rate, level = self._smooth(rows, places, dt_s, frozen)
        self.stepped_us[rows] = now_us
        hits = stat[:HITS]
        slots = np.empty((sc.F_SLOT, *places.shape), np.float32)
        np.log(hits + LOG_EPS, out=slots[:HITS])
        levels = slots[sc.LEVEL_10S : sc.LEVEL_LONG + 1]
        np.divide(stat[HITS:] + SHRINK * FLOOR_DB, hits[1:] + SHRINK, out=levels)
        levels *= 1 / DB_UNIT
        _margin(slots[_STRENGTH] + 2 * slots[_LEVEL], slots[_MARGIN])
        slots[sc.HIT_NOW] = rate
        np.multiply(level, (rate > 0) * (1 / DB_UNIT), out=slots[sc.LEVEL_NOW])
        slots[sc.ACTIVITY] = log_activity.take(places)
        slots[sc.BLIND] = places == NOWHERE if frozen is None else frozen | (places == NOWHERE)
        slots[sc.HOME] = self.homes[self.product.take(rows), places]
        said = self.said.take(rows)
        tags = np.empty((sc.F_TAG + 1, len(rows)), np.float32)
        if frozen is not None:
            self.read_us[rows[blind[said]]] = now_us  # silence that says nothing
        tags[sc.AGE] = (now_us - self.read_us.take(rows)) * np.float32(1e-6) + 1
        tags[sc.STEP] = dt_s
        quiet = np.where(self.news.take(rows), np.float32(-1), np.minimum(np.exp(log_activity.take(said)), 1))
        self.news[rows] = False
        is_said = (places == said) & (said != NOWHERE)
        read = ((rate * is_said).sum(axis=0), (level * is_said).sum(axis=0), rate.sum(axis=0))
        sure = np.logical_or.reduce(is_said) & (self.told.take(rows) > SURE) & ~blind.take(said)
        tags[sc.OWN : sc.F_TAG] = self.own.step(rows, dt_s, sure, read, quiet)
        np.add(np.add.reduce(hits, axis=1)[TOTALLED], LOG_EPS, out=tags[sc.TOTAL_3S : sc.OWN])
        np.log(np.minimum(tags[: sc.OWN], 600, out=tags[: sc.OWN]), out=tags[: sc.OWN])
        tags[sc.F_TAG] = 1
        return slots, tags, dt_s

    def _scored(self, rows: Rows, slots: F32, tags: F32) -> F32:
        """What the scorer says of these rows (k + 1, n); it remembers."""
        units, (k, n) = self.scorer.units, slots.shape[1:]
        if not units:
            return self.scorer.score(slots, tags, np.zeros((0, k, n), np.float32))[0]
        every = np.ascontiguousarray(self.memory.take(rows, axis=0).transpose(1, 2, 0))
        scored, memory = self.scorer.score(slots, tags, every[:, :k].astype(np.float32))
        every[:, :k] = memory
        self.memory[rows] = every.transpose(2, 0, 1)
        return scored

    def _smooth(
        self, rows: Rows, places: NDArray[np.int32], dt_s: F32, frozen: NDArray[np.bool_] | None
    ) -> tuple[F32, F32, F32]:
        """Take the new reads into the running rates and levels (C, k, n); also the new hit rates and levels (k, n)."""
        k = len(places)
        all_reads, all_levels = self.reads.reshape(-1, K), self.levels.reshape(-1, K)
        reads = np.ascontiguousarray(all_reads.take(rows, axis=0).T[:k])
        levels = np.ascontiguousarray(all_levels.take(rows, axis=0).T[:k])
        all_reads[rows] = 0
        all_levels[rows] = 0
        if self._steps % LEARN_EVERY == 0:
            self._learn_usual(rows, places, dt_s, reads, levels)
        rate: F32 = np.minimum(reads * self.usual.inverse_hz.take(places) / dt_s, np.float32(2))
        levels /= np.maximum(reads, np.float32(1e-3))
        levels -= self.usual.rssi_dbm.take(places)
        np.minimum(np.maximum(levels, LEVEL_MIN_DB, out=levels), LEVEL_MAX_DB, out=levels)
        keep = np.empty((HITS, 1, len(rows)), np.float32)
        np.divide(-dt_s, TAUS_S[:, None], out=keep[:, 0])
        np.exp(keep, out=keep)
        gain = 1 - keep
        if frozen is not None:
            keep, gain = np.where(frozen, np.float32(1), keep), np.where(frozen, np.float32(0), gain)
        all_slots = np.ascontiguousarray(self.stat.take(rows, axis=0).T)
        stat = all_slots.reshape(C, K, -1)[:, :k]
        stat[:HITS] *= keep
        stat[HITS:] *= keep[1:]
        gained = gain * rate
        stat[:HITS] += gained
        stat[HITS:] += gained[1:] * levels
        stat += TINY
        self.stat[rows] = all_slots.T
        return stat, rate, levels

    def _learn_usual(self, rows: Rows, places: NDArray[np.int32], dt_s: F32, reads: F32, levels: F32) -> None:
        self.usual.all_reads += float(reads.sum())
        self.usual.all_levels += float(levels.sum())
        said = self.said[rows]
        slot, tag = np.nonzero((places == said) & (said >= 0) & (self.told[rows] > SURE))
        self.usual.learn(said[tag], dt_s[tag], reads[slot, tag], levels[slot, tag])

    def _prior(self, rows: Rows, places: NDArray[np.int32], dt_s: F32, goals: F32) -> F32:
        """The hidden Markov model's prior, by its rates of motion; (k + 1, n).

        goals (k, n): how likely each place is where a tag is carried to.
        """
        motion, k = self.motion, len(places)
        alpha = np.ascontiguousarray(self.alpha.take(rows, axis=0).T[[*range(k), K]])
        here = 1 - alpha[k]
        enter = np.minimum(dt_s * np.float32(motion.enter_hz), np.float32(0.5))
        leave = dt_s * np.float32(motion.leave_hz)
        move = dt_s * np.float32(motion.move_hz)
        alpha[:k] *= 1 - move - leave
        alpha[:k] += (move * here + enter * alpha[k]) * goals
        alpha[:k] *= places != NOWHERE
        alpha[k] *= 1 - enter
        alpha[k] += leave * here
        return alpha

    def _normalise(self, rows: Rows, alpha: F32, k: int) -> F32:
        """Keep `alpha` (k + 1, n) as probabilities."""
        alpha /= np.add.reduce(alpha)
        every = np.zeros((K + 1, len(rows)), np.float32)
        every[:k], every[K] = alpha[:k], alpha[k]
        self.alpha[rows] = every.T
        return alpha


def _margin(strength: F32, out: F32) -> None:
    """How far each slot (…, K, n) stands above the best other one."""
    best = np.maximum.reduce(strength, axis=-2, keepdims=True)
    is_best = strength == best
    second = np.maximum.reduce(np.where(is_best, np.float32(-99), strength), axis=-2, keepdims=True)
    np.subtract(strength, np.where(is_best, second, best), out=out)
    np.minimum(np.maximum(out, -MARGIN_MAX, out=out), MARGIN_MAX, out=out)


def _seconds(elapsed_us: NDArray[np.int64], least_s: float, most_s: float) -> F32:
    """Elapsed times (n,) in seconds within bounds."""
    elapsed_s = elapsed_us * np.float32(1e-6)
    np.minimum(np.maximum(elapsed_s, least_s, out=elapsed_s), most_s, out=elapsed_s)
    return elapsed_s.astype(np.float32)
