"""Presence: where every RFID tag is, from noisy reads of many antennas."""

from edge.core.presence.part import Presence, Profile
from edge.core.presence.profiles import load_profile

__all__ = ["Presence", "Profile", "load_profile"]
