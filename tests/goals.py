"""Every figure the project set itself, and what stands beside it in the same run: a peer, a baseline, a naive method.

A path is `group.command.key…` in what `python -m tests.bench all` and `python -m tests.accuracy all` print.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Goal:
    """One promise in numbers. sense: "≥" or "≤"; show: how a value is written; beside: (name, path) of the others."""

    what: str
    path: str
    sense: str
    goal: float
    show: Callable[[float], str]
    beside: tuple[tuple[str, str], ...] = ()

    def met_by(self, value: float) -> bool:
        """Whether a measured value keeps the promise."""
        return value >= self.goal if self.sense == "≥" else value <= self.goal


def found(path: str, figures: dict[str, Any]) -> float | None:
    """The value at a path; None where a command failed, had nothing to compare with or is not in `figures`."""
    here: Any = figures
    for key in path.split("."):
        if not isinstance(here, dict) or key not in here:
            return None
        here = here[key]
    return here if isinstance(here, int | float) else None


def plain(unit: str, digits: int = 0, factor: float = 1.0) -> Callable[[float], str]:
    """1234.5 → "1,234 /s"."""
    return lambda value: f"{value * factor:,.{digits}f}{' ' if unit else ''}{unit}"


COUNT, RATE, SHARE = plain(""), plain("/s"), plain("%", 1, 100.0)
EXACT, FRACTION = plain("%", 2, 100.0), plain("", 3)
S, S1, S2, MS, US, PERCENT = plain("s"), plain("s", 1), plain("s", 2), plain("ms", 1), plain("µs", 1), plain("%", 2)
MIB, GB, TIMES = plain("MiB"), plain("GB", 2), plain("×")
RFID, FLEET, PRESENCE, REAL = "bench.rfid.", "bench.fleet.", "accuracy.presence.", "accuracy.crossings_real."

SPEED: Final = (
    Goal("journal (FULL) → broker, one core", "bench.drain.events_per_s", "≥", 40_000, RATE),
    Goal("… CPU a fact", "bench.drain.cpu_us_per_event", "≤", 10, US),
    Goal("… 500,000 facts of an outage sent", "bench.drain.backlog_500k_s", "≤", 15, S1),
    Goal("… a live urgent fact meanwhile, p99", "bench.drain.live_late_p99_s", "≤", 2, S2),
    Goal(
        "urgent fact → subscriber at 500/s, p50",
        "bench.latency.p50_ms",
        "≤",
        30,
        MS,
        (("thingsboard-gateway", "bench.latency.thingsboard_p50_ms"),),
    ),
    Goal(
        "… p99",
        "bench.latency.p99_ms",
        "≤",
        60,
        MS,
        (("thingsboard-gateway", "bench.latency.thingsboard_p99_ms"),),
    ),
    Goal("bridge at 10 facts/s, of a core", "bench.latency.bridge_thread_idle_percent", "≤", 0.5, PERCENT),
    Goal("1,000 stores → 3-node cluster → PostgreSQL", FLEET + "events_per_s", "≥", 20_000, RATE),
    Goal("… acknowledged facts missing, each node killed", FLEET + "missing", "≤", 0, COUNT),
    Goal("… facts twice", FLEET + "duplicates", "≤", 0, COUNT),
    Goal("… pause of a connection, median", FLEET + "pause_s", "≤", 2, S2),
    Goal("… worst of 3,000", FLEET + "pause_worst_s", "≤", 12, S1),
    Goal(
        "RFID wire → presence, 20,000 tags, one core",
        RFID + "reads_per_s",
        "≥",
        300_000,
        RATE,
        (
            ("mobility profile", RFID + "mobility_profile_reads_per_s"),
            ("sllurp, decoding alone", RFID + "sllurp_tags_per_s"),
        ),
    ),
    Goal("… 200,000 tags", RFID + "reads_per_s_200k", "≥", 210_000, RATE),
    Goal("… longest wait at 300,000/s", RFID + "paced.wait_ms_max", "≤", 250, MS),
    Goal(
        "LLRP codec alone", RFID + "codec_tags_per_s", "≥", 1_000_000, RATE, (("sllurp", RFID + "sllurp_tags_per_s"),)
    ),
    Goal("a known BLE advertisement", "bench.ble.us_per_advert", "≤", 6, US),
    Goal("… through BlueZ at 5,000/s, lost", "bench.ble.lost", "≤", 0, COUNT),
    Goal("200 weight cells at 10 samples/s, of a core", "bench.shelf.core_share_10", "≤", 0.06, SHARE),
    Goal("… at 80 samples/s", "bench.shelf.core_share_80", "≤", 0.40, SHARE),
    Goal("offers, one core", "bench.offers.requests_per_s", "≥", 1_500, RATE),
    Goal("… unchanged, p99", "bench.offers.p99_ms", "≤", 20, MS),
    Goal("… new (commits first), p99", "bench.offers.p99_new_ms", "≤", 60, MS),
    Goal("footfall network, 8x8 frame", "bench.footfall.p50_us_8x8", "≤", 100, US),
    Goal("… 24x32 frame", "bench.footfall.p50_us_24x32", "≤", 300, US),
    Goal("… frame → crossing", "bench.footfall.pipeline_p50_us", "≤", 1_000, US),
    Goal("console, first paint", "bench.console.first_paint_s", "≤", 1, S2),
    Goal("… updates drawn without a dropped run", "bench.console.updates_per_s", "≥", 200, RATE),
    Goal("… 100 live pages, of a core", "bench.console.core_share", "≤", 0.20, SHARE),
    Goal("API reads, one core", "bench.console.api_reads_per_s", "≥", 2_000, RATE),
    Goal("ten devices set up by script", "bench.console.setup_10_devices_s", "≤", 60, S1),
    Goal("idle gateway, whole API, memory", "bench.footprint.rss_mib", "≤", 130, MIB),
    Goal("… of a core", "bench.footprint.idle_cpu_percent", "≤", 1, PERCENT),
    Goal("… start → READY", "bench.footprint.ready_s", "≤", 2, S2),
    Goal("reference store, of a core", "bench.store.core_share", "≤", 0.25, SHARE),
    Goal("… memory", "bench.store.rss_mib", "≤", 150, MIB),
    Goal("flash written a day on the stated mix", "bench.writes.gb_per_day", "≤", 1.3, GB),
    Goal("simulation, engine alone, × real time", "bench.simulation.real_time_factor_t1", "≥", 1_000, TIMES),
    Goal("… whole gateway, × real time", "bench.simulation.real_time_factor_t2", "≥", 25, TIMES),
)

ACCURACY: Final = (
    Goal(
        "tag on the right shelf, of its time",
        PRESENCE + "right_share",
        "≥",
        0.98,
        SHARE,
        (
            ("last read", PRESENCE + "baselines.last_read"),
            ("10 s window", PRESENCE + "baselines.window_10s"),
            ("RSP/EdgeX profile", PRESENCE + "baselines.asset_tracking"),
        ),
    ),
    Goal("… flips a true move", PRESENCE + "flips_per_move", "≤", 2, plain("", 2)),
    Goal("… to the right shelf, p95", PRESENCE + "p95_s", "≤", 30, S),
    Goal("… departure told, p95", PRESENCE + "departure_p95_s", "≤", 45, S),
    Goal("… of the 10 s window's errors left", PRESENCE + "errors_vs_window", "≤", 0.20, SHARE),
    Goal("misplaced item, precision", PRESENCE + "misplaced_precision", "≥", 0.95, SHARE),
    Goal("… recall within 60 s", PRESENCE + "misplaced_recall", "≥", 0.95, SHARE),
    Goal("SKU + shelf exact, tags alone", PRESENCE + "sku_shelf_exact", "≥", 0.99, EXACT),
    Goal(
        "SKU + shelf exact, tags and weight",
        "accuracy.fusion.settled_exact",
        "≥",
        0.99,
        EXACT,
        (
            ("tags alone", "accuracy.fusion.baselines.tags_only"),
            ("weight alone", "accuracy.fusion.baselines.weight_only"),
        ),
    ),
    Goal("… on mixed lanes", "accuracy.fusion.mixed_settled_exact", "≥", 0.95, EXACT),
    Goal("… expected calibration error", "accuracy.fusion.calibration_error", "≤", 0.03, FRACTION),
    Goal(
        "pick or put, one-SKU lane",
        "accuracy.shelf.one_sku_right",
        "≥",
        0.99,
        EXACT,
        (("naive", "accuracy.shelf.baseline_share"),),
    ),
    Goal("… settled count", "accuracy.shelf.one_sku_settled", "≥", 1, EXACT),
    Goal("… mixed lane (abstaining counts as wrong)", "accuracy.shelf.mixed_right", "≥", 0.97, EXACT),
    Goal("… told after the hand leaves, p95", "accuracy.shelf.latency_p95_s", "≤", 1.5, S2),
    Goal("… false events in an empty day", "accuracy.shelf.false_events_per_day", "≤", 0, COUNT),
    Goal(
        "beacon in the right zone",
        "accuracy.zone.right_share",
        "≥",
        0.93,
        SHARE,
        (("strongest RSSI", "accuracy.zone.baseline_share"),),
    ),
    Goal("… entering told, p95", "accuracy.zone.enter_p95_s", "≤", 5, S1),
    Goal(
        "door crossing, simulated",
        "accuracy.crossings.right_share",
        "≥",
        0.95,
        SHARE,
        (
            ("two zones", "accuracy.crossings.baselines.two_zone"),
            ("tracker", "accuracy.crossings.baselines.tracker"),
        ),
    ),
    Goal(
        "… one close behind another",
        "accuracy.crossings.tailgating_right",
        "≥",
        0.95,
        SHARE,
        (("two zones", "accuracy.crossings.baseline_tailgating"),),
    ),
    Goal(
        "… in opposite directions",
        "accuracy.crossings.opposite_right",
        "≥",
        0.90,
        SHARE,
        (("two zones", "accuracy.crossings.baseline_opposite"),),
    ),
    Goal(
        "door crossing, real recordings, F1",
        REAL + "f1",
        "≥",
        0.98,
        FRACTION,
        (("two zones", REAL + "baselines.two_zone.f1"), ("tracker", REAL + "baselines.tracker.f1")),
    ),
    Goal(
        "… composed of real clips, tailgating",
        REAL + "composed_tailgating",
        "≥",
        0.97,
        FRACTION,
        (("tracker", REAL + "baselines.tracker.composed_tailgating"),),
    ),
    Goal(
        "… opposite",
        REAL + "composed_opposite",
        "≥",
        0.97,
        FRACTION,
        (("tracker", REAL + "baselines.tracker.composed_opposite"),),
    ),
    Goal(
        "… side by side",
        REAL + "composed_side",
        "≥",
        0.93,
        FRACTION,
        (("tracker", REAL + "baselines.tracker.composed_side"),),
    ),
    Goal(
        "days out of stock",
        "accuracy.reorder.out_of_stock_day_share",
        "≤",
        0.01,
        EXACT,
        (("normal approximation", "accuracy.reorder.out_of_stock_day_share_normal"),),
    ),
    Goal("… stock kept, ours / normal", "accuracy.reorder.stock_ratio", "≤", 1, FRACTION),
    Goal("… orders triggered twice", "accuracy.reorder.duplicate_triggers", "≤", 0, COUNT),
)
