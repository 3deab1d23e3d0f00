"""Prometheus' text format (version 0.0.4) of one gateway: what a monitoring system scrapes from ``/metrics``.

Names follow Prometheus' naming rules (base units, ``_total`` for counters). Devices are labels, as a store has tens of
them; tags, products and people never are.
"""

from __future__ import annotations

import re
import resource
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.core.instant import TimeQuality
from edge.core.observation import DeviceState
from edge.health import Alarm, DeviceHealth, Health
from edge.runtime import Runtime

Labels = tuple[tuple[str, str], ...]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LEVELS: Final = frozenset({"bytes_buffered"})
"""Drivers' numbers that also fall: gauges, not counters."""
HELP: Final = {
    "journal_last_seq": "Seq of the newest fact on the disk.",
    "journal_acked_seq": "Seq up to which the platform has everything.",
    "journal_pending_facts": "Facts that wait for their commit.",
    "journal_full": "1 while nothing more fits on the disk or into the quota.",
    "observations_waiting": "Observations of devices that wait for the engine.",
    "observations_dropped": "Observations that found the queue full.",
    "facts_refused": "Facts too many to wait for a full disk; the state behind them is written later.",
    "frames_waiting": "Frames of door sensors that wait for the model.",
    "frames_dropped": "Frames of door sensors that the model had no time for.",
    "clock_synced": "1 while the clock is synchronised.",
    "boot": "Number of this start of the gateway.",
    "uplink_connected": "1 while the broker is connected.",
    "uplink_acked_seq": "Seq up to which the platform has acknowledged, as the bridge knows it.",
    "uplink_backlog": "Facts that the platform has not acknowledged.",
    "uplink_connects": "Connections made to the broker.",
    "uplink_facts_sent": "Facts given to the broker, repetitions included.",
    "uplink_messages_sent": "Messages given to the broker.",
    "rfid_reads": "Reads of tags, over all antennas.",
    "rfid_reads_stale": "Reads that came too late to say anything.",
    "rfid_reads_unplanned": "Reads of an antenna that the planogram does not have.",
    "rfid_reads_untracked": "Reads of strangers, and of items in a crowd that is still being met.",
    "rfid_reads_refused": "Reads for which the table of tags had no room.",
    "rfid_unknown_tags": "Tags heard whose product is not in the catalogue.",
    "rfid_tags_present": "Tags that are believed to be in the store.",
    "rfid_tags_known": "Tags whose story is kept.",
    "rfid_tags_rows": "Rows of the table of tags.",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One value. kind: counter or gauge; the same name always comes with the same kind and help."""

    name: str
    kind: str
    help: str
    value: float
    labels: Labels = ()


def exposition(samples: Iterable[Sample]) -> str:
    """The page; samples of one name are put together."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    lines = []
    for name, rows in by_name.items():
        lines += [f"# HELP {name} {rows[0].help}", f"# TYPE {name} {rows[0].kind}"]
        lines += [f"{name}{_labels(row.labels)} {_number(row.value)}" for row in rows]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def process_samples() -> Iterator[Sample]:
    """This process, by the names that Prometheus' own client libraries use."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = usage.ru_utime + usage.ru_stime
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    yield Sample("process_cpu_seconds_total", "counter", "CPU time of the gateway.", cpu_s)
    yield Sample("process_resident_memory_bytes", "gauge", "Resident memory of the gateway.", resident)
    yield Sample("process_open_fds", "gauge", "Open file descriptors.", sum(1 for _ in Path("/proc/self/fd").iterdir()))
    yield Sample("process_threads", "gauge", "Python's threads.", threading.active_count())


def device_samples(devices: Mapping[str, DeviceHealth], now_us: int) -> Iterator[Sample]:
    """State, silence, restarts and the driver's own counters of each device."""
    for device_id, device in sorted(devices.items()):
        labels: Labels = (("device", device_id), ("kind", device.kind))
        for state in DeviceState:
            text = "1 for the state that the device is in."
            in_it = (*labels, ("state", state.value))
            yield Sample("smartstore_device_state", "gauge", text, device.state is state, in_it)
        yield Sample(
            "smartstore_device_restarts_total", "counter", "How often the driver was lost.", device.restarts, labels
        )
        if device.last_seen_us is not None:
            silent_s = (now_us - device.last_seen_us) / 1e6
            yield Sample("smartstore_device_silent_seconds", "gauge", "Since it was last heard.", silent_s, labels)
        for counter, value in sorted(device.counters.items()):
            name, words = f"smartstore_device_{_name(counter)}", counter.replace("_", " ")
            if counter in LEVELS:
                yield Sample(name, "gauge", f"The driver's own number: {words}.", value, labels)
            else:
                yield Sample(f"{name}_total", "counter", f"The driver's own count: {words}.", value, labels)


def rfid_samples(status: Mapping[str, Any]) -> Iterator[Sample]:
    """What each antenna reads now and usually, and what became of the reads. status: of `edge.core.presence`."""
    for row in status["antennas"]:
        labels: Labels = (("device", row["device"]), ("port", str(row["port"])), ("place", row["place"]))
        now, usual = row["reads_per_s"], row["usual_reads_per_s"]
        yield Sample("smartstore_antenna_reads_per_second", "gauge", "Read rate of an antenna now.", now, labels)
        yield Sample("smartstore_antenna_usual_reads_per_second", "gauge", "Its own history.", usual, labels)
        healthy = row["state"] == "ok"
        yield Sample("smartstore_antenna_ok", "gauge", "0 while it is quiet, silent or disconnected.", healthy, labels)
    yield from named_samples(
        {f"rfid_reads_{name}" if name != "reads" else "rfid_reads": n for name, n in status["reads"].items()}
        | {"rfid_unknown_tags": status["strangers"]["total"]},
        {f"rfid_tags_{name}": n for name, n in status["tags"].items()},
    )


def named_samples(totals: Mapping[str, float], gauges: Mapping[str, float]) -> Iterator[Sample]:
    """Plain totals and gauges of the gateway."""
    for name, value in totals.items():
        yield Sample(f"smartstore_{_name(name)}_total", "counter", _help(name), value)
    for name, value in gauges.items():
        yield Sample(f"smartstore_{_name(name)}", "gauge", _help(name), value)


def _help(name: str) -> str:
    return HELP.get(name) or f"{name.replace('_', ' ').capitalize()}."


def gateway_samples(
    health: Health, runtime: Runtime, uplink: Mapping[str, float], uplink_totals: Mapping[str, float]
) -> Iterator[Sample]:
    """Everything of one gateway. uplink: numbers of the bridge by name, empty where there is none."""
    journal, now = runtime.journal, runtime.clock.now()
    yield from process_samples()
    gauges = {
        "journal_last_seq": journal.last_seq,
        "journal_acked_seq": journal.acked_seq,
        "journal_pending_facts": journal.pending,
        "journal_full": journal.full,
        "observations_waiting": runtime.observations_waiting,
        "frames_waiting": runtime.frames_waiting,
        "clock_synced": now.quality is TimeQuality.SYNCED,
        "boot": runtime.clock.boot,
    }
    yield from named_samples(
        health.counters | {f"uplink_{name}": value for name, value in uplink_totals.items()},
        gauges | {f"uplink_{name}": value for name, value in uplink.items()},
    )
    yield from alarm_samples(health.alarms, health.stale())
    yield from device_samples(health.devices, now.mono_us)
    yield from rfid_samples(runtime.engine.parts.presence.status())


def alarm_samples(alarms: Iterable[str], stale: Iterable[str]) -> Iterator[Sample]:
    """One row for each alarm there is, and each heartbeat that is overdue."""
    raised = frozenset(alarms)
    for alarm in Alarm:
        yield Sample(
            "smartstore_alarm", "gauge", "1 while the alarm is on.", alarm in raised, (("alarm", alarm.value),)
        )
    for name in sorted(stale):
        yield Sample("smartstore_heartbeat_overdue", "gauge", "1 while it is overdue.", 1, (("heartbeat", name),))


def _name(text: str) -> str:
    """As a metric name allows (data model of Prometheus: [a-zA-Z_:][a-zA-Z0-9_:]*)."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", text)
