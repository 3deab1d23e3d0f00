"""Names and versions of releases: ``gateway-1.4.0`` is release 1.4.0 of the target ``gateway``."""

from __future__ import annotations

import re
from typing import Final

from edge.core.plain import PlainError

GATEWAY: Final = "gateway"
MODEL: Final = "footfall"
_VERSION = re.compile(r"(?:0|[1-9]\d{0,5})(?:\.(?:0|[1-9]\d{0,5})){1,3}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def check_version(version: str, key: str = "version") -> str:
    """The version itself. Raises PlainError for what is none."""
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise PlainError(key, version, "numbers with points between, such as 1.4.0")
    return version


def check_name(name: str) -> str:
    """The name itself. Raises PlainError for what is none."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PlainError("name", name, "letters a-z, digits and hyphens, at most 64")
    return name


def order(version: str) -> tuple[int, ...]:
    """By which versions are compared: 1.10.0 comes after 1.9.2, and 1.4 is 1.4.0."""
    numbers = [int(part) for part in check_version(version).split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def target_of(model: str) -> str:
    """The target's name of the firmware for a device's model, as the device itself writes it."""
    return "firmware-" + re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
