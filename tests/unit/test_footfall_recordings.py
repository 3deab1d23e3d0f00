"""Recordings: what the command line counts and scores, and what is wrong with a recording by name."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import (
    BadPixelsError,
    FrameRateError,
    FrameSizeError,
    InwardError,
    RecorderError,
    RecordingError,
)
from models.probe import known_scene
from models.recorder import LONGEST_US, Recorder
from models.recordings import (
    Event,
    count_recording,
    match_events,
    read_events,
    read_frames,
    read_recording,
    score_recording,
)

SHARED = Path(os.environ.get("SMARTSTORE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
REAL = SHARED / "recordings" / "footfall"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """The known scene, with the labels of the format: one crossing, in the middle at frame 107."""
    frames, _ = known_scene()
    labels = np.ones(len(frames) - 9, np.int8)
    labels[99:108] = 3
    path = tmp_path / "known.npz"
    np.savez(path, centi_celsius=frames, window_label=labels)
    return path


def test_counting_tells_frame_direction_and_confidence(recording: Path) -> None:
    told = count_recording(recording, 10, "+x")
    assert (told["in"], told["out"]) == (1, 0)
    assert told["crossings"][0]["direction"] == "in"
    assert abs(told["crossings"][0]["frame"] - 115) <= 3
    assert 0 < told["crossings"][0]["confidence"] <= 1


def test_the_other_inward_side_counts_out(recording: Path) -> None:
    told = count_recording(recording, 10, "-x")
    assert (told["in"], told["out"]) == (0, 1)


def test_scoring_needs_labels_and_tells_f1(recording: Path) -> None:
    told = score_recording(recording, 10, "+x")
    assert (told["true_in"], told["hits"], told["missed"], told["false"], told["f1"]) == (1, 1, 0, 0, 1.0)
    assert score_recording(recording, 10, "-x")["f1"] == 0.0


def test_labels_become_events_eight_frames_after_their_run_begins(recording: Path) -> None:
    assert read_events(recording) == [Event(107, "in")]


def test_bad_recordings_are_named(tmp_path: Path, recording: Path) -> None:
    with pytest.raises(RecordingError, match=r"absent\.npz"):
        count_recording(tmp_path / "absent.npz", 10, "+x")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(RecordingError, match=r"text\.npz"):
        count_recording(tmp_path / "text.npz", 10, "+x")
    np.savez(tmp_path / "other.npz", pixels=np.zeros(3))
    with pytest.raises(RecordingError, match="no array centi_celsius"):
        count_recording(tmp_path / "other.npz", 10, "+x")
    np.savez(tmp_path / "flat.npz", centi_celsius=np.zeros((9, 64), np.int16))
    with pytest.raises(RecordingError, match=r"\(9, 64\)"):
        count_recording(tmp_path / "flat.npz", 10, "+x")
    np.savez(tmp_path / "size.npz", centi_celsius=np.zeros((9, 16, 16), np.int16))
    with pytest.raises(FrameSizeError, match="16x16"):
        count_recording(tmp_path / "size.npz", 10, "+x")
    np.savez(tmp_path / "plain.npz", centi_celsius=known_scene()[0])
    with pytest.raises(RecordingError, match="window_label"):
        score_recording(tmp_path / "plain.npz", 10, "+x")
    with pytest.raises(FrameRateError, match=r"31\.|40\.00"):
        count_recording(recording, 40, "+x")
    with pytest.raises(InwardError, match="up"):
        count_recording(recording, 10, "up")


def test_pixels_that_are_no_number_are_dead_pixels(tmp_path: Path) -> None:
    frames = known_scene()[0].astype(np.float64)
    frames[:, 0, 0] = np.nan
    frames[50:60, 7, 7] = np.inf
    np.savez(tmp_path / "nan.npz", centi_celsius=frames)
    assert np.all(read_frames(tmp_path / "nan.npz")[:, 0, 0] == -32768)
    assert count_recording(tmp_path / "nan.npz", 10, "+x")["in"] == 1


events = st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["in", "out"])), max_size=5)


@settings(max_examples=200, deadline=None)
@given(events, events)
def test_the_match_is_a_largest_one_to_one_match(counted: list[tuple[int, str]], true: list[tuple[int, str]]) -> None:
    match = match_events([Event(*one) for one in counted], [Event(*one) for one in true])
    best = 0
    longer, shorter = (counted, true) if len(counted) >= len(true) else (true, counted)
    for chosen in itertools.permutations(range(len(longer)), len(shorter)):
        pairs = [(longer[i], one) for i, one in zip(chosen, shorter, strict=True)]
        best = max(best, sum(a[1] == b[1] and abs(a[0] - b[0]) <= 10 for a, b in pairs))
    assert (match.hits, match.missed, match.false) == (best, len(true) - best, len(counted) - best)


def test_frames_are_kept_only_with_a_notice_and_a_limit() -> None:
    with pytest.raises(RecorderError, match="notice"):
        Recorder((8, 8), 0, 60_000_000, notice_shown=False)
    with pytest.raises(RecorderError, match="limit_us"):
        Recorder((8, 8), 0, LONGEST_US + 1, notice_shown=True)
    recorder = Recorder((8, 8), 1_000_000, 5_000_000, notice_shown=True)
    frames, t_us = known_scene()
    assert recorder.add(frames, t_us) == 60  # 0 to 5.9 s: what comes at 6 s or later is past the limit
    assert not recorder.running(6_000_000)
    assert recorder.add(frames, t_us + 20_000_000) == 0


def test_a_saved_recording_can_be_counted(tmp_path: Path) -> None:
    recorder = Recorder((8, 8), 0, 60_000_000, notice_shown=True)
    with pytest.raises(RecorderError, match="0 frames"):
        recorder.to_npz()
    recorder.add(*known_scene())
    (tmp_path / "kept.npz").write_bytes(recorder.to_npz())
    assert count_recording(tmp_path / "kept.npz", 10, "+x")["in"] == 1


def test_a_recording_of_a_depth_sensor_says_so_and_is_counted_in_mm(tmp_path: Path) -> None:
    frames, t_us = known_scene()
    recorder = Recorder((8, 8), 0, 60_000_000, "mm", notice_shown=True)
    recorder.add((2600 - 3 * np.maximum(frames - 2150, 0)).astype(np.int16), t_us)
    (tmp_path / "depth.npz").write_bytes(recorder.to_npz())
    assert read_recording(tmp_path / "depth.npz")[1] == "mm"
    assert count_recording(tmp_path / "depth.npz", 10, "+x")["in"] == 1


def test_a_recording_most_of_whose_frames_are_bad_is_not_counted(tmp_path: Path) -> None:
    frames = known_scene()[0].copy()
    frames[:80, :3] = 32767
    np.savez(tmp_path / "half.npz", centi_celsius=frames)
    assert count_recording(tmp_path / "half.npz", 10, "+x")["in"] == 1
    frames[:100, :3] = 32767
    np.savez(tmp_path / "bad.npz", centi_celsius=frames)
    with pytest.raises(BadPixelsError, match=r"100 of 180 frames .* expected at most 50%"):
        count_recording(tmp_path / "bad.npz", 10, "+x")


@pytest.mark.parametrize("fps", [4.99, 30.01, 0, -5, float("nan"), float("inf")])
def test_a_recordings_rate_must_lie_within_5_to_30_exactly(recording: Path, fps: float) -> None:
    with pytest.raises(FrameRateError, match="expected 5 to 30"):
        count_recording(recording, fps, "+x")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real recordings are not at {REAL}")
def test_a_real_recording_is_counted_right() -> None:
    told = score_recording(REAL / "grideye_1person.npz", 10, "+x")
    assert told["f1"] >= 0.95
    assert abs(told["in"] - 7) <= 1
    assert abs(told["out"] - 7) <= 1


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real recordings are not at {REAL}")
def test_a_real_empty_doorway_counts_nobody() -> None:
    for name in ("grideye_background", "grideye_background_add"):
        assert count_recording(REAL / f"{name}.npz", 10, "+x")["crossings"] == []
