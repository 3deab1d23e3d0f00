"""The network's window in time, shared by training and runner."""

from __future__ import annotations

from typing import Final

PAST_STEPS: Final = 15
"""Steps before the moment that is judged."""
AHEAD_STEPS: Final = 9
"""Steps after it: the price of being right is 0.9 s of delay."""
WINDOW_STEPS: Final = PAST_STEPS + 1 + AHEAD_STEPS
