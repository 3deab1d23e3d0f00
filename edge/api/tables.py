"""The catalogue as a table that a spreadsheet reads and writes; faults name line, column, value and expectation."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from edge.api.problems import Problem
from edge.core.gtin import gtin_fault, normalize_gtin
from edge.core.site import Product

COLUMNS = Product.__slots__
FAULTS_SHOWN = 20
_NUMBERS = {"unit_mass_g": float, "mass_sd_g": float, "price_minor": int}
_YES, _NO = ("true", "1", "yes", "はい"), ("false", "0", "no", "", "いいえ")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A CSV (RFC 4180) with a byte-order mark, so that spreadsheets read it as UTF-8. Formulas are defused."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return "\ufeff" + out.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def parse_catalogue(text: str) -> list[dict[str, Any]]:
    """Product rows of a CSV. Raises Problem 422 naming every fault (the first 20)."""
    reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), restkey="+", restval="")
    try:
        names = list(reader.fieldnames or ())
        unknown = [name for name in names if name not in COLUMNS]
        if "gtin" not in names or unknown:
            found = ", ".join(map(repr, unknown)) or "no column gtin"
            raise _problem([f"line 1: {found}: expected columns among {', '.join(COLUMNS)}"])
        faults: list[str] = []
        rows = [_row(row, reader.line_num, faults) for row in reader]
    except csv.Error as error:
        raise _problem([f"line {reader.line_num}: {error}: expected comma-separated values"]) from None
    if faults:
        raise _problem(faults)
    return rows


def _problem(faults: list[str]) -> Problem:
    shown = faults[:FAULTS_SHOWN]
    return Problem(422, "invalid_table", "; ".join(shown), "Correct the named cells.", faults=shown, count=len(faults))


def _row(cells: dict[str, Any], line: int, faults: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, cell in cells.items():
        if name == "+":
            faults.append(f"line {line}: {len(cell)} cells too many: expected as many as columns")
            continue
        value = str(cell).strip().removeprefix("'")
        try:
            converted = _convert(name, value)
        except ValueError as error:
            faults.append(f"line {line}, column {name}: {value[:60]!r}: {error}")
            continue
        if converted is not None:
            row[name] = converted
    return row


def _convert(name: str, value: str) -> Any:
    if name == "gtin":
        if fault := gtin_fault(value):
            raise ValueError(fault)
        return normalize_gtin(value)
    if name == "tagged":
        if value.casefold() not in (*_YES, *_NO):
            raise ValueError("expected true or false")
        return value.casefold() in _YES
    if name in _NUMBERS:
        if not value:
            return None
        try:
            number = _NUMBERS[name](value)
        except ValueError:
            raise ValueError("expected a number such as 250") from None
        if not 0 <= number < 1e9:
            raise ValueError("expected 0 or more, below 1e9")
        return number
    return value
