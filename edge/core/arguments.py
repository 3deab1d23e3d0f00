"""Arguments of commands: plain JSON into frozen dataclasses, refused by name when they cannot be used."""

from __future__ import annotations

from typing import TypeVar

from edge.core.errors import CommandRejected
from edge.core.gtin import gtin_fault, normalize_gtin
from edge.core.plain import PlainError, build
from edge.core.ports import Command

T = TypeVar("T")
MAX_QUANTITY = 100_000  # no store holds more of one product; a larger number is a slip of the keyboard


def parse(row_type: type[T], command: Command) -> T:
    """The arguments of a command as a `row_type`. Raises CommandRejected("bad_argument", field, value, expected)."""
    try:
        return build(row_type, command.args)
    except PlainError as error:
        raise refused(command, error.key, error.value, error.expected) from None


def refused(command: Command, field: str, value: object, expected: str) -> CommandRejected:
    """The refusal that names the field, its value and what is expected."""
    return CommandRejected("bad_argument", f"{command.name}: {field} = {value!r}: expected {expected}")


def check_gtin(command: Command, field: str, value: str) -> str:
    """The 14-digit form of a GTIN argument. Raises CommandRejected."""
    fault = gtin_fault(value)
    if fault:
        raise refused(command, field, value, "a GTIN: " + fault.removeprefix("expected "))
    return normalize_gtin(value)


def check_quantity(command: Command, field: str, value: int, low: int = 1) -> int:
    """A count of items within sensible bounds. Raises CommandRejected."""
    if not low <= value <= MAX_QUANTITY:
        raise refused(command, field, value, f"a whole number from {low} to {MAX_QUANTITY}")
    return value


def check_text(command: Command, field: str, value: str, longest: int = 80) -> str:
    """A non-empty printable text. Raises CommandRejected."""
    if not value.strip() or len(value) > longest or not value.isprintable():
        raise refused(command, field, value[:longest], f"a printable text of 1 to {longest} characters")
    return value
