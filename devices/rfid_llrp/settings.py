"""Settings of one LLRP reader, as a technician writes them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Duty:
    """Read for `on_s`, rest for `off_s`, for ever. off_s 0: without a rest; on_s 0: not at all."""

    on_s: int = 1
    off_s: int = 0


@dataclass(frozen=True, slots=True)
class GpiTrigger:
    """Read for `seconds` whenever the reader's input `port` goes high (or low): a light barrier at a dock door, say."""

    port: int
    high: bool = True
    seconds: int = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """moniker: ``tcp:HOST:5084`` or ``tls:HOST:5085?pin=…``.

    identity: the reader's own (hex, as shown on the device page); with it the reader is found again after DHCP moved
    it, and another reader at this address is refused. antennas: ports to use, all if empty. Transmit power in dBm for
    all ports or by port ("1" = 30.0); None keeps the reader's own. session: Gen2 session 0–3. mode: RF mode of the
    reader's own table, None keeps its choice. search_mode: Impinj only (1 single target, 2 dual target, 3 single
    target with suppression). tags_a_report: how many tags the reader collects before it reports. batch_ms: how long
    reports are collected into one observation. phase: also ask for RF phase (Impinj). take_over: delete the
    reading plans of other clients, which some readers need before they accept ours. trigger: read on an input only,
    instead of always; open_hours and closed_hours: when to read and when to rest, by the store's opening hours.
    """

    moniker: str
    identity: str = ""
    antennas: tuple[int, ...] = ()
    tx_power_dbm: float | None = None
    tx_power_by_antenna_dbm: dict[str, float] = field(default_factory=dict)
    session: int = 1
    tag_population: int = 32
    mode: int | None = None
    search_mode: int | None = None
    tags_a_report: int = 1
    batch_ms: int = 100
    phase: bool = False
    take_over: bool = False
    trigger: GpiTrigger | None = None
    open_hours: Duty = field(default_factory=Duty)
    closed_hours: Duty = field(default_factory=Duty)
