"""The page of figures says what was measured, what was missed and what was not measured."""

import json
from pathlib import Path

import pytest

from tests.figures import names
from tests.figures_page import main, page, row
from tests.goals import ACCURACY, SPEED, Goal, found, plain


def test_every_goal_names_a_command_that_exists() -> None:
    for goal in (*SPEED, *ACCURACY):
        for path in (goal.path, *(path for _, path in goal.beside)):
            group, command, *keys = path.split(".")
            assert command in names(group), path
            assert keys, path


def test_every_command_has_a_goal() -> None:
    asked = {tuple(goal.path.split(".")[:2]) for goal in (*SPEED, *ACCURACY)}
    assert asked == {(group, name) for group in ("bench", "accuracy") for name in names(group)}


@pytest.mark.parametrize(("sense", "value", "cell"), [
    ("≥", 40.0, "| 40 /s |"),
    ("≥", 39.9, "| **40 /s** (missed) |"),
    ("≤", 40.0, "| 40 /s |"),
    ("≤", 40.4, "| **40 /s** (missed) |"),
])  # fmt: skip
def test_a_missed_goal_is_marked(sense: str, value: float, cell: str) -> None:
    goal = Goal("drain", "bench.drain.events_per_s", sense, 40, plain("/s"))
    assert cell in row(goal, {"bench": {"drain": {"events_per_s": value}}})


def test_what_failed_was_not_measured_and_no_peer_stands_beside_nothing() -> None:
    goal = Goal("drain", "bench.drain.events_per_s", "≥", 40, plain("/s"), (("peer", "bench.drain.peer"),))
    assert row(goal, {"bench": {"drain": {"failed": 1}}}) == (
        "| drain | ≥ 40 /s | not measured |  | `bench drain` |"
    )  # fmt: skip
    assert found("bench.drain.peer", {"bench": {"drain": {"peer": None}}}) is None
    told = {"bench": {"drain": {"events_per_s": 1234.0, "peer": 7}}}
    assert row(goal, told) == "| drain | ≥ 40 /s | 1,234 /s | peer 7 /s | `bench drain` |"


def test_the_page_has_every_goal_and_the_command_tells_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, told in (("bench", {"drain": {"events_per_s": 50_000, "cpu_score": 3.5}}), ("accuracy", {})):
        (tmp_path / name).write_text("progress\n" + json.dumps(told), "utf-8")
    wanted = tmp_path / "figures.md"
    assert main([str(tmp_path / "bench"), str(tmp_path / "accuracy"), "-o", str(wanted), "--seed", "5"]) == 1
    text = wanted.read_text("utf-8")
    assert text.count("\n| ") == len(SPEED) + len(ACCURACY) + 2
    assert "`cpu_score` 3.5" in text
    assert "seed 5" in text
    told = capsys.readouterr().out
    assert "bench.drain.cpu_us_per_event" in told
    assert "bench.drain.events_per_s" not in told


def test_what_is_no_measurement_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "list").write_text("[1]")
    for name in ("empty", "list"):
        with pytest.raises(SystemExit, match=name):
            main([str(tmp_path / name), str(tmp_path / name), "-o", str(tmp_path / "page")])


def test_all_goals_met_is_said_by_the_page_too() -> None:
    figures: dict = {"bench": {}, "accuracy": {}}
    for goal in (*SPEED, *ACCURACY):
        here = figures
        *folders, last = goal.path.split(".")
        for folder in folders:
            here = here.setdefault(folder, {})
        here[last] = goal.goal
    assert "missed)" not in page(figures, 1, 1)
