"""What a reader says about itself: capabilities and configuration.

The tables follow a fixed reader for Japan (ARIB STD-T106, channels of 920 MHz) with the layout of LLRP 1.0.1,
clauses 9 (capabilities) and 13 (configuration).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from firmware_sim import llrp_wire as w
from firmware_sim.llrp_wire import Par, Status, tlv

CHANNELS_KHZ = (916_800, 918_000, 919_200, 920_400)
POWER_INDEXES = 81
"""10.00 to 30.00 dBm in steps of 0.25 dB."""
# mode, DR, HAG, M (0 FM0, 1 M2, 2 M4, 3 M8), forward modulation, mask, BDR, PIE, Tari min, max, step
_MODES = (
    (0, 1, 0, 0, 2, 2, 640_000, 1500, 6250, 6250, 0),
    (1, 1, 0, 1, 2, 2, 640_000, 1500, 6250, 6250, 0),
    (2, 1, 0, 2, 0, 3, 274_000, 2000, 20000, 20000, 0),
    (3, 1, 0, 3, 0, 3, 170_600, 2000, 20000, 20000, 0),
    (1000, 0, 0, 0, 0, 0, 40_000, 1500, 6250, 6250, 0),
    (1002, 0, 0, 0, 0, 0, 40_000, 1500, 6250, 6250, 0),
)
MODE_IDS = tuple(mode[0] for mode in _MODES)
COUNTRY_JAPAN = 392
STANDARD_JAPAN = 6
EVENT_TYPES = 9


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the reader is."""

    mac: bytes = bytes.fromhex("0016251125d6")
    manufacturer: int = w.IMPINJ
    model: int = 2_001_002
    firmware: str = "5.14.0.240"
    max_rospecs: int = 4


@dataclass(slots=True)
class Config:
    """The reader's configuration that SET_READER_CONFIG changes."""

    keepalive_ms: int = 0
    report_spec: w.Parameter | None = None
    events: dict[int, bool] = field(default_factory=lambda: {w.EventType.EXCEPTION: True, w.EventType.ANTENNA: True})
    hold: bool = False
    state: int = 0x7AA9AFE6
    power_index: dict[int, int] = field(default_factory=dict)
    session: int = 1
    population: int = 32
    mode: int = 1000
    gpo: dict[int, bool] = field(default_factory=dict)

    def set_antenna(self, parameter: w.Parameter, ports: tuple[int, ...]) -> None:
        """Obey an AntennaConfiguration, of SET_READER_CONFIG or of a ROSpec. Antenna 0 means all."""
        (antenna,) = struct.unpack(">H", parameter.fields)
        if antenna and antenna not in ports:
            raise w.WireError(f"antenna {antenna}: this reader has {len(ports)}", Status.INVALID, parameter.type)
        transmitter = parameter.find(Par.RF_TRANSMITTER)
        if transmitter is not None:
            _, _, power = struct.unpack(">HHH", transmitter.fields)
            if power > POWER_INDEXES:
                text = f"transmit power index {power}: expected 1 to {POWER_INDEXES}"
                raise w.WireError(text, Status.OUT_OF_RANGE, Par.RF_TRANSMITTER)
            for port in ports if antenna == 0 else (antenna,):
                self.power_index[port] = power or POWER_INDEXES
        command = parameter.find(Par.C1G2_INVENTORY_COMMAND)
        if command is not None:
            self._set_inventory(command)

    def _set_inventory(self, command: w.Parameter) -> None:
        control = command.find(Par.C1G2_RF_CONTROL)
        if control is not None:
            mode, _ = struct.unpack(">HH", control.fields)
            if mode not in MODE_IDS:
                text = f"mode {mode}: expected one of {MODE_IDS}"
                raise w.WireError(text, Status.OUT_OF_RANGE, Par.C1G2_RF_CONTROL)
            self.mode = mode
        singulation = command.find(Par.C1G2_SINGULATION)
        if singulation is not None:
            session, self.population, _ = struct.unpack(">BHI", singulation.fields)
            self.session = session >> 6


def capabilities(identity: Identity, ports: tuple[int, ...], requested: int) -> bytes:
    """The body of GET_READER_CAPABILITIES_RESPONSE after its status. `requested`: 0 all, 1-4 one part."""
    parts = {
        1: _general(identity, ports),
        2: _llrp(identity),
        3: _regulatory(),
        4: tlv(Par.C1G2_LLRP_CAPABILITIES, struct.pack(">BH", 0x40, 2)),
    }
    return b"".join(parts.values()) if requested == 0 else parts[requested]


def _general(identity: Identity, ports: tuple[int, ...]) -> bytes:
    has_utc_clock = 0x4000
    fields = struct.pack(">HHII", len(ports), has_utc_clock, identity.manufacturer, identity.model)
    sensitivities = b"".join(
        tlv(Par.RECEIVE_SENSITIVITY_ENTRY, struct.pack(">HH", i + 1, 0 if i == 0 else 9 + i)) for i in range(42)
    )
    protocols = b"".join(tlv(Par.PER_ANTENNA_AIR_PROTOCOL, struct.pack(">HHB", port, 1, 1)) for port in ports)
    gpio = tlv(Par.GPIO_CAPABILITIES, struct.pack(">HH", 4, 4))
    return tlv(Par.GENERAL_DEVICE_CAPABILITIES, fields + w.text(identity.firmware), sensitivities, gpio, protocols)


