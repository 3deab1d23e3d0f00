"""Profiles by name: "learned" (the shipped network and rates), and as baselines "window" (a plain formula) and the
mobility profiles of the field, "asset-tracking" and "retail-garment"."""

from __future__ import annotations

from importlib import resources

import numpy as np

from edge.core.presence.mobility import PROFILES as MOBILITY
from edge.core.presence.part import Profile
from edge.core.presence.scorer import LearnedScorer, Weights
from edge.core.presence.tracks import Motion

WEIGHTS_FILE = "presence.npz"
LEARNED_MOTION = Motion(believe_departure=0.6)  # surer than 0.5, and below 45 s at the 95th percentile


def load_weights() -> LearnedScorer:
    """The shipped network. Called once, by the composition root: the only file that this package reads."""
    with resources.files(__package__).joinpath(WEIGHTS_FILE).open("rb") as file, np.load(file) as saved:
        return LearnedScorer(Weights(*(saved[name].astype(np.float32) for name in Weights.__dataclass_fields__)))


def load_profile(name: str = "learned") -> Profile:
    """A profile by name. Raises KeyError for one that does not exist."""
    if name == "learned":
        return Profile(name, load_weights(), LEARNED_MOTION)
    return Profile(name, mobility=MOBILITY[name]) if name in MOBILITY else {"window": Profile()}[name]
