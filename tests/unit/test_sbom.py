"""The bill of materials names every pinned package, once, with its hashes."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VALIDATE = """import json, sys
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = sys.stdin.read()
wrong = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
sys.exit(str(wrong)[:500] if wrong else 0 if Bom.from_json(json.loads(text)).validate() else 1)"""


def test_every_pin_is_a_component_with_hashes() -> None:
    command = [sys.executable, str(ROOT / "deploy" / "sbom.py")]
    told, again = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert told == again
    document = json.loads(told)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    pins = re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements-gateway.lock").read_text(), re.MULTILINE)
    refs = [row["bom-ref"] for row in document["components"]]
    assert len(refs) == len(set(refs)) == len(pins) + 2
    assert len(pins) > 40
    model = next(row for row in document["components"] if row["name"] == "footfall")
    digest = hashlib.sha256((ROOT / "models/footfall.onnx").read_bytes()).hexdigest()
    assert (model["type"], model["hashes"][0]["content"]) == ("machine-learning-model", digest)
    assert all(row["hashes"] for row in document["components"])
    assert {"numpy", "paho-mqtt", "tuf"} <= {row["name"] for row in document["components"]}


def test_the_document_is_valid_by_its_own_schema() -> None:
    reader = ROOT / ".venv/peers/readers/bin/python"
    if not reader.exists():
        pytest.skip("cyclonedx-python-lib is not here (`make peers`)")
    told = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "sbom.py")], capture_output=True, text=True, check=True
    )
    for document, valid in ((told.stdout, True), (told.stdout.replace('"SHA-256"', '"SHA-255"', 1), False)):
        read = subprocess.run(
            [str(reader), "-c", VALIDATE], input=document, capture_output=True, text=True, check=False
        )
        assert (read.returncode == 0) is valid, read.stdout + read.stderr


def test_what_builds_a_release_is_pinned_by_hash_everywhere() -> None:
    (tool,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    lock = (ROOT / "requirements-build.lock").read_text()
    assert re.findall(r"^([A-Za-z0-9._-]+==[^\s;\\]+)", lock, re.MULTILINE) == [tool]
    assert lock.count("--hash=sha256:") >= 1
    for builder in ("Makefile", "deploy/install.sh", "edge/updates/bundle.py"):
        text = (ROOT / builder).read_text()
        assert text.count("requirements-build.lock") >= 1, builder
        assert text.count("no-build-isolation") == 1, builder


def test_a_gateway_gets_what_was_tested_and_nothing_else() -> None:
    pin = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
    tested = set(pin.findall((ROOT / "requirements.lock").read_text()))
    shipped = set(pin.findall((ROOT / "requirements-gateway.lock").read_text()))
    assert shipped <= tested, "python versions apart, a gateway runs what the tests ran"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[><=;\[ ]", line)[0] for line in project["dependencies"]}
    assert named <= {name for name, _ in shipped}
    assert not {"pytest", "playwright", "torch", "beacontools"} & {name for name, _ in shipped}
