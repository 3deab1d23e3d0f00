"""Plain data (parsed JSON or TOML) into frozen dataclasses, with errors that name key, value and expectation.

Used by the planogram and by the settings: one grammar of errors for everything a person writes by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Protocol, TypeVar, get_args, get_origin, get_type_hints


class PlainError(ValueError):
    """Something in plain data cannot be used: key (dotted path), value, and what is expected."""

    def __init__(self, key: str, value: object, expected: str) -> None:
        self.key, self.value, self.expected = key, value, expected
        super().__init__(f"{key} = {value!r}: expected {expected}")


class Rule(Protocol):
    """What a value of the right type must also be: ``Annotated[int, Within(1, 247, "a Modbus address")]``.

    Of a list or a table each item must be so. As a text it says what is expected.
    """

    def fault(self, value: Any) -> str:
        """What is expected instead; "" where the value is right."""
        ...


@dataclass(frozen=True, slots=True)
class Within:
    """A number from `least` to `most`, both included; `what` names it, with its unit."""

    least: float
    most: float
    what: str = "a number"

    def fault(self, value: float) -> str:
        """See `Rule`; nan is never within."""
        return "" if self.least <= value <= self.most else str(self)

    def __str__(self) -> str:
        return f"{self.what} from {self.least:.10g} to {self.most:.10g}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of some texts."""

    options: tuple[str, ...]

    def fault(self, value: str) -> str:
        """See `Rule`."""
        return "" if value in self.options else str(self)

    def __str__(self) -> str:
        return f"one of {', '.join(option or '(empty)' for option in self.options)}"


@dataclass(frozen=True, slots=True)
class Matching:
    """A text that a regular expression matches from end to end; `what` says it in words."""

    pattern: str
    what: str

    def fault(self, value: str) -> str:
        """See `Rule`."""
        return "" if re.fullmatch(self.pattern, value) else self.what

    def __str__(self) -> str:
        return self.what


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

    Understands str, int, float, bool, StrEnum, X | None, tuple[X, ...], tuple[X, Y], dict[str, X], dataclasses, and
    any of them with rules (`Rule`). A dataclass may check itself as a whole: the PlainError of its ``__post_init__``
    names its own field, and gets the path in front.
    """
    if not isinstance(value, Mapping):
        raise PlainError(key or row_type.__name__.lower(), value, f"a table with {', '.join(_names(row_type))}")
    names = _names(row_type)
    for name in value:
        if name not in names:
            raise PlainError(_join(key, name), value[name], f"one of the keys {', '.join(sorted(names))}")
    hints = get_type_hints(row_type, include_extras=True)
    made = {name: _convert(hints[name], item, _join(key, name)) for name, item in value.items()}
    try:
        return row_type(**made)
    except PlainError as error:
        raise PlainError(_join(key, error.key), error.value, error.expected) from None
    except TypeError as error:
        missing = str(error).partition("argument")[2].lstrip("s: ")
        raise PlainError(key or row_type.__name__.lower(), dict(value), f"also {missing}") from None


def _names(row_type: type[Any]) -> list[str]:
    return [field.name for field in fields(row_type) if field.init]


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


@dataclass(frozen=True, slots=True)
class Described:
    """A field as a form or a page shows it: its type without rules, the rules in words, None for no default."""

    name: str
    type: str
    rule: str
    required: bool
    default: Any


def describe(row_type: type[Any]) -> list[Described]:
    """The fields of a dataclass that `build` makes."""
    hints = get_type_hints(row_type, include_extras=True)
    return [_described(field, hints[field.name]) for field in fields(row_type) if field.init]


def _described(field: Field[Any], hint: Any) -> Described:
    rule, kind = "", field.type
    if get_origin(hint) is Annotated:
        rule = ", ".join(map(str, hint.__metadata__))
        kind = hint.__origin__
    default = field.default
    if field.default_factory is not MISSING:
        default = field.default_factory()
    shown = kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
    return Described(field.name, shown, rule, default is MISSING, None if default is MISSING else default)


def _convert(hint: Any, value: Any, key: str) -> Any:
    if get_origin(hint) is Annotated:
        return _obeying(hint.__metadata__, _convert(hint.__origin__, value, key), key)
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


def obey(row: Any) -> None:
    """Raises PlainError for a field that breaks its rules, for dataclasses that are also made without `build`."""
    for name, hint in get_type_hints(type(row), include_extras=True).items():
        if get_origin(hint) is Annotated:
            _obeying(hint.__metadata__, getattr(row, name), name)


def _obeying(rules: tuple[Rule, ...], made: Any, key: str) -> Any:
    """The value itself, or each item of it, after every rule."""
    items: Any = [(key, made)]
    if isinstance(made, tuple):
        items = [(f"{key}[{index}]", item) for index, item in enumerate(made)]
    elif isinstance(made, dict):
        items = [(_join(key, name), item) for name, item in made.items()]
    for place, item in items:
        for rule in rules:
            if item is not None and (expected := rule.fault(item)):
                raise PlainError(place, item, expected)
    return made


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
