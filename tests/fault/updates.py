"""Updates: cut at every step, a cut power supply, attacks. Releases here are one small script each."""

from __future__ import annotations

from pathlib import Path

from tests.fault._campaign import Outcome, Promise, Trial
from tests.updates_support import Shop, fault_after_a_cut


def _shop(folder: Path, judged: str) -> Shop:
    shop = Shop(folder, judged)
    folder.mkdir()
    shop.open()
    shop.release("1.1.0")
    shop.want("1.1.0")
    return shop


def cuts(trial: Trial) -> Outcome:
    """kill -9 before each touch of the file system, with a release that does well and with one that does not."""
    tried, faults = 0, []
    stride = {"quick": 17, "default": 1, "full": 1}[trial.scale]
    for name, judged in (("good", ""), ("bad", "it fails")):
        shop = _shop(trial.folder / name, judged)
        step, killed = trial.seed % stride, True
        while killed:
            killed, fault = fault_after_a_cut(shop, step, trial.folder / f"{name}-{step}")
            tried += 1
            if fault:
                faults.append(f"{name} release, step {step}: {fault}")
                trial.say(f"  {faults[-1]}")
            step += stride
    return Outcome(tried, len(faults), faults[0] if faults else "old or new booted each time, never neither")


PROMISES = (Promise("cuts", "update cut at every step: boots old or new, ends as without the cut", (1, 1, 1), cuts),)
