"""Settings of one LLRP reader, as a technician writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from devices.transport.moniker import Link
from edge.core.plain import Matching, PlainError, Within

_Seconds = Within(0, 86_400, "seconds")
_Dbm = Within(-20, 40, "dBm")
_Port = Within(1, 255, "an antenna port")


@dataclass(frozen=True, slots=True)
class Duty:
    """Read for `on_s`, rest for `off_s`, for ever. off_s 0: without a rest; on_s 0: not at all."""

    on_s: Annotated[int, _Seconds] = 1
    off_s: Annotated[int, _Seconds] = 0


@dataclass(frozen=True, slots=True)
class GpiTrigger:
    """Read for `seconds` whenever the reader's input `port` goes high (or low): a light barrier at a dock door, say."""

    port: Annotated[int, Within(1, 255, "an input")]
    high: bool = True
    seconds: Annotated[int, Within(1, 86_400, "seconds")] = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """One LLRP reader."""

    moniker: Link
    """``tcp:HOST:5084``, or ``tls:HOST:5085?pin=…`` where the reader offers TLS."""
    identity: Annotated[str, Matching("[0-9a-fA-F:]*", "hex digits, as the device page shows them")] = ""
    """The reader's own (as shown on the device page): with it the reader is found again after DHCP moved it, and
    another reader at this address is refused."""
    antennas: Annotated[tuple[int, ...], _Port] = ()
    """Ports to use; all if empty."""
    tx_power_dbm: Annotated[float | None, _Dbm] = None
    """Transmit power of all ports; left out: the reader's own."""
    tx_power_by_antenna_dbm: Annotated[dict[str, float], _Dbm] = field(default_factory=dict)
    """Transmit power by port, such as ``{ "1" = 30.0 }``."""
    session: Annotated[int, Within(0, 3, "a Gen2 session")] = 1
    tag_population: Annotated[int, Within(1, 65_535, "tags")] = 32
    """How many tags an antenna is likely to see at once."""
    mode: Annotated[int | None, Within(0, 65_535, "a mode")] = None
    """RF mode of the reader's own table; left out: the reader's choice."""
    search_mode: Annotated[int | None, Within(0, 65_535, "a search mode")] = None
    """Impinj only: 1 single target, 2 dual target, 3 single target with suppression."""
    tags_a_report: Annotated[int, Within(1, 10_000, "tags")] = 1
    """So many tags the reader collects before it reports."""
    batch_ms: Annotated[int, Within(1, 250, "ms")] = 100
    """So long reports are collected into one observation."""
    phase: bool = False
    """Also ask for RF phase (Impinj)."""
    take_over: bool = False
    """Delete the reading plans of other clients, which some readers need before they accept ours."""
    trigger: GpiTrigger | None = None
    """Read on an input only (``port``, ``high``, ``seconds``), instead of always."""
    open_hours: Duty = field(default_factory=Duty)
    """Reading and resting (``on_s``, ``off_s``) while the store is open."""
    closed_hours: Duty = field(default_factory=Duty)
    """The same while it is closed; ``on_s = 0`` rests all night."""

    def __post_init__(self) -> None:
        for port in self.tx_power_by_antenna_dbm:
            if not (port.isascii() and port.isdigit()) or _Port.fault(int(port)):
                raise PlainError("tx_power_by_antenna_dbm", port, f'{_Port} in quotes, such as "1"')
