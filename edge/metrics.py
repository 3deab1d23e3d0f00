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
from typing import Any

from edge.core.instant import TimeQuality
from edge.core.observation import DeviceState
from edge.health import DeviceHealth, Health
from edge.runtime import Runtime

Labels = tuple[tuple[str, str], ...]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


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
            name = f"smartstore_device_{_name(counter)}_total"
            yield Sample(name, "counter", "Counter of the driver.", value, labels)


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
        yield Sample(f"smartstore_{_name(name)}_total", "counter", "Total of the gateway.", value)
    for name, value in gauges.items():
        yield Sample(f"smartstore_{_name(name)}", "gauge", "State of the gateway.", value)


def gateway_samples(health: Health, runtime: Runtime, uplink: Mapping[str, float]) -> Iterator[Sample]:
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
    yield from named_samples(health.counters, gauges | {f"uplink_{name}": value for name, value in uplink.items()})
    yield from alarm_samples(health.alarms, health.stale())
    yield from device_samples(health.devices, now.mono_us)
    yield from rfid_samples(runtime.engine.parts.presence.status())


def alarm_samples(alarms: Iterable[str], stale: Iterable[str]) -> Iterator[Sample]:
    """One row for each alarm and each heartbeat that is overdue."""
    for name in sorted(alarms):
        yield Sample("smartstore_alarm", "gauge", "1 while the alarm is on.", 1, (("alarm", name),))
    for name in sorted(stale):
        yield Sample("smartstore_heartbeat_overdue", "gauge", "1 while it is overdue.", 1, (("heartbeat", name),))


def _name(text: str) -> str:
    """As a metric name allows (data model of Prometheus: [a-zA-Z_:][a-zA-Z0-9_:]*)."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", text)
