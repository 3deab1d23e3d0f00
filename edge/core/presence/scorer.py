"""Scorers: how well each candidate place, or absence, explains the last seconds of a tag.

A scorer turns features of slots (F_SLOT, K, n) and of tags (F_TAG, n) into log evidence (K + 1, n); the last row is
"absent". `WindowScorer` is a plain formula; `LearnedScorer` a small set network that treats all slots alike: two layers
a slot, each of which also sees the maximum over the tag's slots. It was trained through the filter's recursion
(models/presence_training.py), so its evidence is already tempered for fading that is correlated in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.core.presence.own import N_OWN

F32 = NDArray[np.float32]

# Rows of the slot features: logs of hit rates in units of the place's usual one, levels in 8 dB above its usual RSSI.
HIT_3S, HIT_10S, HIT_40S, HIT_LONG, HIT_STAY = range(5)
LEVEL_10S, LEVEL_40S, LEVEL_LONG, LEVEL_STAY, MARGIN_10S, MARGIN_STAY = range(5, 11)
HIT_NOW, ACTIVITY, BLIND = 11, 12, 13
HOME = 14  # 1 the planogram has the product there, -1 it has it elsewhere, 0 it has it nowhere
SAID = 15  # 1 where the tag is believed to be …
THAN_STAY_HIT, THAN_STAY_LEVEL = 16, 17  # … and the last 10 s of each slot against the stay there
CHANGED_LONG, CHANGED_STAY = 18, 19  # level of the last 10 s against that of 160 s and of the stay, where all are known
F_SLOT = 20
# Rows of the tag features: logarithms of seconds, and of summed hit rates; GAP is how long it is usually not heard.
AGE, STEP, STAY, TOTAL_3S, TOTAL_10S, TOTAL_STAY, GAP = range(7)
OWN = 7  # … and what is usual of the tag itself: see own.Own.step
F_TAG = OWN + N_OWN

WEIGHTS_FILE = "presence.npz"


class Scorer(Protocol):
    """Log evidence of slots and of absence."""

    def score(self, slots: F32, tags: F32) -> F32:
        """(F_SLOT, k, n) and (F_TAG + 1, n), whose last row is 1, to (k + 1, n); -inf for unused slots comes later."""
        ...


class WindowScorer:
    """A windowed strength: hit rate and level of the last 10 s. A baseline, and the way to bootstrap training."""

    TEMPER = np.float32(0.35)  # fading is correlated: a second is worth a third of an independent one
    ABSENT_LOG = np.float32(-3.0)  # below about 5 % of the usual hit rate

    def score(self, slots: F32, tags: F32) -> F32:
        k, n = slots.shape[1:]
        out = np.empty((k + 1, n), np.float32)
        out[:k] = (slots[HIT_10S] + 2 * slots[LEVEL_10S]) * self.TEMPER
        out[k] = self.ABSENT_LOG * self.TEMPER
        out *= np.exp(tags[STEP])
        return out


@dataclass(frozen=True, slots=True)
class Weights:
    """The network: two layers for each slot (own features, tag features, maximum over slots), one for absence."""

    slot_1: F32  # (H, F_SLOT)
    tag_1: F32  # (H, F_TAG + 1), the last column is the bias
    slot_2: F32  # (H, H)
    pool_2: F32  # (H, H)
    tag_2: F32  # (H, F_TAG + 1)
    slot_out: F32  # (1, H)
    absent_pool: F32  # (H, H)
    absent_tag: F32  # (H, F_TAG + 1)
    absent_out: F32  # (1, H + 1)


class LearnedScorer:
    """The set network of the module's docstring, evaluated with numpy (about half a microsecond a tag)."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def score(self, slots: F32, tags: F32) -> F32:
        w, (_, k, n) = self.weights, slots.shape
        one = (w.slot_1 @ slots.reshape(F_SLOT, k * n)).reshape(-1, k, n)
        one += (w.tag_1 @ tags)[:, None]
        np.maximum(one, 0, out=one)
        two = (w.slot_2 @ one.reshape(-1, k * n)).reshape(-1, k, n)
        two += (w.pool_2 @ np.maximum.reduce(one, axis=1) + w.tag_2 @ tags)[:, None]
        np.maximum(two, 0, out=two)
        absent = np.maximum(w.absent_pool @ np.maximum.reduce(two, axis=1) + w.absent_tag @ tags, 0)
        out = np.empty((k + 1, n), np.float32)
        out[:k] = (w.slot_out @ two.reshape(-1, k * n)).reshape(k, n)
        out[k] = (w.absent_out[:, :-1] @ absent + w.absent_out[:, -1:])[0]
        return out
