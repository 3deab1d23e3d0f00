"""Reading an EPC bit by bit, most significant first (GS1 EPC Tag Data Standard, TDS, clause 14)."""

from __future__ import annotations

_URL_SAFE_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"  # RFC 4648, 5
_URN_CODE_40 = " ABCDEFGHIJKLMNOPQRSTUVWXYZ-.:0123456789"  # ISO/IEC 15962; TDS 2.3, 14.5.6.6
# GS1 General Specifications, figure 7.11-1: the 82 characters of serial numbers
AI_82 = frozenset("!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
# TDS 2.3, 14.5.16, optimisation table A: 7-bit codes that stand for a part of a host name
_HOST_PARTS = {
    0b0100000: "id.",
    0b0011110: "qr.",
    0b0011111: "www.",
    0b1011011: ".com",
    0b1011100: ".org",
    0b1011101: ".net",
    0b1011110: ".int",
    0b1100000: ".edu",
    0b1111011: ".gov",
    0b1111100: ".mil",
    0b1111101: ".biz",
    0b1111110: ".eco",
    0b1111111: ".med",
}


class Malformed(ValueError):
    """These bits are no EPC of their scheme; the text says why."""


class BitReader:
    """Takes fields from the left of an EPC. Every method raises Malformed where the bits end or forbid it."""

    __slots__ = ("_left", "_value")

    def __init__(self, raw: bytes) -> None:
        self._value = int.from_bytes(raw, "big")
        self._left = len(raw) * 8

    def number(self, n_bits: int) -> int:
        """An unsigned integer of `n_bits`."""
        if n_bits > self._left:
            raise Malformed("cut short")
        self._left -= n_bits
        field = self._value >> self._left
        self._value &= (1 << self._left) - 1
        return field

    def decimal(self, n_bits: int, n_digits: int, what: str) -> str:
        """An integer field shown with `n_digits` digits; TDS 14.3.3 forbids more."""
        value = self.number(n_bits)
        if value >= 10**n_digits:
            raise Malformed(f"{what} {value} has more than {n_digits} digits")
        return f"{value:0{n_digits}d}" if n_digits else ""

    def bcd(self, n_digits: int) -> str:
        """Digits of four bits each (TDS 2.3, 14.5.4)."""
        text = f"{self.number(4 * n_digits):0{n_digits}x}"
        if not text.isdigit():
            raise Malformed(f"digits {text} are not decimal")
        return text

    def ascii7(self, n_bits: int) -> str:
        """Seven-bit characters of AI 82 up to the first zero, after which all is zero (TDS 14.4.2)."""
        characters = [self.number(7) for _ in range(n_bits // 7)]
        text = "".join(map(chr, characters)).rstrip("\0")
        return _checked(text)

    def alphanumeric(self, length_bits: int) -> str:
        """Encoding indicator (3 bits), length, characters (TDS 2.3, 14.5.6)."""
        encoding, length = self.number(3), self.number(length_bits)
        if encoding == 0:
            bits = (10**length - 1).bit_length()  # TDS 2.3, table B: the bits of the largest integer of that length
            return self.decimal(bits, length, "serial")
        if encoding in (1, 2):
            text = f"{self.number(4 * length):0{length}x}" if length else ""
            return text.upper() if encoding == 1 else text
        if encoding == 3:
            return "".join(_URL_SAFE_BASE64[self.number(6)] for _ in range(length))
        if encoding == 4:
            return _checked("".join(chr(self.number(7)) for _ in range(length)))
        if encoding == 5:
            return self._code_40(length)
        raise Malformed(f"encoding indicator {encoding} is reserved")

    def hostname(self) -> str:
        """Encoding (1 bit), length (6 bits), host name (TDS 2.3, 14.5.16)."""
        if self.number(1) == 0:
            return self._code_40(self.number(6)).lower()
        return "".join(self._host_part() for _ in range(self.number(6)))

    def rest_is_zero(self) -> bool:
        """Whether nothing but padding follows."""
        return self._value == 0

    def _host_part(self) -> str:
        code = self.number(7)
        if code < 0b0100000 and code not in _HOST_PARTS:
            raise Malformed("host name uses a table that is not supported")
        return _HOST_PARTS.get(code) or chr(code)

    def _code_40(self, length: int) -> str:
        text = ""
        for _ in range(-(-length // 3)):
            triple = self.number(16) - 1
            if not 0 <= triple < 64000:
                raise Malformed("URN Code 40 group out of range")
            text += _URN_CODE_40[triple // 1600] + _URN_CODE_40[triple // 40 % 40] + _URN_CODE_40[triple % 40]
        return text[:length]


def _checked(text: str) -> str:
    if not text or not AI_82.issuperset(text):
        raise Malformed("serial is empty or has a character outside AI 82")
    return text
