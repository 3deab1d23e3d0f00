"""GTINs: 14 digits with a check digit (GS1 General Specifications, 7.9 "check digit calculation")."""

from __future__ import annotations

import re

GTIN_LENGTHS = (8, 12, 13, 14)
_DIGITAL_LINK = re.compile(r"(?:https?://[^/]+)?/?(?:.*/)?01/(\d{8,14})(?:[/?].*)?\Z")  # GS1 Digital Link 1.2, 4.6


def check_digit(digits: str) -> int:
    """Check digit of a GS1 key given without it: weights 3, 1, 3, … from the right."""
    return -sum(int(digit) * (3 if index % 2 == 0 else 1) for index, digit in enumerate(reversed(digits))) % 10


def gtin_fault(text: str) -> str | None:
    """What is wrong with a GTIN, in words, or None: "expected check digit 5, found 6"."""
    if not (text.isascii() and text.isdigit()) or len(text) not in GTIN_LENGTHS:
        return "expected 8, 12, 13 or 14 digits"
    expected = check_digit(text[:-1])
    if expected != int(text[-1]):
        return f"expected check digit {expected}, found {text[-1]}"
    return None


def normalize_gtin(text: str) -> str:
    """The 14-digit form of a GTIN-8, -12, -13 or -14. Raises ValueError with `gtin_fault`'s words."""
    fault = gtin_fault(text)
    if fault:
        raise ValueError(fault)
    return text.zfill(14)


def gtin_of_code(code: str) -> str:
    """14 digits of what a scanner read: a GTIN or a GS1 Digital Link. Raises ValueError with `gtin_fault`'s words."""
    link = _DIGITAL_LINK.match(code)
    return normalize_gtin(link.group(1) if link else code.strip())
