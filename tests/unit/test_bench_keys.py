"""Benches and accuracy commands print the keys that were promised: others read them by these names."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PROMISED = {
    "bench/rfid": "reads_per_s tags_in_stock reads_per_s_1_tag reads_per_s_200k codec_tags_per_s sllurp_tags_per_s "
    "mobility_profile_reads_per_s",
    "bench/drain": "events_per_s cpu_us_per_event synchronous",
    "bench/latency": "rate_per_s p50_ms p99_ms",
    "bench/footprint": "rss_mib idle_cpu_percent ready_s",
    "bench/simulation": "real_time_factor_t1 real_time_factor_t2 observations_per_virtual_s trace_hash",
    "bench/writes": "gb_per_day bytes_per_event",
    "bench/store": "core_share rss_mib",
    "accuracy/presence": "right_share right_share_hard flips_per_move p95_s departure_p95_s errors_vs_window "
    "misplaced_precision misplaced_recall sku_shelf_exact baseline_share baselines world",
}


@pytest.mark.parametrize("command", PROMISED)
def test_the_keys_that_others_read_are_there(command: str) -> None:
    text = (TESTS / f"{command}.py").read_text(encoding="utf-8")
    missing = [key for key in PROMISED[command].split() if f'"{key}"' not in text and f"{key}=" not in text]
    assert missing == []
