"""The bill of materials names every pinned package, once, with its hashes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_pin_is_a_component_with_hashes() -> None:
    command = [sys.executable, str(ROOT / "deploy" / "sbom.py")]
    told, again = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert told == again
    document = json.loads(told)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    pins = re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    refs = [row["bom-ref"] for row in document["components"]]
    assert len(refs) == len(set(refs)) == len(pins) > 40
    assert all(row["hashes"] for row in document["components"])
    assert {"numpy", "paho-mqtt", "tuf"} <= {row["name"] for row in document["components"]}
