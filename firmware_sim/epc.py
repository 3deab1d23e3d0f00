"""What a tag factory does: GTIN-14 check digits and SGTIN-96 encoding.

Source: GS1 General Specifications 7.9 (check digit); GS1 EPC Tag Data Standard 2.0, clause 14.6.1 (SGTIN-96) and
table 14-2 (partition).
"""

from __future__ import annotations

SGTIN96_HEADER = 0x30
SERIAL_LIMIT = 1 << 38
FILTER_POINT_OF_SALE = 1

# company prefix digits → (partition, company prefix bits, item reference bits); TDS 2.0 table 14-2
_PARTITION = {
    12: (0, 40, 4),
    11: (1, 37, 7),
    10: (2, 34, 10),
    9: (3, 30, 14),
    8: (4, 27, 17),
    7: (5, 24, 20),
    6: (6, 20, 24),
}


def check_digit(digits: str) -> int:
    """The GS1 check digit of the digits before it (weights 3 and 1 from the right)."""
    return -sum(int(d) * (3 if i % 2 == 0 else 1) for i, d in enumerate(reversed(digits))) % 10


def gtin14(body13: str) -> str:
    """A GTIN-14 from its 13 leading digits (indicator, company prefix, item reference)."""
    if len(body13) != 13 or not body13.isdigit():
        raise ValueError(f"GTIN body {body13!r}: expected 13 digits")
    return f"{body13}{check_digit(body13)}"


def sgtin96(gtin: str, company_prefix_digits: int, serial: int, filter_value: int = FILTER_POINT_OF_SALE) -> bytes:
    """The 12 bytes of an SGTIN-96.

    Raises ValueError for a GTIN with a wrong check digit, a company prefix outside 6–12 digits or a serial
    that does not fit 38 bits.
    """
    if len(gtin) != 14 or not gtin.isdigit() or check_digit(gtin[:13]) != int(gtin[13]):
        raise ValueError(f"GTIN {gtin!r}: expected 14 digits with a valid check digit")
    if company_prefix_digits not in _PARTITION:
        raise ValueError(f"company prefix of {company_prefix_digits} digits: expected 6 to 12")
    if not 0 <= serial < SERIAL_LIMIT:
        raise ValueError(f"serial {serial}: expected 0 to 2^38 - 1")
    partition, company_bits, item_bits = _PARTITION[company_prefix_digits]
    company = int(gtin[1 : 1 + company_prefix_digits])
    item = int(gtin[0] + gtin[1 + company_prefix_digits : 13])
    value = SGTIN96_HEADER
    for field, bits in ((filter_value, 3), (partition, 3), (company, company_bits), (item, item_bits), (serial, 38)):
        value = value << bits | field
    return value.to_bytes(12, "big")
