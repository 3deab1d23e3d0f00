"""Plain data (parsed JSON or TOML) into frozen dataclasses, with errors that name key, value and expectation.

Used by the planogram and by the settings: one grammar of errors for everything a person writes by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints


class PlainError(ValueError):
    """Something in plain data cannot be used: key (dotted path), value, and what is expected."""

    def __init__(self, key: str, value: object, expected: str) -> None:
        self.key, self.value, self.expected = key, value, expected
        super().__init__(f"{key} = {value!r}: expected {expected}")


T = TypeVar("T")
_WORDS: dict[type[Any], str] = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "a text",
    list: "a list",
    dict: "a table",
}


def build(row_type: type[T], value: Any, key: str = "") -> T:
    """A `row_type` (a dataclass) from a mapping. Raises PlainError for unknown, missing and wrong values.

    Understands str, int, float, bool, StrEnum, X | None, tuple[X, ...], tuple[X, Y], dict[str, X] and dataclasses.
    """
    if not isinstance(value, Mapping):
        raise PlainError(key, value, f"a table with {', '.join(_names(row_type))}")
    names = _names(row_type)
    for name in value:
        if name not in names:
            raise PlainError(_join(key, name), value[name], f"one of the keys {', '.join(sorted(names))}")
    hints = get_type_hints(row_type)
    made = {name: _convert(hints[name], item, _join(key, name)) for name, item in value.items()}
    try:
        return row_type(**made)
    except TypeError as error:
        missing = str(error).partition("argument")[2].lstrip("s: ")
        raise PlainError(key or row_type.__name__.lower(), dict(value), f"also {missing}") from None


def _names(row_type: type[Any]) -> list[str]:
    return [field.name for field in fields(row_type) if field.init]


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _convert(hint: Any, value: Any, key: str) -> Any:
    if get_origin(hint) is UnionType:
        if value is None:
            return None
        hint = next(option for option in get_args(hint) if option is not type(None))
    if get_origin(hint) is tuple:
        return _convert_tuple(get_args(hint), value, key)
    if get_origin(hint) is dict:
        if not isinstance(value, Mapping):
            raise PlainError(key, value, _WORDS[dict])
        return {name: _convert(get_args(hint)[1], item, _join(key, name)) for name, item in value.items()}
    if is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, key)
    return _convert_scalar(hint, value, key)


def _convert_tuple(options: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise PlainError(key, value, _WORDS[list])
    if options[-1] is Ellipsis:
        return tuple(_convert(options[0], item, f"{key}[{index}]") for index, item in enumerate(value))
    if len(value) != len(options):
        raise PlainError(key, value, f"a list of {len(options)}")
    return tuple(_convert(hint, item, f"{key}[{i}]") for i, (hint, item) in enumerate(zip(options, value, strict=True)))


def _convert_scalar(hint: Any, value: Any, key: str) -> Any:
    if hint is Any:
        return value
    if issubclass(hint, StrEnum):
        if value not in list(hint):
            raise PlainError(key, value, f"one of {', '.join(hint)}")
        return hint(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise PlainError(key, value, _WORDS.get(hint, hint.__name__))
    return value
