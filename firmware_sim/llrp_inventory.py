"""The working part of an LLRP reader: ROSpecs that start and stop, tags gathered, reports due.

Source: EPCglobal LLRP 1.0.1, clauses 6.3 (ROSpec states), 11.2 (triggers), 13.2 (reports).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from firmware_sim import llrp_wire as w
from firmware_sim.llrp_caps import POWER_INDEXES, Config, encode
from firmware_sim.llrp_report import Batch, Gathering, Origin, ReportWriter, Sighting, batch_of, batch_of_reads
from firmware_sim.llrp_rospec import (
    AI_DURATION,
    AI_TAGS,
    REPORT_N_OR_AISPEC,
    REPORT_N_OR_ROSPEC,
    REPORT_NONE,
    START_IMMEDIATE,
    START_PERIODIC,
    STOP_DURATION,
    AiSpec,
    ReportSpec,
    RoSpec,
    State,
    parse_add,
    report_spec,
)
from firmware_sim.llrp_wire import EventType, Msg, Par, Status, WireError, tlv
from firmware_sim.radio import Reads

SENSITIVITY_CDBM = -8_000
TAGS_PER_MESSAGE = 500
DEFAULT_REPORT = ReportSpec(REPORT_N_OR_ROSPEC, 1, 0x1600)
"""What a reader reports that was told nothing: each tag at once with antenna, RSSI and first seen."""


class TagSource(Protocol):
    """What a reader's antennas can read."""

    @property
    def epcs(self) -> npt.NDArray[np.uint8]:
        """EPCs by tag index, shape (tags, bytes)."""
        ...

    def reads_between(self, t0_us: int, t1_us: int) -> Reads:
        """Reads with t0 <= t < t1 of the simulated time."""
        ...


@dataclass(frozen=True, slots=True)
class Event:
    """Something a client may want to be told."""

    kind: EventType
    parameter: bytes


