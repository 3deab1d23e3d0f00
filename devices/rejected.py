"""Garbage as data: what a codec answers for bytes that its specification forbids."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejected:
    """`n_bytes` that are not what they claim to be, and why."""

    reason: str
    n_bytes: int
