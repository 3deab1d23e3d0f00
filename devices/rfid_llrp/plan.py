"""The plan of reading: settings and capabilities to ROSpec and reader configuration (LLRP 1.1, 11 and 13)."""

from __future__ import annotations

from devices.rfid_llrp.capabilities import Capabilities
from devices.rfid_llrp.parameters import Parameter
from devices.rfid_llrp.settings import Duty, GpiTrigger, Settings

OUR_ROSPEC = 0x534D  # "SM": any number will do, but only this one is ever deleted without take_over
ALL_ROSPECS = 0
KEEPALIVE_MS = 5_000
LINK_DOWN_THRESHOLD = 3  # Impinj: a client that misses 3 keepalives is dropped, so that the next one can connect
_GEN2 = 1  # ProtocolID EPCGlobalClass1Gen2
_NULL, _PERIODIC, _GPI, _DURATION = 0, 2, 3, 1  # ROSpecStartTriggerType; ROSpecStopTriggerType
# EventNotificationState types (LLRP 1.1, 13.2.5.1): what the technician or the presence engine must hear of
_EVENTS = {2: "rospec", 3: "buffer", 4: "exception", 8: "antenna"}


class PlanFault(ValueError):
    """The settings ask for what this reader does not offer: names the key, the value and what is expected."""

    def __init__(self, key: str, value: object, expected: str) -> None:
        super().__init__(f"{key} = {value!r}: expected {expected}")


def reader_configuration(settings: Settings, capabilities: Capabilities) -> tuple[Parameter, ...]:
    """Parameters of SET_READER_CONFIG: events, keepalive, reports held back only while nobody listens."""
    states = tuple(Parameter("EventNotificationState", {"EventType": kind, "NotificationState": 1}) for kind in _EVENTS)
    out = [
        Parameter("ReaderEventNotificationSpec", {}, states),
        Parameter("KeepaliveSpec", {"KeepaliveTriggerType": 1, "PeriodicTriggerValue": KEEPALIVE_MS}),
    ]
    if settings.trigger is not None:  # an input that is not enabled triggers nothing (LLRP 1.1, 13.2.5.4)
        out.append(Parameter("GPIPortCurrentState", {"GPIPortNum": settings.trigger.port, "Config": 1, "State": 2}))
    out.append(Parameter("EventsAndReports", {"HoldEventsAndReportsUponReconnect": 0}))
    if capabilities.impinj:
        fields = {"LinkMonitorMode": 1, "LinkDownThreshold": LINK_DOWN_THRESHOLD}
        out.append(Parameter("ImpinjLinkMonitorConfiguration", fields))
    return tuple(out)


def rospec(settings: Settings, capabilities: Capabilities, duty: Duty) -> Parameter:
    """The reading plan. Raises PlanFault for what the reader does not offer."""
    _check(settings, capabilities)
    inventory = Parameter(
        "InventoryParameterSpec",
        {"InventoryParameterSpecID": 1, "ProtocolID": _GEN2},
        _antenna_configurations(settings, capabilities),
    )
    stop = Parameter("AISpecStopTrigger", {"AISpecStopTriggerType": _NULL, "DurationTrigger": 0})
    aispec = Parameter("AISpec", {"AntennaIDs": settings.antennas or (0,)}, (stop, inventory))
    fields = {"ROSpecID": OUR_ROSPEC, "Priority": 0, "CurrentState": 0}
    return Parameter(
        "ROSpec", fields, (_boundary(settings.trigger, duty), aispec, _report_spec(settings, capabilities))
    )


def starts_by_itself(settings: Settings, duty: Duty) -> bool:
    """Whether the ROSpec's own trigger starts it, so that START_ROSPEC would be refused or start it twice."""
    return settings.trigger is not None or duty.off_s > 0


def _check(settings: Settings, capabilities: Capabilities) -> None:
    ports = capabilities.max_antennas
    asked = (*settings.antennas, *map(int, settings.tx_power_by_antenna_dbm))
    for port in asked:
        if port < 1 or (ports and port > ports):
            raise PlanFault("antennas", port, f"a port from 1 to {ports or 'the last'}")
    trigger = settings.trigger
    if trigger is not None and not 1 <= trigger.port <= capabilities.inputs:
        raise PlanFault("trigger.port", trigger.port, f"an input from 1 to {capabilities.inputs}")
    if settings.mode is not None and capabilities.modes and settings.mode not in capabilities.modes:
        raise PlanFault("mode", settings.mode, f"one of {', '.join(map(str, capabilities.modes))}")


