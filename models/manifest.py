"""The manifest beside a model file: what it is, what goes in and comes out, how to decode it, and how good it is."""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from models.errors import ManifestError, ModelError
from models.frontend import STEP_US
from models.intake import GRID
from models.onnx_file import read_content
from models.peaks import PeakRule, Signs
from models.window import AHEAD_STEPS, WINDOW_STEPS

MANIFEST: Final = Path(__file__).parent / "manifest.toml"
"""The manifest of the model that comes with the gateway."""
OPERATORS: Final = frozenset({"Transpose", "Conv", "Relu", "Sigmoid", "Add", "Mul", "Concat", "Reshape"})
"""Operators a footfall model may use: no control flow, no file access, no custom domain."""
MAX_BYTES: Final = 1_000_000
FORMAT: Final = 2


@dataclass(frozen=True, slots=True)
class Curve:
    """How sure a crossing is by the signs of its peak: a logistic curve, one weight for each sign, and an offset."""

    height: float
    spread: float
    rival: float
    against: float
    offset: float

    def confidence(self, signs: Signs) -> float:
        """0 to 1."""
        told = self.offset + self.height * signs.height + self.spread * signs.spread
        told += self.rival * signs.rival + self.against * signs.against
        return 1 / (1 + math.exp(-min(max(told, -30.0), 30.0)))


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checked manifest."""

    folder: Path
    name: str
    version: str
    file: str
    sha256: str
    licence: str
    rule: PeakRule
    curve: Curve
    scores: Mapping[str, float]


def _need(path: Path, table: Mapping[str, Any], key: str, kind: type) -> Any:
    """The value at "section.key", of that type."""
    section, name = key.split(".")
    value = table.get(section, {}).get(name)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
        raise ManifestError(f"{path}: {key} = {value!r}: expected a {kind.__name__}")
    return value


def _expect(path: Path, table: Mapping[str, Any], key: str, wanted: object) -> None:
    section, name = key.split(".")
    value = table.get(section, {}).get(name)
    if value != wanted:
        raise ManifestError(f"{path}: {key} = {value!r}: this gateway expects {wanted!r}")


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest. Raises `ManifestError` naming the file, the key, the value and what is expected."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ManifestError(f"{path}: {error}: expected a TOML manifest") from error
    _expect(path, table, "model.format", FORMAT)
    _expect(path, table, "input.shape", [1, "steps", GRID, GRID])
    _expect(path, table, "input.step_us", STEP_US)
    _expect(path, table, "input.window_steps", WINDOW_STEPS)
    _expect(path, table, "output.shape", [1, "judged", 2, GRID])
    _expect(path, table, "output.ahead_steps", AHEAD_STEPS)
    file = str(_need(path, table, "model.file", str))
    if Path(file).name != file:
        raise ManifestError(f"{path}: model.file = {file!r}: expected a plain file name beside the manifest")
    sha256 = str(_need(path, table, "model.sha256", str)).lower()
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ManifestError(f"{path}: model.sha256 = {sha256!r}: expected 64 hexadecimal digits")
    threshold = float(_need(path, table, "decoding.threshold", float))
    if not 0 < threshold < 1:
        raise ManifestError(f"{path}: decoding.threshold = {threshold}: expected more than 0 and less than 1")
    rule = PeakRule(
        threshold,
        int(_need(path, table, "decoding.reach_steps", int)),
        int(_need(path, table, "decoding.reach_rows", int)),
        float(_need(path, table, "decoding.valley", float)),
        float(_need(path, table, "decoding.valley_abreast", float)),
    )
    curve = Curve(**{key.name: float(_need(path, table, f"confidence.{key.name}", float)) for key in fields(Curve)})
    return Manifest(
        path.parent,
        str(_need(path, table, "model.name", str)),
        str(_need(path, table, "model.version", str)),
        file,
        sha256,
        str(_need(path, table, "model.licence", str)),
        rule,
        curve,
        {str(k): float(v) for k, v in table.get("scores", {}).items() if isinstance(v, int | float)},
    )


def read_model(manifest: Manifest) -> bytes:
    """The bytes of the manifest's model: right size, right sha256, only known operators, nothing outside the file.

    Raises `ModelError`. What is checked is what is returned, so the file cannot change in between.
    """
    path = manifest.folder / manifest.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}: expected the model {manifest.name} {manifest.version}") from error
    if len(data) > MAX_BYTES:
        raise ModelError(f"{path}: {len(data)} bytes: expected at most {MAX_BYTES}")
    digest = hashlib.sha256(data).hexdigest()
    if digest != manifest.sha256:
        raise ModelError(f"{path}: sha256 {digest}: expected {manifest.sha256}")
    content = read_content(data)
    foreign = sorted(content.operators - OPERATORS)
    if foreign:
        raise ModelError(f"{path}: operators {', '.join(foreign)}: expected only {', '.join(sorted(OPERATORS))}")
    if content.external_data:
        raise ModelError(f"{path}: tensors outside the file: expected all weights inside it")
    return data