def _llrp(identity: Identity) -> bytes:
    buffer_warning, event_holding = 0x40, 0x08
    return tlv(
        Par.LLRP_CAPABILITIES,
        struct.pack(">BBHIIIII", buffer_warning | event_holding, 1, 0, identity.max_rospecs, 32, 1, 1508, 8),
    )


def _regulatory() -> bytes:
    powers = b"".join(
        tlv(Par.TRANSMIT_POWER_ENTRY, struct.pack(">Hh", i + 1, 1000 + 25 * i)) for i in range(POWER_INDEXES)
    )
    channels = struct.pack(f">H{len(CHANNELS_KHZ)}I", len(CHANNELS_KHZ), *CHANNELS_KHZ)
    frequencies = tlv(Par.FREQUENCY_INFORMATION, b"\x00", tlv(Par.FIXED_FREQUENCY_TABLE, channels))
    modes = b"".join(
        tlv(Par.C1G2_MODE_ENTRY, struct.pack(">IBBBBIIIII", mode, dr << 7 | hag << 6, *rest))
        for mode, dr, hag, *rest in _MODES
    )
    band = tlv(Par.UHF_BAND_CAPABILITIES, powers, frequencies, tlv(Par.C1G2_MODE_TABLE, modes))
    return tlv(Par.REGULATORY_CAPABILITIES, struct.pack(">HH", COUNTRY_JAPAN, STANDARD_JAPAN), band)


def configuration(
    identity: Identity, config: Config, connected: dict[int, bool], requested: int, antenna: int
) -> bytes:
    """The body of GET_READER_CONFIG_RESPONSE after its status.

    `connected`: whether a cable leads to an antenna, by port. `requested`: 0 all, 1-11 one part (clause 17.1.4).
    `antenna`: 0 for all.
    """
    ports = [port for port in connected if antenna in (0, port)]
    eui64 = identity.mac[:3] + b"\xff\xff" + identity.mac[3:]
    report = config.report_spec
    parts = {
        1: tlv(Par.IDENTIFICATION, struct.pack(">BH", 0, len(eui64)) + eui64),
        2: b"".join(tlv(Par.ANTENNA_PROPERTIES, struct.pack(">BHh", connected[p] << 7, p, 0)) for p in ports),
        3: b"".join(_antenna_configuration(config, port) for port in ports),
        5: _event_states(config),
        4: default_report_spec() if report is None else encode(report),
        6: tlv(Par.ACCESS_REPORT_SPEC, b"\x01"),
        7: tlv(Par.CONFIGURATION_STATE, struct.pack(">I", config.state)),
        8: tlv(Par.KEEPALIVE_SPEC, struct.pack(">BI", config.keepalive_ms > 0, config.keepalive_ms)),
        9: b"".join(tlv(Par.GPI_STATE, struct.pack(">HBB", port, 0, 0)) for port in range(1, 5)),
        10: b"".join(
            tlv(Par.GPO_WRITE_DATA, struct.pack(">HB", port, config.gpo.get(port, False) << 7)) for port in range(1, 5)
        ),
        11: tlv(Par.EVENTS_AND_REPORTS, bytes((config.hold << 7,))),
    }
    return b"".join(parts.values()) if requested == 0 else parts[requested]


def default_report_spec() -> bytes:
    """ROReportSpec of a reader fresh from the factory: each tag at once, antenna, RSSI, first seen."""
    selector = tlv(Par.TAG_CONTENT_SELECTOR, struct.pack(">H", 0x1600), tlv(Par.C1G2_EPC_MEMORY_SELECTOR, b"\x00"))
    return tlv(Par.RO_REPORT_SPEC, struct.pack(">BH", 2, 1), selector)


def _antenna_configuration(config: Config, port: int) -> bytes:
    power = config.power_index.get(port, POWER_INDEXES)
    control = tlv(Par.C1G2_RF_CONTROL, struct.pack(">HH", config.mode, 0))
    singulation = tlv(Par.C1G2_SINGULATION, struct.pack(">BHI", config.session << 6, config.population, 0))
    return tlv(
        Par.ANTENNA_CONFIGURATION,
        struct.pack(">H", port),
        tlv(Par.RF_RECEIVER, struct.pack(">H", 1)),
        tlv(Par.RF_TRANSMITTER, struct.pack(">HHH", 0, 1, power)),
        tlv(Par.C1G2_INVENTORY_COMMAND, b"\x00", control, singulation),
    )


def _event_states(config: Config) -> bytes:
    states = (
        tlv(Par.EVENT_NOTIFICATION_STATE, struct.pack(">HB", kind, config.events.get(kind, False) << 7))
        for kind in range(EVENT_TYPES)
    )
    return tlv(Par.EVENT_NOTIFICATION_SPEC, b"", *states)


def encode(parameter: w.Parameter) -> bytes:
    """A read parameter back on the wire."""
    if parameter.type in w.TV_BYTES:
        return w.tv(parameter.type, parameter.fields)
    return tlv(parameter.type, parameter.fields, *(encode(sub) for sub in parameter.subs))
