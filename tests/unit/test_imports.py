"""Who may import whom: the contracts in .importlinter, and the few that it cannot say."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"edge", "devices", "cloud_bridge", "models"}


def imported(path: Path) -> set[str]:
    """Top-level names of all packages that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_only_the_paho_client_imports_paho() -> None:
    users = {path.relative_to(ROOT).as_posix() for package in OURS for path in (ROOT / package).rglob("*.py")
             if any(name.split(".")[0] == "paho" for name in imported(path))}  # fmt: skip
    assert users <= {"cloud_bridge/paho_client.py"}


@pytest.mark.parametrize("path", sorted((ROOT / "tests/worlds").glob("*.py")), ids=lambda path: path.stem)
def test_the_judges_worlds_know_neither_simulator_nor_production(path: Path) -> None:
    tops = {name.split(".")[0] for name in imported(path)}
    assert not tops & (OURS | {"firmware_sim"})
