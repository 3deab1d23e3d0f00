"""ROSpecs: what a client asks a reader to do, and when it starts and stops (LLRP 1.0.1, clauses 6 and 11.2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from firmware_sim import llrp_wire as w
from firmware_sim.llrp_wire import Par, Parameter, Status, WireError


class State(IntEnum):
    """CurrentState of a ROSpec."""

    DISABLED = 0
    INACTIVE = 1
    ACTIVE = 2


START_NULL, START_IMMEDIATE, START_PERIODIC, START_GPI = range(4)
STOP_NULL, STOP_DURATION, STOP_GPI = range(3)
AI_NULL, AI_DURATION, AI_GPI, AI_TAGS = range(4)
REPORT_NONE, REPORT_N_OR_AISPEC, REPORT_N_OR_ROSPEC = range(3)


@dataclass(frozen=True, slots=True)
class ReportSpec:
    """When to report and what: `fields` is the 16-bit TagReportContentSelector."""

    trigger: int
    n: int
    fields: int
    pc: bool = False
    crc: bool = False
    impinj: frozenset[int] = frozenset()
    """Impinj subtypes switched on (52 phase angle, 53 fine RSSI, 67 Doppler)."""


@dataclass(frozen=True, slots=True)
class AiSpec:
    """One antenna inventory: ports (empty: all) and its stop."""

    ports: tuple[int, ...]
    stop: int
    duration_ms: int
    n_tags: int
    inventory_id: int


@dataclass(slots=True)
class RoSpec:
    """A ROSpec and its state."""

    id: int
    start: int
    period_ms: int
    offset_ms: int
    stop: int
    duration_ms: int
    ai_specs: tuple[AiSpec, ...]
    report: ReportSpec | None
    source: Parameter
    state: State = State.DISABLED
    active_since_us: int = 0
    next_start_us: int | None = None
    ai_index: int = 0
    ai_since_us: int = 0
    ai_seen: set[int] = field(default_factory=set)

    def encode_source(self) -> Parameter:
        """The ROSpec as added, with its current state in it."""
        fields = self.source.fields[:5] + bytes((self.state,))
        return Parameter(self.source.type, fields, self.source.subs)


IMPINJ_CONTENT_SELECTOR = 50
IMPINJ_ENABLES = {52: 56, 53: 57, 67: 68}
"""Enable subtype → subtype of the value it adds to each tag."""


def report_spec(parameter: Parameter) -> ReportSpec:
    """Read a ROReportSpec."""
    trigger, n = struct.unpack(">BH", parameter.fields)
    selector = parameter.find(Par.TAG_CONTENT_SELECTOR)
    if selector is None:
        raise WireError("ROReportSpec without TagReportContentSelector", Status.MISSING_PARAMETER, Par.RO_REPORT_SPEC)
    memory = selector.find(Par.C1G2_EPC_MEMORY_SELECTOR)
    bits = memory.fields[0] if memory is not None and memory.fields else 0
    impinj: set[int] = set()
    for sub in (*parameter.subs, *selector.subs):
        if sub.type == Par.CUSTOM:
            impinj |= _impinj_enables(sub.fields)
    fields = int.from_bytes(selector.fields, "big")
    return ReportSpec(trigger, n, fields, bool(bits & 0x40), bool(bits & 0x80), frozenset(impinj))


def _impinj_enables(fields: bytes) -> set[int]:
    if len(fields) < 8 or struct.unpack_from(">II", fields) != (w.IMPINJ, IMPINJ_CONTENT_SELECTOR):
        return set()
    on: set[int] = set()
    for sub in w.parameters(fields[8:]):
        if sub.type == Par.CUSTOM and len(sub.fields) >= 10:
            vendor, subtype, mode = struct.unpack_from(">IIH", sub.fields)
            if vendor == w.IMPINJ and mode and subtype in IMPINJ_ENABLES:
                on.add(IMPINJ_ENABLES[subtype])
    return on


def _need(parent: Parameter, kind: Par) -> Parameter:
    found = parent.find(kind)
    if found is None:
        raise WireError(f"parameter {parent.type} lacks parameter {int(kind)}", Status.MISSING_PARAMETER, kind)
    return found


def rospec(parameter: Parameter, ports: tuple[int, ...]) -> RoSpec:
    """Read and check a ROSpec as ADD_ROSPEC brings it; WireError says what the reader does not accept."""
    rospec_id, _, state = struct.unpack(">IBB", parameter.fields)
    if rospec_id == 0:
        raise WireError("ROSpecID 0 is reserved", Status.FIELD_ERROR, Par.ROSPEC)
    if state != State.DISABLED:
        raise WireError("CurrentState must be Disabled in ADD_ROSPEC", Status.FIELD_ERROR, Par.ROSPEC)
    boundary = _need(parameter, Par.RO_BOUNDARY)
    start = _need(boundary, Par.ROSPEC_START_TRIGGER)
    stop = _need(boundary, Par.ROSPEC_STOP_TRIGGER)
    periodic = start.find(Par.PERIODIC_TRIGGER)
    if start.fields[0] == START_PERIODIC and periodic is None:
        raise WireError("periodic start without PeriodicTriggerValue", Status.MISSING_PARAMETER, Par.PERIODIC_TRIGGER)
    offset_ms, period_ms = struct.unpack(">II", periodic.fields) if periodic else (0, 0)
    if any(sub.type == Par.RFSURVEY_SPEC for sub in parameter.subs):
        raise WireError("RF survey is not supported", Status.P_UNSUPPORTED_PARAMETER, Par.RFSURVEY_SPEC)
    specs = tuple(_ai_spec(sub, ports) for sub in parameter.subs if sub.type == Par.AISPEC)
    if not specs:
        raise WireError("ROSpec without AISpec", Status.MISSING_PARAMETER, Par.AISPEC)
    report = parameter.find(Par.RO_REPORT_SPEC)
    return RoSpec(
        rospec_id,
        start.fields[0],
        period_ms,
        offset_ms,
        stop.fields[0],
        int.from_bytes(stop.fields[1:5], "big"),
        specs,
        report_spec(report) if report else None,
        parameter,
    )


def _ai_spec(parameter: Parameter, ports: tuple[int, ...]) -> AiSpec:
    n = int.from_bytes(parameter.fields[:2], "big")
    wanted = struct.unpack(f">{n}H", parameter.fields[2:])
    unknown = [port for port in wanted if port and port not in ports]
    if unknown:
        raise WireError(f"antenna {unknown[0]}: this reader has {len(ports)}", Status.INVALID, Par.AISPEC)
    stop = _need(parameter, Par.AISPEC_STOP_TRIGGER)
    kind, duration_ms = struct.unpack(">BI", stop.fields)
    observation = stop.find(Par.TAG_OBSERVATION_TRIGGER)
    n_tags = 0
    if observation is not None and len(observation.fields) >= 12:
        _, _, n_tags, _, _, duration_ms = struct.unpack_from(">BBHHHI", observation.fields)
    inventory = _need(parameter, Par.INVENTORY_PARAMETER_SPEC)
    (inventory_id,) = struct.unpack_from(">H", inventory.fields)
    chosen = () if 0 in wanted else wanted
    return AiSpec(chosen, kind, duration_ms, n_tags, inventory_id)


def parse_add(body: bytes, ports: tuple[int, ...]) -> RoSpec:
    """The ROSpec of an ADD_ROSPEC message."""
    found = [parameter for parameter in w.parameters(body) if parameter.type == Par.ROSPEC]
    if len(found) != 1:
        raise WireError("ADD_ROSPEC needs exactly one ROSpec", Status.MISSING_PARAMETER, Par.ROSPEC)
    return rospec(found[0], ports)
