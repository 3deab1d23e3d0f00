"""What a reader can do: GET_READER_CAPABILITIES_RESPONSE in the form that the plan of reading needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from devices.rfid_llrp.parameters import Parameter
from devices.rfid_llrp.tables import IMPINJ

_MAKERS = {IMPINJ: "Impinj", 161: "Zebra", 26554: "ThingMagic", 5951: "Alien", 41661: "Kathrein", 18568: "Sirit"}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """power_levels: index → dBm. modes: identifiers of the RF modes. hop_table: first HopTableID, 0 without hopping."""

    manufacturer: int = 0
    model: int = 0
    firmware: str = ""
    max_antennas: int = 0
    inputs: int = 0
    has_utc_clock: bool = True
    power_levels: Mapping[int, float] = field(default_factory=dict)
    modes: tuple[int, ...] = ()
    hop_table: int = 0

    @property
    def impinj(self) -> bool:
        """Whether Impinj's custom parameters are understood."""
        return self.manufacturer == IMPINJ

    @property
    def model_name(self) -> str:
        """Maker and model for people."""
        return f"{_MAKERS.get(self.manufacturer, f'maker {self.manufacturer}')} {self.model}"


def read_capabilities(answer: Parameter) -> Capabilities:
    """From a response; what the reader left out stays at its default."""
    general = answer.child("GeneralDeviceCapabilities") or Parameter("none")
    bands = answer.find("UHFBandCapabilities") or Parameter("none")
    modes = bands.child("C1G2UHFRFModeTable") or Parameter("none")
    hopping = bands.find("FrequencyHopTable")
    return Capabilities(
        manufacturer=general.number("DeviceManufacturerName"),
        model=general.number("ModelName"),
        firmware=general.text("ReaderFirmwareVersion"),
        max_antennas=general.number("MaxNumberOfAntennaSupported"),
        inputs=(general.child("GPIOCapabilities") or general).number("NumGPIs"),
        has_utc_clock=bool(general.number("HasUTCClockCapability")),
        power_levels={
            row.number("Index"): row.number("TransmitPowerValue") / 100
            for row in bands.all("TransmitPowerLevelTableEntry")
        },
        modes=tuple(row.number("ModeIdentifier") for row in modes.children),
        hop_table=hopping.number("HopTableID") if hopping else 0,
    )
