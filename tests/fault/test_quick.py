"""The short selection of the fault campaign that runs with every test: each promise tried a few times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.__main__ import names, promises
from tests.fault._campaign import Campaign, Outcome, Promise, Trial, table, write_report
from tests.fault.sabotage import PACKAGES, SABOTAGES, apply

QUICK = [(part, promise) for part in names() if part != "bridge" for promise in promises(part) if promise.counts[0]]


@pytest.mark.parametrize(("part", "promise"), QUICK, ids=[f"{part}.{promise.name}" for part, promise in QUICK])
def test_promise(part: str, promise: Promise, tmp_path: Path) -> None:
    said: list[str] = []
    row = Campaign("quick", 1, said.append, resume=False, state=tmp_path / "state.json").run(part, promise)
    assert row is not None
    if row.skipped:
        pytest.skip(row.skipped)
    assert row.failed == 0, "\n".join(said)
    assert row.tried > 0


def test_an_exception_is_a_broken_promise_and_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    calls: list[int] = []

    def check(trial: Trial) -> Outcome:
        calls.append(trial.saved.get("done", 0))
        trial.save({"done": 7})
        if len(calls) == 1:
            raise KeyboardInterrupt
        raise ValueError("broken")

    promise = Promise("p", "nothing breaks", (1, 2, 3), check)
    state = tmp_path / "state.json"
    with pytest.raises(KeyboardInterrupt):
        Campaign("full", 5, lambda _: None, resume=True, state=state).run("x", promise)
    row = Campaign("full", 5, lambda _: None, resume=True, state=state).run("x", promise)
    assert row is not None
    assert (row.failed, row.tried, calls) == (1, 3, [0, 7])
    again = Campaign("full", 5, lambda _: None, resume=True, state=state).run("x", promise)
    assert again == row
    assert calls == [0, 7]
    assert "ValueError: broken" in table([row])


def test_the_report_replaces_only_its_own_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fault._campaign.VAR", tmp_path)
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- campaign:begin -->\nyesterday\n<!-- campaign:end -->\nafter\n")
    row = Campaign("full", 3, lambda _: None, False, tmp_path / "s.json").run(
        "x", Promise("p", "holds", (1, 1, 1), lambda _: Outcome(4, 0, "fine"))
    )
    assert row is not None
    write_report("full", 3, [row], path)
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "yesterday" not in text
    assert "| holds | 4 | 0 | fine | `python -m tests.fault x --only p --full --seed 3` |" in text


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.name)
def test_every_sabotage_still_finds_its_place(sabotage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fault.sabotage.PACKAGES", [p for p in PACKAGES if sabotage.file.startswith(p)])
    apply(sabotage, tmp_path)
    compile((tmp_path / sabotage.file).read_text(), sabotage.file, "exec")
