"""``[updates]``: where signed releases come from and how carefully they are taken."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from edge.core.errors import SettingsError
from edge.core.plain import Within


class Follow(StrEnum):
    """Whose wish is carried out without a person."""

    PLATFORM = "platform"  # what the platform's twin or command names (staged rollout)
    LATEST = "latest"  # also the newest release that the publisher has signed, where the platform names none
    NOBODY = "nobody"  # only `smartstore update apply`


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """``[updates]``: the publisher's repository (TUF) and the slots."""

    url: str = ""
    """Address of the repository (``https://``, ``http://`` or ``file://``); it holds ``metadata/`` and ``targets/``.
    Nothing rests on the address being honest. Empty: no updates."""
    root: str = "root.json"
    """The publisher's first root metadata, brought by the installer: the one thing that is trusted beforehand."""
    slots: str = "/opt/smartstore"
    """Folder of the releases: ``slots/<version>``, and the links ``current``, ``good`` and ``previous``."""
    trust_dir: str = "/var/lib/smartstore-update"
    """What the updater has seen signed; the gateway's own process must not be able to write here."""
    follow: Follow = Follow.PLATFORM
    """platform, latest or nobody: whose wish is carried out without a person."""
    gate_s: Annotated[float, Within(10, 86_400, "seconds")] = 600.0
    """A new release is judged for so long before it counts as good."""

    def check(self, file: Path) -> None:
        """Raises SettingsError."""
        if self.url and not self.url.startswith(("https://", "http://", "file://")):
            raise SettingsError(str(file), "updates.url", self.url, "https://…, http://… or file://…")


@dataclass(frozen=True, slots=True)
class UpdatePaths:
    """The settings with every path resolved, and the gateway's own places."""

    settings: UpdateSettings
    root: Path
    slots: Path
    trust: Path
    state: Path
