"""MT-SICS lines (Mettler-Toledo Standard Interface Command Set, reference manual 11780711, levels 0 and 1).

ASCII, ended by CR LF. Bytes in, values out: no I/O, no clock, no exception. A weight is "S S     100.00 g": stable; "D"
in the place of the second S: dynamic; "I": not executable now; "+", "-": over- and underload.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LINE_MAX: Final = 120  # the longest answer that is read here is an I2 with the model's name
GRAMS: Final = {"g": 1.0, "kg": 1000.0, "mg": 0.001, "lb": 453.59237, "oz": 28.349523125}

_WEIGHT: Final = re.compile(rb"S ([SD]) +(-? *\d+\.?\d*) +([A-Za-z]+) *\Z")
_TEXT: Final = re.compile(rb'(I[0-9]) A "([^"]*)"\Z')
_ANSWER: Final = re.compile(rb"(ZI|TI|TAC|TA|S|SI|Z|T|SR|SIR|I[0-9]|K) ([A-Z+\-])(?: .*)?\Z")


class Trouble(StrEnum):
    """Why there is no weight."""

    OVERLOAD = "overload"
    UNDERLOAD = "underload"
    BUSY = "busy"
    NOT_UNDERSTOOD = "not_understood"


@dataclass(frozen=True, slots=True)
class Weight:
    """A net weight in grams; stable by the scale's own word."""

    grams: float
    stable: bool


@dataclass(frozen=True, slots=True)
class NoWeight:
    """The scale answered a weight command without a weight."""

    trouble: Trouble


@dataclass(frozen=True, slots=True)
class Said:
    """Identification: name is I2 (model), I3 (software), I4 (serial number) …"""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """Answer to another command: its name and its letter (A done, I not executable, L wrong value …)."""

    name: str
    letter: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Bytes that are no answer, and why: ascii, unknown, unit or length."""

    reason: str
    n_bytes: int


Line = Weight | NoWeight | Said | Done | Rejected

_ERRORS: Final = {b"ES": Trouble.NOT_UNDERSTOOD, b"ET": Trouble.NOT_UNDERSTOOD, b"EL": Trouble.NOT_UNDERSTOOD}
_NO_WEIGHT: Final = {"+": Trouble.OVERLOAD, "-": Trouble.UNDERLOAD, "I": Trouble.BUSY}


class Decoder:
    """Cuts a stream into lines; bytes fed = accepted + rejected + skipped + buffered, at most `LINE_MAX` buffered."""

    __slots__ = ("_overlong", "_partial", "accepted", "fed", "rejected", "skipped")

    def __init__(self) -> None:
        self.fed = self.accepted = self.rejected = self.skipped = 0
        self._partial = b""
        self._overlong = False

    @property
    def buffered(self) -> int:
        """Bytes of the line that is still coming."""
        return len(self._partial)

    def feed(self, data: bytes) -> list[Line]:
        """The lines that `data` completes."""
        out: list[Line] = []
        self.fed += len(data)
        *closed, rest = data.split(b"\n")
        for piece in closed:
            line, self._partial = self._partial + piece, b""
            if self._overlong or not line.strip():
                self._overlong = False
                self.skipped += len(line) + 1
                continue
            out.append(self._count(read_line(line.rstrip(b"\r"), len(line) + 1), len(line) + 1))
        if self._overlong:
            self.skipped += len(rest)
        else:
            self._partial += rest
        if len(self._partial) > LINE_MAX:
            out.append(self._count(Rejected("length", len(self._partial)), len(self._partial)))
            self._partial, self._overlong = b"", True
        return out

    def _count(self, line: Line, n_bytes: int) -> Line:
        if isinstance(line, Rejected):
            self.rejected += n_bytes
        else:
            self.accepted += n_bytes
        return line


def read_line(line: bytes, n_bytes: int) -> Line:
    """What one line says; `n_bytes` is what it took on the wire."""
    if len(line) > LINE_MAX:
        return Rejected("length", n_bytes)
    if not line.isascii():
        return Rejected("ascii", n_bytes)
    found = _WEIGHT.match(line)
    if found:
        factor = GRAMS.get(found[3].decode())
        if factor is None:
            return Rejected("unit", n_bytes)
        return Weight(float(found[2].replace(b" ", b"")) * factor, found[1] == b"S")
    if line in _ERRORS:
        return NoWeight(_ERRORS[line])
    found = _TEXT.match(line)
    if found:
        return Said(found[1].decode(), found[2].decode())
    found = _ANSWER.match(line)
    if not found:
        return Rejected("unknown", n_bytes)
    name, letter = found[1].decode(), found[2].decode()
    if name in ("S", "SI", "SR", "SIR") and letter in _NO_WEIGHT:
        return NoWeight(_NO_WEIGHT[letter])
    return Done(name, letter)


def command(name: str) -> bytes:
    """A command line: SIR (repeat weights), I4 (serial number), Z (zero), @ (reset) …"""
    return name.encode("ascii") + b"\r\n"
