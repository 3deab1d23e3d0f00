"""The model file and its manifest: what is tampered with or missing is refused by name; the last good one counts."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from models.calibrate import fitted_curve
from models.errors import ManifestError, ModelError
from models.manifest import MANIFEST, OPERATORS, read_manifest, read_model
from models.onnx_file import read_content
from models.peaks import Signs
from models.probe import known_scene
from models.runner import FootfallRunner
from models.update import in_use, install, probe_in_isolation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the built-in model."""
    home = tmp_path / "candidate"
    home.mkdir()
    for name in ("manifest.toml", "footfall.onnx"):
        shutil.copy(MANIFEST.parent / name, home / name)
    return home


def edit(folder: Path, old: str, new: str) -> Path:
    path = folder / "manifest.toml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    return path


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def test_the_built_in_model_is_small_and_uses_known_operators() -> None:
    data = read_model(read_manifest(MANIFEST))
    content = read_content(data)
    assert len(data) < 1_000_000
    assert content.operators <= OPERATORS
    assert {"Conv", "Sigmoid"} <= content.operators
    assert not content.external_data


def test_the_manifest_says_what_goes_in_and_where_it_comes_from() -> None:
    text = MANIFEST.read_text("utf-8")
    for word in ("sha256", "licence", "step_us", "unit", "generated scenes only"):
        assert word in text


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("step_us = 100000", "step_us = 50000", "input.step_us"),
        ("format = 2", "format = 9", "model.format"),
        ("spread = ", "wide = ", "confidence.spread"),
        ("offset = ", "offset = nan # ", "confidence.offset"),
        ('file = "footfall.onnx"', 'file = "../footfall.onnx"', "model.file"),
        ("threshold = 0", "threshold = 7", "decoding.threshold"),
        ('sha256 = "', 'sha256 = "zz', "model.sha256"),
        ("window_steps = 25", "", "input.window_steps"),
    ],
)
def test_a_wrong_manifest_names_its_key(folder: Path, old: str, new: str, named: str) -> None:
    with pytest.raises(ManifestError, match=named):
        read_manifest(edit(folder, old, new))


def test_a_manifest_that_is_no_toml_is_named(folder: Path) -> None:
    (folder / "manifest.toml").write_text("[model", "utf-8")
    with pytest.raises(ManifestError, match="expected a TOML manifest"):
        read_manifest(folder / "manifest.toml")


def test_one_flipped_bit_is_found(folder: Path) -> None:
    data = bytearray((folder / "footfall.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "footfall.onnx").write_bytes(data)
    with pytest.raises(ModelError, match="sha256"):
        read_model(read_manifest(folder / "manifest.toml"))


def test_a_foreign_operator_is_refused() -> None:
    node = field(1, field(4, b"Loop") + field(7, b"com.example"))
    assert read_content(field(7, node)).operators == {"com.example:Loop"}
    assert not read_content(field(7, node)).operators <= OPERATORS


def test_weights_outside_the_file_are_seen() -> None:
    tensor = field(5, varint(14 << 3) + varint(1))
    assert read_content(field(7, field(1, field(4, b"Conv")) + tensor)).external_data


@pytest.mark.parametrize("data", [b"", b"\x00" * 40, b"\xff" * 30, field(7, b"\x0a\xff"), b"not an onnx file at all"])
def test_what_is_no_onnx_file_is_a_named_error(data: bytes) -> None:
    with pytest.raises(ModelError):
        read_content(data)


def test_a_missing_model_gives_way_to_the_last_good_one(folder: Path) -> None:
    (folder / "footfall.onnx").unlink()
    runner = FootfallRunner(folder / "manifest.toml")
    frames, t_us = known_scene()
    door = runner.door((8, 8))
    assert [c.direction for c in door.push(frames, t_us) + door.flush()] == ["in"]
    assert "footfall.onnx" in runner.degraded


def test_without_a_last_good_model_the_error_is_named(folder: Path) -> None:
    (folder / "footfall.onnx").unlink()
    with pytest.raises(ModelError, match=r"footfall\.onnx"):
        FootfallRunner(folder / "manifest.toml", last_good=None).door((8, 8))


def test_a_model_that_is_not_loaded_costs_nothing() -> None:
    code = "import models.runner, sys; models.runner.FootfallRunner(); sys.exit('onnxruntime' in sys.modules)"
    import subprocess

    assert subprocess.run([sys.executable, "-c", code], cwd=MANIFEST.parent.parent, check=False).returncode == 0


def test_an_update_becomes_current_and_keeps_the_last_good_one(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert in_use(store) == (MANIFEST, MANIFEST)
    first = install(folder / "manifest.toml", store)
    assert in_use(store) == (first, MANIFEST)
    version = read_manifest(MANIFEST).version
    second = install(edit(folder, f'version = "{version}"', 'version = "99.0.0"'), store)
    assert in_use(store) == (second, first)
    assert FootfallRunner(*in_use(store)).network.manifest.version == "99.0.0"
    assert sorted(path.name for path in store.iterdir() if path.suffix in (".trial", ".new")) == []


def test_a_bad_update_changes_nothing(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = install(folder / "manifest.toml", store)
    (folder / "footfall.onnx").write_bytes(b"garbage")
    with pytest.raises(ModelError, match="sha256"):
        install(folder / "manifest.toml", store)
    assert in_use(store)[0] == first


def test_a_model_that_counts_nonsense_fails_in_isolation(folder: Path) -> None:
    path = edit(folder, "threshold = 0", "threshold = 0.99999 # ")
    with pytest.raises(ModelError, match="known scene"):
        probe_in_isolation(path)


def test_an_isolated_process_that_hangs_is_named(folder: Path) -> None:
    with pytest.raises(ModelError, match="no answer"):
        probe_in_isolation(folder / "manifest.toml", timeout_s=0.01)


def test_the_known_scene_is_known() -> None:
    frames, t_us = known_scene()
    assert frames.shape == (180, 8, 8)
    assert np.all(np.diff(t_us) == 100_000)


def test_the_confidence_curve_finds_what_the_outcomes_follow() -> None:
    rng = np.random.default_rng(3)
    signs = rng.normal(0, 1, (20_000, 4)) * (2.0, 0.1, 0.3, 0.5) + (3.0, 0.4, 0.2, 0.1)
    weights = np.array([0.8, -4.0, -1.5, -0.5])
    chance = 1 / (1 + np.exp(-(signs @ weights + 1.0)))
    curve = fitted_curve(signs, (rng.random(len(signs)) < chance).astype(float))
    said = np.array([curve.confidence(Signs(*row)) for row in signs[:2000].tolist()])
    assert np.abs(said - chance[:2000]).mean() < 0.02
    assert (curve.height, curve.spread) == (pytest.approx(0.8, abs=0.1), pytest.approx(-4.0, abs=0.5))
