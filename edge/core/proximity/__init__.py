"""Proximity: in which zone each own beacon is, how busy zones are, and which beacons fail or are forged."""

from edge.core.proximity.part import Proximity

__all__ = ["Proximity"]
