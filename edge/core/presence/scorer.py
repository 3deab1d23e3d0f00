"""Scorers: how well each candidate place, or absence, explains what was read of a tag.

A scorer turns features of slots (F_SLOT, k, n) and of tags (F_TAG, n) into logarithms (k + 1, n); the last row is
"absent". `WindowScorer` is a plain formula whose evidence a hidden Markov filter adds up. `LearnedScorer` is a small
recurrent set network that remembers by itself and gives the posterior: fading that is correlated over seconds to
minutes, and what a tag did before it fell silent, are more than a filter of the first order can carry. It treats all
slots alike; each also sees the maximum over the tag's slots. It is trained in models/presence_training.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.core.presence.own import N_OWN

F32 = NDArray[np.float32]

# Rows of the slot features: logs of hit rates in units of the place's usual one, levels in 8 dB above its usual RSSI.
HIT_3S, HIT_10S, HIT_40S, HIT_LONG = range(4)
LEVEL_10S, LEVEL_40S, LEVEL_LONG, MARGIN_10S, MARGIN_40S = range(4, 9)
HIT_NOW, LEVEL_NOW, ACTIVITY, BLIND = 9, 10, 11, 12  # blind: 1 where nothing can be heard, or the slot is unused
HOME = 13  # 1 the planogram has the product there, -1 it has it elsewhere, 0 it has it nowhere
F_SLOT = 14
# Rows of the tag features: logarithms of seconds, and of summed hit rates.
AGE, STEP, TOTAL_3S, TOTAL_10S, TOTAL_LONG = range(5)
OWN = 5  # … and what is usual of the tag itself: see own.Own.step
KNOWN_FOR = OWN + 2
F_TAG = OWN + N_OWN

REST_S = 600


class Scorer(Protocol):
    """Log evidence, or where there is a memory log posteriors (up to a constant), of slots and of absence."""

    units: int  # of memory, a slot; 0 for none
    rested: F32  # (units,) of a tag that has lain there for long

    def score(self, slots: F32, tags: F32, memory: F32) -> tuple[F32, F32]:
        """(F_SLOT, k, n), (F_TAG + 1, n), whose last row is 1, and (units, k, n) to (k + 1, n) and the new memory."""
        ...


class WindowScorer:
    """A windowed strength: hit rate and level of the last 10 s. A baseline, and the way to bootstrap training."""

    TEMPER = np.float32(0.35)  # fading is correlated: a second is worth a third of an independent one
    ABSENT_LOG = np.float32(-3.0)  # below about 5 % of the usual hit rate

    units = 0
    rested = np.zeros(0, np.float32)

    def score(self, slots: F32, tags: F32, memory: F32) -> tuple[F32, F32]:
        """As `Scorer.score`."""
        k, n = slots.shape[1:]
        out = np.empty((k + 1, n), np.float32)
        out[:k] = (slots[HIT_10S] + 2 * slots[LEVEL_10S]) * self.TEMPER
        out[k] = self.ABSENT_LOG * self.TEMPER
        out *= np.exp(tags[STEP])
        return out, memory


@dataclass(frozen=True, slots=True)
class Weights:
    """The network, all (rows, columns); H = U units. The last column of those of F_TAG + 1 or H + 1 is the bias."""

    slot_1: F32  # (H, F_SLOT)
    tag_1: F32  # (H, F_TAG + 1)
    gate_new: F32  # (3 U, H + 1): update, reset and candidate from what is new …
    gate_memory: F32  # (3 U, U) … from the slot's memory …
    gate_pool: F32  # (3 U, U) … and from the strongest of the tag's slots
    slot_2: F32  # (H, U)
    pool_2: F32  # (H, U)
    tag_2: F32  # (H, F_TAG + 1)
    slot_out: F32  # (1, H)
    absent_pool: F32  # (H, H)
    absent_tag: F32  # (H, F_TAG + 1)
    absent_out: F32  # (1, H + 1)


class LearnedScorer:
    """The network of the module's docstring: a layer, a gated recurrent unit (Cho et al. 2014), a layer.

    Each of them treats the slots alike (Zaheer et al. 2017, "Deep sets": shared weights and a pooled maximum).
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.units = weights.gate_memory.shape[1]
        self.rested = self._rested()

    def score(self, slots: F32, tags: F32, memory: F32) -> tuple[F32, F32]:
        """As `Scorer.score`."""
        w, (_, k, n), u = self.weights, slots.shape, self.units
        one = (w.slot_1 @ slots.reshape(F_SLOT, k * n)).reshape(-1, k, n)
        one += (w.tag_1 @ tags)[:, None]
        np.maximum(one, 0, out=one)
        gates = (w.gate_new[:, :-1] @ one.reshape(-1, k * n)).reshape(-1, k, n)
        gates += (w.gate_pool @ np.maximum.reduce(memory, axis=1) + w.gate_new[:, -1:])[:, None]
        held = (w.gate_memory @ memory.reshape(u, k * n)).reshape(-1, k, n)
        opened = gates[: 2 * u]
        opened += held[: 2 * u]
        _logistic(opened)
        candidate = gates[2 * u :]
        candidate += opened[u:] * held[2 * u :]
        np.tanh(candidate, out=candidate)
        candidate -= memory
        opened[:u] *= 1 - slots[BLIND]
        candidate *= opened[:u]
        candidate += memory
        two = (w.slot_2 @ candidate.reshape(u, k * n)).reshape(-1, k, n)
        two += (w.pool_2 @ np.maximum.reduce(candidate, axis=1) + w.tag_2 @ tags)[:, None]
        np.maximum(two, 0, out=two)
        absent = np.maximum(w.absent_pool @ np.maximum.reduce(two, axis=1) + w.absent_tag @ tags, 0)
        out = np.empty((k + 1, n), np.float32)
        out[:k] = (w.slot_out @ two.reshape(-1, k * n)).reshape(k, n)
        out[k] = (w.absent_out[:, :-1] @ absent + w.absent_out[:, -1:])[0]
        return out, candidate

    def _rested(self) -> F32:
        slots, tags = np.zeros((F_SLOT, 1, 1), np.float32), np.zeros((F_TAG + 1, 1), np.float32)
        slots[[MARGIN_10S, MARGIN_40S]], slots[[HIT_NOW, HOME]] = 4, 1
        tags[STEP], tags[KNOWN_FOR], tags[F_TAG] = np.log(3), np.log(REST_S), 1
        memory = np.zeros((self.units, 1, 1), np.float32)
        for _ in range(REST_S // 3):
            _, memory = self.score(slots, tags, memory)
        return memory[:, 0, 0]


def _logistic(x: F32) -> None:
    """1 / (1 + exp(-x)) in place, as a tanh: it cannot overflow."""
    x *= np.float32(0.5)
    np.tanh(x, out=x)
    x *= np.float32(0.5)
    x += np.float32(0.5)
