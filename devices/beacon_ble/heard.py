"""What one advertisement says."""

from __future__ import annotations

from typing import NamedTuple


class Heard(NamedTuple):
    """A beacon's canonical identity (see `Advert.beacon`), its power at 1 m (dBm), and what it measured.

    ``beacon`` is "" for a frame that carries measurements but no identity (Eddystone-TLM): it belongs to the beacon
    that the same address named before. A named tuple, because every advertisement makes one.
    """

    beacon: str
    tx_power_dbm: int | None = None
    readings: tuple[tuple[str, float], ...] = ()
    counter: int | None = None
    """Replay counter of an encrypted frame (BTHome); a frame whose counter does not rise is a replay."""
