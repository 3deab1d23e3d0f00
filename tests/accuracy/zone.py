"""Zones of carried beacons on the judge's floor, second by second, beside the strongest-RSSI baseline.

Production runs as it runs in a store: adverts into the engine's proximity part, facts out. The first 10 s of each
asset are not scored (nobody can know yet); a second counts as right when the said zone is the true one.

``enter_p95_s``: of every stay of 8 s and more (a walk across a zone is one), from the moment at which the asset steps
over the line between two zones to the fact; infinite when it was never said, 0 when it was said up to 3 s before.
On the line two scanners are equally far, so that nothing tells the two sides apart before some steps are made: what an
observer who knows every exponent, gain and shadow of the world needs is 5 to 6 s here. ``inside_p95_s`` is the same
from 1.5 m behind the line, half the width of a main aisle: where people would say that it is in the zone.
"""

from __future__ import annotations

import argparse
import math
import time
from bisect import bisect_right
from typing import Any

import numpy as np

from edge.core.facts import SpoofingSuspected, ZoneEntered, ZoneLeft
from edge.core.instant import US_PER_S, Instant
from edge.core.observation import Advert
from edge.core.proximity import Proximity
from edge.core.site import load_site
from tests.worlds import zone as world_of

WARM_S = 10.0
STAY_S = 8.0
STEP_S = 0.5
INSIDE_M = 1.5


def run(seed: int, argv: list[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser(prog="zone")
    parser.add_argument("--worlds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--world", choices=("field", "shadowed"), default="field")
    options = parser.parse_args(argv)
    results = [judge(seed * 1000 + i, options.seconds, options.world) for i in range(options.worlds)]
    delays, inside = (np.concatenate([r[name] for r in results]) for name in ("delays", "inside"))
    steps = sum(r["steps"] for r in results)
    return {
        "right_share": round(sum(r["right"] for r in results) / steps, 4),
        "enter_p95_s": round(float(np.quantile(delays, 0.95, method="higher")), 2),
        "enter_p50_s": round(float(np.quantile(delays, 0.5)), 2),
        "inside_p95_s": round(float(np.quantile(inside, 0.95, method="higher")), 2),
        "flaps_per_hour": round(sum(r["flaps"] for r in results) / (steps * STEP_S / 3600), 2),
        "baseline_share": round(sum(r["baseline"] for r in results) / steps, 4),
        "false_suspicions": sum(r["suspicions"] for r in results),
        "moves": len(delays),
        "empty_world_facts": empty_world(seed),
        "us_per_advert": round(sum(r["cpu_s"] for r in results) / sum(r["packets"] for r in results) * 1e6, 1),
        "world": {str(i): r["world"] for i, r in enumerate(results)},
    }


def empty_world(seed: int) -> int:
    """Strangers' beacons alone: facts said (0 expected)."""
    floor = world_of.play(seed, 60.0)
    part = Proximity(load_site(floor.site() | {"beacons": []}))
    said = 0
    for packet in floor.packets():
        now = Instant(int(packet.t_s * US_PER_S), int(packet.t_s * US_PER_S))
        said += len(
            part.heard(Advert(f"s-{packet.scanner}", now.mono_us, f"ibeacon:x:1:{packet.asset}", packet.rssi_dbm), now)
        )
    return said


def judge(seed: int, seconds: float, kind: str) -> dict[str, Any]:
    """One world."""
    floor = world_of.play(seed, seconds, kind)
    part = Proximity(load_site(floor.site()))
    said: list[list[tuple[float, str]]] = [[(-1.0, "")] for _ in range(floor.world.assets)]
    latest: list[dict[int, tuple[float, int]]] = [{} for _ in range(floor.world.assets)]
    strongest: list[list[tuple[float, str]]] = [[(-1.0, "")] for _ in range(floor.world.assets)]
    spent_s, packets, suspicions = 0.0, 0, 0
    for packet in floor.packets():
        packets += 1
        now = Instant(int(packet.t_s * US_PER_S), int(packet.t_s * US_PER_S))
        advert = Advert(f"s-{packet.scanner}", now.mono_us, f"ibeacon:u:1:{packet.asset}", packet.rssi_dbm, -59)
        began_s = time.process_time()
        signals = part.heard(advert, now)
        due_us = part.next_deadline_us()
        if due_us is not None and due_us <= now.mono_us:
            signals = signals + part.tick(now)
        spent_s += time.process_time() - began_s
        suspicions += sum(isinstance(signal, SpoofingSuspected) for signal in signals)
        for signal in signals:
            if isinstance(signal, ZoneEntered | ZoneLeft):
                zone = signal.zone if isinstance(signal, ZoneEntered) else ""
                said[int(signal.beacon[2:])].append((packet.t_s, zone))
        heard = latest[packet.asset]
        heard[packet.scanner] = (packet.t_s, packet.rssi_dbm)
        fresh = {s: rssi for s, (t, rssi) in heard.items() if packet.t_s - t < 2.0}
        strongest[packet.asset].append((packet.t_s, floor.zones[max(fresh, key=fresh.__getitem__)]))
    score = {"world": world_of.parameters(floor.world), "cpu_s": spent_s, "packets": packets, "suspicions": suspicions}
    return score | _score(floor, said, strongest, seconds)


def _value(history: list[tuple[float, str]], t: float) -> str:
    return history[bisect_right(history, (t, "\uffff")) - 1][1]


def _score(floor: world_of.Floor, said: Any, strongest: Any, seconds: float) -> dict[str, Any]:
    right = baseline = steps = flaps = 0
    delays: list[float] = []
    inside: list[float] = []
    for asset in range(floor.world.assets):
        stays: list[list[Any]] = []
        for step in range(int(seconds / STEP_S)):
            t = step * STEP_S
            truth = floor.zone_at(asset, t)
            if not stays or stays[-1][0] != truth:
                stays.append([truth, t, t])
            stays[-1][2] = t + STEP_S
            if t >= WARM_S:
                steps += 1
                right += _value(said[asset], t) == truth
                baseline += _value(strongest[asset], t) == truth
        entered = [t for t, zone in said[asset][1:] if zone]
        flaps += max(0, len(entered) - len(stays))
        for truth, begun, ended in stays[1:]:
            if ended - begun >= STAY_S:
                times = [t for t, zone in said[asset] if zone == truth and begun - 3 <= t < ended]
                kept = _value(said[asset], begun) == truth
                delays.append(0.0 if kept else max(0.0, times[0] - begun) if times else math.inf)
                inside.append(max(0.0, delays[-1] - (_inside_s(floor, asset, begun, ended) - begun)))
    figures = {"right": right, "baseline": baseline, "steps": steps, "flaps": flaps}
    return figures | {"delays": np.array(delays), "inside": np.array(inside)}


def _inside_s(floor: world_of.Floor, asset: int, begun: float, ended: float) -> float:
    """When the asset is well inside its zone; the stay's begin where it never is."""
    times = np.arange(begun, ended, STEP_S)
    return float(next((t for t in times if floor.depth_m(asset, t) >= INSIDE_M), begun))
