"""Slots: a cut at any step boots the old release or the new one; a bad release is taken back by itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edge.updates.errors import UpdateRefused
from edge.updates.judge import Judge, baseline_of, fault_of
from edge.updates.settings import Follow
from edge.updates.slots import Slots
from tests.updates_support import WELL, Shop, build, bundle, fault_after_a_cut


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path).open()
    shop.release("1.1.0")
    shop.want("1.1.0")
    return shop


@pytest.mark.parametrize("judged", ["", "it fails"], ids=["good", "bad"])
def test_a_cut_boots_old_or_new_and_ends_as_without_it(shop: Shop, judged: str) -> None:
    """Every ninth step; `python -m tests.fault updates` cuts at each one."""
    shop.judged = judged
    step, killed = 1, True
    while killed:
        killed, fault = fault_after_a_cut(shop, step, shop.folder.with_name(f"cut-{step}"))
        assert fault == "", step
        step += 9
    assert step > 40  # else the cuts no longer reach what they are about


def test_a_release_that_crashes_is_taken_back_after_three_starts(shop: Shop) -> None:
    """The gate alone does it: the updater is dead all the while."""

    def dies() -> None:
        raise KeyboardInterrupt

    shop.on_judging = dies
    with pytest.raises(KeyboardInterrupt):
        shop.updater().run()
    assert [shop.start() for _ in range(5)] == ["1.1.0", "1.1.0", "1.1.0", "1.0.0", "1.0.0"]
    shop.on_judging = lambda: None
    with pytest.raises(UpdateRefused, match="failed_before"):
        shop.updater().run()
    assert ("gateway", "1.1.0", False, "unhealthy") in shop.outcomes()
    assert shop.start() == "1.0.0"
    assert shop.updater().run({"gateway": "1.1.0"}, again=True) == ["gateway 1.0.0 -> 1.1.0"]


def test_a_damaged_slot_is_not_started(shop: Shop) -> None:
    """Whatever happened to the files: as long as one complete release is there, it runs."""
    shop.updater().run()
    assert shop.start() == "1.1.0"
    (shop.base / "slots/1.1.0/.complete").unlink()
    assert shop.start() == "1.0.0"
    (shop.base / "current").unlink()
    (shop.base / "good").unlink()
    assert shop.start() == "1.0.0"


def test_a_person_goes_back_and_only_once(shop: Shop) -> None:
    shop.updater().run()
    assert shop.updater().rollback() == "1.1.0 is left, 1.0.0 is current"
    assert shop.start() == "1.0.0"
    with pytest.raises(UpdateRefused, match="nothing_before"):
        shop.updater().rollback()
    shop.want("1.0.0")
    assert shop.updater().run() == []


def test_a_release_that_cannot_start_is_never_switched_to(shop: Shop) -> None:
    def broken(file: Path, slot: Path) -> None:
        build(file, slot)
        (slot / "bin/smartstore").write_text("#!/bin/sh\necho 'ImportError: no such part' >&2\nexit 1\n")

    updater = shop.updater()
    updater.slots = Slots(shop.base, broken)
    with pytest.raises(UpdateRefused, match=r"bad_release.*ImportError: no such part"):
        updater.run()
    assert shop.start() == "1.0.0"
    assert shop.slots().trial() is None


def test_a_release_with_another_version_inside_is_refused(tmp_path: Path) -> None:
    slots = Slots(tmp_path, build)
    slots.fill("2.0.0", bundle(tmp_path, "1.9.0"), "x")
    with pytest.raises(UpdateRefused, match=r"says it is 1\.9\.0, expected 2\.0\.0"):
        slots.probe("2.0.0")


def test_two_updaters_do_not_meet(shop: Shop) -> None:
    seen: list[str] = []

    def second() -> None:
        with pytest.raises(UpdateRefused) as caught:
            shop.updater().run()
        seen.append(caught.value.reason)

    shop.on_judging = second
    shop.updater().run()
    assert seen == ["busy"]


def test_only_what_a_link_names_is_kept(shop: Shop) -> None:
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        if version != "1.1.0":
            shop.release(version)
        shop.want(version)
        shop.updater().run()
    assert sorted(path.name for path in (shop.base / "slots").iterdir()) == ["1.1.0", "1.2.0", "1.3.0"]
    shop.slots().prune()
    assert sorted(path.name for path in (shop.base / "slots").iterdir()) == ["1.2.0", "1.3.0"]


def test_nobody_latest_and_platform(shop: Shop) -> None:
    shop.release("1.2.0")
    shop.follow = Follow.NOBODY
    assert shop.updater().run() == []
    shop.follow = Follow.PLATFORM
    assert shop.updater().run() == ["gateway 1.0.0 -> 1.1.0"]
    shop.follow = Follow.LATEST
    assert shop.updater().run() == []  # the platform still names 1.1.0 for this store
    shop.updater().exchange.want({})
    assert shop.updater().run() == ["gateway 1.1.0 -> 1.2.0"]


def test_no_room_is_said_before_anything_is_touched(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.updates.trust.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))  # type: ignore[attr-defined]
    with pytest.raises(UpdateRefused, match=r"no_room.*expected 32 MiB"):
        shop.updater().run()
    assert shop.start() == "1.0.0"


def test_the_gate_explains_wrong_usage(shop: Shop) -> None:
    gate = Path(__file__).parents[2] / "deploy" / "gate.sh"
    done = subprocess.run(["sh", str(gate), "open"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (2, "gate.sh: open: expected start or follow")


# --- the judge --------------------------------------------------------------------------------------------------------


def judge(*looks: dict, gate_s: float = 600.0, stays: int = 10**6) -> str:
    """The verdict over looks 5 s apart; the last one goes on."""
    seen, time_s = [0], [0.0]

    def look() -> dict:
        seen[0] += 1
        return looks[min(seen[0], len(looks)) - 1]

    def sleep(seconds: float) -> None:
        time_s[0] += seconds

    tried = Judge(look, lambda: seen[0] < stays, gate_s, sleep, lambda: time_s[0])
    said = tried.verdict("2.0.0", baseline_of({**WELL, "uplink": "connected", "causes": ["certificate"]}))
    judge.took_s = time_s[0]  # type: ignore[attr-defined]
    return said


NEW = {**WELL, "version": "2.0.0", "uplink": "connected"}


def test_a_good_release_is_judged_for_all_of_the_gate() -> None:
    assert judge({}, {**NEW, "devices_online": 0}, NEW) == ""
    assert judge.took_s >= 600  # type: ignore[attr-defined]
    assert judge({**NEW, "causes": ["certificate"]}) == ""  # the old one had this alarm as well


@pytest.mark.parametrize(
    ("look", "says"),
    [
        ({}, "does not answer"),
        ({**NEW, "version": "1.0.0"}, "version 1.0.0 answers"),
        ({**NEW, "status": "failing", "causes": ["heartbeat:loop"]}, "it fails: heartbeat:loop"),
        ({**NEW, "causes": ["journal_full"]}, "new alarm: journal_full"),
        ({**NEW, "devices_online": 1}, "1 devices online, 2 before"),
        ({**NEW, "uplink": "disconnected"}, "does not stand"),
    ],
)
def test_a_release_that_does_worse_fails(look: dict, says: str) -> None:
    assert says in judge(look)
    assert says in fault_of(look, "2.0.0", baseline_of({**WELL, "uplink": "connected"}))


def test_a_release_that_fails_late_or_restarts_fails() -> None:
    assert "new alarm" in judge(*[NEW] * 110, {**NEW, "causes": ["safe_mode"]})
    assert "started 2 times" in judge(*[NEW] * 20, {**NEW, "boot": 2})
    assert "three starts" in judge(NEW, stays=10)