def _boundary(trigger: GpiTrigger | None, duty: Duty) -> Parameter:
    """When to read: on an input, in a cycle, or from START_ROSPEC on (LLRP 1.1, 11.2.1.1)."""
    kind, on_s = _NULL, 0
    children: tuple[Parameter, ...] = ()
    if trigger is not None:
        fields = {"GPIPortNum": trigger.port, "GPIEvent": int(trigger.high), "Timeout": 0}
        kind, children, on_s = _GPI, (Parameter("GPITriggerValue", fields),), trigger.seconds
    elif duty.off_s > 0:
        fields = {"Offset": 0, "Period": 1000 * (duty.on_s + duty.off_s)}
        kind, children, on_s = _PERIODIC, (Parameter("PeriodicTriggerValue", fields),), duty.on_s
    start = Parameter("ROSpecStartTrigger", {"ROSpecStartTriggerType": kind}, children)
    stop_fields = {"ROSpecStopTriggerType": _DURATION if on_s else _NULL, "DurationTriggerValue": 1000 * on_s}
    return Parameter("ROBoundarySpec", {}, (start, Parameter("ROSpecStopTrigger", stop_fields)))


def _antenna_configurations(settings: Settings, capabilities: Capabilities) -> tuple[Parameter, ...]:
    """One for all ports (AntennaID 0), or one a port where transmit powers differ."""
    command = _inventory_command(settings, capabilities)
    if not settings.tx_power_by_antenna_dbm:
        transmitter = _transmitter(settings.tx_power_dbm, capabilities)
        return (Parameter("AntennaConfiguration", {"AntennaID": 0}, (*transmitter, command)),)
    out = []
    for port in settings.antennas or range(1, capabilities.max_antennas + 1):
        power_dbm = settings.tx_power_by_antenna_dbm.get(str(port), settings.tx_power_dbm)
        transmitter = _transmitter(power_dbm, capabilities)
        out.append(Parameter("AntennaConfiguration", {"AntennaID": port}, (*transmitter, command)))
    return tuple(out)


def _transmitter(power_dbm: float | None, capabilities: Capabilities) -> tuple[Parameter, ...]:
    """The strongest level that is not above what is asked: regulation is written in upper limits."""
    if power_dbm is None:
        return ()
    levels = capabilities.power_levels
    allowed = [index for index, level_dbm in levels.items() if level_dbm <= power_dbm + 1e-9]
    if not allowed:
        offered = (
            f"{min(levels.values()):g} to {max(levels.values()):g} dBm" if levels else "no value: the reader has none"
        )
        raise PlanFault("tx_power_dbm", power_dbm, offered)
    index = max(allowed, key=lambda index: levels[index])
    channel = 0 if capabilities.hop_table else 1  # without hopping the first fixed channel (LLRP 1.1, 13.2.6.8)
    fields = {"HopTableID": capabilities.hop_table, "ChannelIndex": channel, "TransmitPower": index}
    return (Parameter("RFTransmitter", fields),)


def _inventory_command(settings: Settings, capabilities: Capabilities) -> Parameter:
    children: list[Parameter] = []
    if settings.mode is not None:
        children.append(Parameter("C1G2RFControl", {"ModeIndex": settings.mode, "Tari": 0}))
    fields = {"Session": settings.session, "TagPopulation": settings.tag_population, "TagTransitTime": 0}
    children.append(Parameter("C1G2SingulationControl", fields))
    if capabilities.impinj and settings.search_mode is not None:
        children.append(Parameter("ImpinjInventorySearchMode", {"InventorySearchMode": settings.search_mode}))
    return Parameter("C1G2InventoryCommand", {"TagInventoryStateAware": 0}, tuple(children))


def _report_spec(settings: Settings, capabilities: Capabilities) -> Parameter:
    wanted = ("AntennaID", "PeakRSSI", "FirstSeenTimestamp", "LastSeenTimestamp", "TagSeenCount")
    selector = Parameter(
        "TagReportContentSelector",
        {f"Enable{name}": int(name in wanted) for name in _REPORT_FIELDS},
        (Parameter("C1G2EPCMemorySelector", {"EnableCRC": 0, "EnablePCBits": 0}),),
    )
    children = [selector]
    if capabilities.impinj:
        fine = [Parameter("ImpinjEnablePeakRSSI", {"PeakRSSIMode": 1})]
        if settings.phase:
            fine.insert(0, Parameter("ImpinjEnableRFPhaseAngle", {"RFPhaseAngleMode": 1}))
        children.append(Parameter("ImpinjTagReportContentSelector", {}, tuple(fine)))
    return Parameter("ROReportSpec", {"ROReportTrigger": 1, "N": settings.tags_a_report}, tuple(children))


_REPORT_FIELDS = (
    "ROSpecID",
    "SpecIndex",
    "InventoryParameterSpecID",
    "AntennaID",
    "ChannelIndex",
    "PeakRSSI",
    "FirstSeenTimestamp",
    "LastSeenTimestamp",
    "TagSeenCount",
    "AccessSpecID",
)
