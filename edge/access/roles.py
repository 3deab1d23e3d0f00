"""Four roles, each of which may do all that the one before may."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """viewer: look · staff: holds, recounts, exceptions · technician: devices, planogram · admin: people, tokens."""

    VIEWER = "viewer"
    STAFF = "staff"
    TECHNICIAN = "technician"
    ADMIN = "admin"

    def may(self, needed: Role) -> bool:
        """Whether this role includes `needed`."""
        return _RANK[self] >= _RANK[needed]


_RANK = {role: rank for rank, role in enumerate(Role)}
