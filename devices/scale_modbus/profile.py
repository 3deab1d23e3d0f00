"""The register map of one model of weight transmitter, and what its registers say. Pure.

There is no common map, so each model has a TOML file in ``profiles``, written from its manual; settings may name a file
of the same form for any other model.
"""

from __future__ import annotations

import struct
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.core.plain import PlainError, build

PROFILES: Final = Path(__file__).parent / "profiles"
_FORMATS: Final = {"i16": ">h", "u16": ">H", "i32": ">i", "u32": ">I", "f32": ">f"}
REGISTERS_MAX: Final = 125  # Modbus application protocol V1.1b3, 6.3


@dataclass(frozen=True, slots=True)
class WeightField:
    """Where the weight stands, relative to the first register read. negative_bit: of the status register, for maps that
    give absolute values."""

    at: int
    type: str
    low_word_first: bool = False
    negative_bit: int | None = None


@dataclass(frozen=True, slots=True)
class StatusField:
    """The status register and its bits (0 is the least significant); each may be missing."""

    at: int
    stable_bit: int | None = None
    motion_bit: int | None = None
    underload_bit: int | None = None
    overload_bit: int | None = None
    valid_bit: int | None = None


@dataclass(frozen=True, slots=True)
class ZeroCommand:
    """What to write to set the zero; pulse: 0 is written before and after, for demands that act on a rising bit."""

    register: int
    value: int
    pulse: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """One model: function 3 (holding) or 4 (input registers), first register and count of the one read."""

    model: str
    function: int
    first: int
    count: int
    weight: WeightField
    status: StatusField
    zero: ZeroCommand | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What one read said; weight in the transmitter's own divisions, None at overload, underload or without data."""

    weight: float | None
    stable: bool | None
    overload: bool
    underload: bool


def load_profile(name: str) -> Profile:
    """A built-in profile by name or any profile file by path. Raises PlainError naming what is wrong."""
    path = Path(name) if "/" in name or name.endswith(".toml") else PROFILES / f"{name}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in PROFILES.glob("*.toml")))
        raise PlainError("profile", name, f"one of {known}, or the path of a profile file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PlainError("profile", name, f"a readable TOML file ({error})") from None
    profile: Profile = build(Profile, table, path.name)
    _check(profile, path.name)
    return profile


def _check(profile: Profile, name: str) -> None:
    if profile.function not in (3, 4):
        raise PlainError(f"{name}.function", profile.function, "3 (holding registers) or 4 (input registers)")
    if not 1 <= profile.count <= REGISTERS_MAX:
        raise PlainError(f"{name}.count", profile.count, f"1 to {REGISTERS_MAX} registers")
    if profile.weight.type not in _FORMATS:
        raise PlainError(f"{name}.weight.type", profile.weight.type, f"one of {', '.join(_FORMATS)}")
    width = struct.calcsize(_FORMATS[profile.weight.type]) // 2
    if not 0 <= profile.weight.at <= profile.count - width:
        raise PlainError(f"{name}.weight.at", profile.weight.at, f"0 to {profile.count - width}")
    if not 0 <= profile.status.at < profile.count:
        raise PlainError(f"{name}.status.at", profile.status.at, f"0 to {profile.count - 1}")


def read_registers(profile: Profile, registers: Sequence[int]) -> Reading | None:
    """What the registers say, or None when there are not as many as asked for."""
    if len(registers) != profile.count:
        return None
    status_word = registers[profile.status.at]

    def bit(number: int | None) -> bool:
        return number is not None and bool(status_word >> number & 1)

    status = profile.status
    over, under = bit(status.overload_bit), bit(status.underload_bit)
    stable: bool | None = None
    if status.stable_bit is not None:
        stable = bit(status.stable_bit)
    elif status.motion_bit is not None:
        stable = not bit(status.motion_bit)
    weight = _weight(profile.weight, registers, negative=bit(profile.weight.negative_bit))
    usable = not (over or under) and (status.valid_bit is None or bit(status.valid_bit)) and abs(weight) < 1e12
    return Reading(weight if usable else None, stable, over, under)


def _weight(field: WeightField, registers: Sequence[int], *, negative: bool) -> float:
    layout = _FORMATS[field.type]
    words = list(registers[field.at : field.at + struct.calcsize(layout) // 2])
    if field.low_word_first:
        words.reverse()
    raw = b"".join(word.to_bytes(2, "big") for word in words)
    (value,) = struct.unpack(layout, raw)
    return -float(value) if negative else float(value)