class Inventory:
    """ROSpecs of one reader. Time is the simulated time of the tag source."""

    def __init__(
        self,
        source: TagSource,
        ports: tuple[int, ...],
        clock_us: Callable[[], int],
        writer: ReportWriter,
        max_rospecs: int,
    ) -> None:
        self.rospecs: dict[int, RoSpec] = {}
        self.tags_reported = 0
        self._source = source
        self._ports = ports
        self._clock_us = clock_us
        self._writer = writer
        self._max_rospecs = max_rospecs
        self._config = Config()
        self._default = DEFAULT_REPORT
        self._loss_cdb: dict[int, int] = {}
        self._gathering = Gathering()
        self._polled_us = 0
        self._due: list[Batch] = []
        self._events: list[Event] = []
        self.requests: dict[int, Callable[[bytes], bytes]] = {
            Msg.ADD_ROSPEC: self._add,
            Msg.DELETE_ROSPEC: self._delete,
            Msg.START_ROSPEC: self._start_request,
            Msg.STOP_ROSPEC: self._stop_request,
            Msg.ENABLE_ROSPEC: self._enable,
            Msg.DISABLE_ROSPEC: self._disable,
            Msg.GET_ROSPECS: self._list,
        }

    def clear(self) -> None:
        """Back to the factory's state: no ROSpecs."""
        self.rospecs.clear()
        self.forget()
        self.configure(Config())

    def forget(self) -> None:
        """A new client: what was gathered for the last one is gone."""
        self._gathering = Gathering()
        self._due.clear()
        self._polled_us = self._clock_us()

    def configure(self, config: Config) -> None:
        """Take over report contents and transmit power."""
        self._config = config
        self._default = DEFAULT_REPORT if config.report_spec is None else report_spec(config.report_spec)
        self._loss_cdb = {
            port: 25 * (POWER_INDEXES - index) for port, index in config.power_index.items() if index < POWER_INDEXES
        }

    # --- requests -----------------------------------------------------------------------------------------------

    def _add(self, body: bytes) -> bytes:
        spec = parse_add(body, self._ports)
        if spec.id in self.rospecs:
            raise WireError(f"ROSpecID {spec.id} exists already", Status.FIELD_ERROR, Par.ROSPEC)
        if len(self.rospecs) >= self._max_rospecs:
            raise WireError(f"no room for more than {self._max_rospecs} ROSpecs", Status.OUT_OF_RANGE, Par.ROSPEC)
        for antenna in _antenna_configurations(spec.source):
            self._config.set_antenna(antenna, self._ports)
        self.configure(self._config)
        self.rospecs[spec.id] = spec
        return w.status()

    def _chosen(self, body: bytes) -> list[RoSpec]:
        (rospec_id,) = struct.unpack_from(">I", body)
        if rospec_id == 0:
            return list(self.rospecs.values())
        if rospec_id not in self.rospecs:
            raise WireError(f"ROSpecID {rospec_id} does not exist", Status.FIELD_ERROR)
        return [self.rospecs[rospec_id]]

    def _delete(self, body: bytes) -> bytes:
        for spec in self._chosen(body):
            self._stop(spec)
            del self.rospecs[spec.id]
        return w.status()

    def _enable(self, body: bytes) -> bytes:
        now_us = self._clock_us()
        for spec in self._chosen(body):
            if spec.state != State.DISABLED:
                continue
            spec.state = State.INACTIVE
            if spec.start == START_IMMEDIATE:
                self._start(spec, now_us)
            elif spec.start == START_PERIODIC:
                spec.next_start_us = now_us + 1000 * spec.offset_ms
        return w.status()

    def _disable(self, body: bytes) -> bytes:
        for spec in self._chosen(body):
            self._stop(spec)
            spec.state = State.DISABLED
        return w.status()

    def _start_request(self, body: bytes) -> bytes:
        for spec in self._chosen(body):
            if spec.state == State.DISABLED:
                raise WireError(f"ROSpecID {spec.id} is not enabled", Status.FIELD_ERROR)
            self._start(spec, self._clock_us())
        return w.status()

    def _stop_request(self, body: bytes) -> bytes:
        for spec in self._chosen(body):
            if spec.state == State.DISABLED:
                raise WireError(f"ROSpecID {spec.id} is disabled", Status.FIELD_ERROR)
            self._stop(spec)
        return w.status()

    def _list(self, body: bytes) -> bytes:
        return w.status(Status.SUCCESS) + b"".join(encode(spec.encode_source()) for spec in self.rospecs.values())

    # --- running ------------------------------------------------------------------------------------------------

    def _active(self) -> RoSpec | None:
        return next((spec for spec in self.rospecs.values() if spec.state == State.ACTIVE), None)

    def _start(self, spec: RoSpec, now_us: int) -> None:
        """Activate; a reader of one priority level runs one ROSpec at a time."""
        if spec.state == State.ACTIVE or self._active() is not None:
            return
        spec.state = State.ACTIVE
        spec.active_since_us = spec.ai_since_us = now_us
        spec.ai_index = 0
        spec.ai_seen.clear()
        self._polled_us = now_us
        self._tell(EventType.ROSPEC, tlv(Par.ROSPEC_EVENT, struct.pack(">BII", 0, spec.id, 0)))

    def _stop(self, spec: RoSpec) -> None:
        if spec.state != State.ACTIVE:
            return
        self._gather(spec, self._clock_us())
        self._end_ai(spec)
        self._report(spec, ended=True)
        spec.state = State.INACTIVE
        self._tell(EventType.ROSPEC, tlv(Par.ROSPEC_EVENT, struct.pack(">BII", 1, spec.id, 0)))

    def _tell(self, kind: EventType, parameter: bytes) -> None:
        self._events.append(Event(kind, parameter))

    def advance(self) -> list[Event]:
        """Run all triggers up to now; returns what happened."""
        now_us = self._clock_us()
        for spec in list(self.rospecs.values()):
            if spec.state == State.INACTIVE and spec.start == START_PERIODIC and spec.next_start_us is not None:
                self._start_periodic(spec, now_us)
        active = self._active()
        if active is not None:
            self._advance_active(active, now_us)
        events, self._events = self._events, []
        return events

    def _start_periodic(self, spec: RoSpec, now_us: int) -> None:
        if spec.next_start_us is None or now_us < spec.next_start_us:
            return
        self._start(spec, now_us)
        if spec.period_ms:
            period_us = 1000 * spec.period_ms
            spec.next_start_us += period_us * ((now_us - spec.next_start_us) // period_us + 1)
        else:
            spec.next_start_us = None

    def _advance_active(self, spec: RoSpec, now_us: int) -> None:
        self._gather(spec, now_us)
        ai = spec.ai_specs[spec.ai_index]
        if _ai_over(spec, ai, now_us):
            self._end_ai(spec)
            spec.ai_index += 1
            spec.ai_since_us = now_us
            spec.ai_seen.clear()
        duration_over = spec.stop == STOP_DURATION and now_us >= spec.active_since_us + 1000 * spec.duration_ms
        if duration_over or spec.ai_index == len(spec.ai_specs):
            spec.ai_index = min(spec.ai_index, len(spec.ai_specs) - 1)
            self._report(spec, ended=True)
            spec.state = State.INACTIVE
            self._tell(EventType.ROSPEC, tlv(Par.ROSPEC_EVENT, struct.pack(">BII", 1, spec.id, 0)))
            if spec.start == START_IMMEDIATE:
                self._start(spec, now_us)
        else:
            self._report(spec, ended=False)

    def _gather(self, spec: RoSpec, now_us: int) -> None:
        if now_us <= self._polled_us:
            return
        reads = self._source.reads_between(self._polled_us, now_us)
        self._polled_us = now_us
        ai = spec.ai_specs[min(spec.ai_index, len(spec.ai_specs) - 1)]
        keep = np.ones(reads.t_us.size, np.bool_)
        if ai.ports:
            keep &= np.isin(reads.port, ai.ports)
        for port, loss in self._loss_cdb.items():
            keep &= (reads.port != port) | (reads.rssi_cdbm - loss >= SENSITIVITY_CDBM)
        if not keep.all():
            reads = Reads(reads.t_us[keep], reads.tag[keep], reads.port[keep], reads.rssi_cdbm[keep])
        report = spec.report or self._default
        if report.n == 1 and report.trigger != REPORT_NONE:
            if reads.t_us.size:
                self._due.append(batch_of_reads(reads, report, self._origin(spec), self._loss_cdb))
        else:
            self._gathering.add(reads, report, self._loss_cdb)
        if ai.stop == AI_TAGS:
            spec.ai_seen.update(reads.tag.tolist())

    def _end_ai(self, spec: RoSpec) -> None:
        """End of an AISpec: its event, and its report where the trigger says so."""
        number = min(spec.ai_index, len(spec.ai_specs) - 1) + 1
        self._tell(EventType.AISPEC, tlv(Par.AISPEC_EVENT, struct.pack(">BIH", 0, spec.id, number)))
        if (spec.report or self._default).trigger == REPORT_N_OR_AISPEC:
            self._report(spec, ended=True)

    def report_now(self) -> None:
        """GET_REPORT: everything gathered so far is due."""
        active = self._active()
        if active is not None:
            self._gather(active, self._clock_us())
            self._put_due(active, self._gathering.take())

    def _report(self, spec: RoSpec, *, ended: bool) -> None:
        """Move to the reports what the trigger says is due."""
        report = spec.report or self._default
        if report.trigger == REPORT_NONE:
            return
        if report.n:
            while len(self._gathering.sightings) >= report.n:
                self._put_due(spec, self._gathering.take(report.n))
        if ended:
            self._put_due(spec, self._gathering.take())

    @staticmethod
    def _origin(spec: RoSpec) -> Origin:
        index = min(spec.ai_index, len(spec.ai_specs) - 1)
        return Origin(spec.id, index + 1, spec.ai_specs[index].inventory_id)

    def _put_due(self, spec: RoSpec, sightings: list[Sighting]) -> None:
        for at in range(0, len(sightings), TAGS_PER_MESSAGE):
            part = sightings[at : at + TAGS_PER_MESSAGE]
            self._due.append(batch_of(part, spec.report or self._default, self._origin(spec)))

    def reports(self, utc_now_us: int, next_ids: Callable[[int], int], version: int) -> list[bytes]:
        """The reports that are due, as messages. `next_ids(n)` reserves message ids and returns the first."""
        due, self._due = self._due, []
        if not due:
            return []
        epcs = self._source.epcs
        shift_us = utc_now_us - self._clock_us()
        self.tags_reported += sum(batch.tag.size for batch in due)
        return [self._writer.messages(batch, epcs, shift_us, next_ids, version) for batch in due]


def _antenna_configurations(rospec: w.Parameter) -> list[w.Parameter]:
    """AntennaConfigurations inside a ROSpec."""
    return [
        antenna
        for ai in rospec.subs
        for inventory in ai.subs
        if inventory.type == Par.INVENTORY_PARAMETER_SPEC
        for antenna in inventory.subs
        if antenna.type == Par.ANTENNA_CONFIGURATION
    ]


def _ai_over(spec: RoSpec, ai: AiSpec, now_us: int) -> bool:
    timed_out = ai.duration_ms > 0 and now_us >= spec.ai_since_us + 1000 * ai.duration_ms
    if ai.stop == AI_DURATION:
        return timed_out
    if ai.stop == AI_TAGS:
        return timed_out or 0 < ai.n_tags <= len(spec.ai_seen)
    return False
