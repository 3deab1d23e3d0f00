"""npm's ``@asyncapi/parser``, the foreign reader of our contract; fetched once into the user's cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

DOCUMENT = Path(__file__).parents[2] / "cloud_bridge/contract/asyncapi.json"
LIVE = Path(__file__).with_name("asyncapi_live.cjs")


def node_modules() -> Path:
    """Where the parser is. Skips the test where npm is missing or cannot fetch it."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("npm is not installed: nothing is checked by @asyncapi/parser")
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "smartstore-asyncapi"
    if not (home / "node_modules/@asyncapi/parser").is_dir():
        home.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home), "@asyncapi/parser@3"]
        if subprocess.run(command, capture_output=True, timeout=240).returncode:
            pytest.skip("npm cannot fetch @asyncapi/parser here")
    return home / "node_modules"


def run_node(script: Path, *arguments: str, text: str = "") -> Any:
    """What a script says last, as JSON."""
    command = ["node", str(script), *arguments]
    told = subprocess.run(command, input=text, capture_output=True, timeout=240, check=True, text=True)
    return json.loads(told.stdout.splitlines()[-1])


def judge(traffic: str) -> dict[str, Any]:
    """{messages, channels, faults} of ``topic payload`` lines, judged by the published document alone."""
    told: dict[str, Any] = run_node(LIVE, str(node_modules()), str(DOCUMENT), text=traffic)
    return told
