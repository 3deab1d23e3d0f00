"""What docs/security-claims.md and docs/threat-model.md name as proof is really there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLAIMS = (ROOT / "docs" / "security-claims.md").read_text(encoding="utf-8")
THREATS = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
ROWS = [line.split(" | ") for line in CLAIMS.splitlines() if line.startswith("| ") and "`" in line]


def _place(name: str) -> Path:
    return ROOT / "tests" / (name if "/" in name else f"unit/{name}")


@pytest.mark.parametrize("row", ROWS, ids=[row[0].strip("| ") for row in ROWS])
def test_every_clause_names_tests_that_exist(row: list[str]) -> None:
    shown = re.findall(r"`([^`]+)`", row[-1])
    assert shown, "no test is named"
    for name in shown:
        file, _, test = name.partition("::")
        text = _place(file).read_text(encoding="utf-8")
        assert "def test_" in text or "PROMISES = (" in text
        assert not test or f"def {test}(" in text, name


def test_every_proof_of_the_threat_model_exists() -> None:
    files = re.findall(r"`(tests/[a-z0-9_/]+\.py)`", THREATS)
    assert len(files) >= 6
    for file in files:
        assert (ROOT / file).exists(), file
    for part in re.findall(r"`python -m tests\.fault (\w+)", THREATS):
        assert (ROOT / "tests" / "fault" / f"{part}.py").exists(), part


def test_the_standards_of_the_product_are_all_there() -> None:
    for number in range(1, 14):
        assert f"EN 303 645 5.{number}" in CLAIMS
    for mechanism in ("ACM", "AUM", "SUM", "SSM", "SCM", "RLM", "NMM", "TCM", "CCK", "GEC", "DLM", "LGM"):
        assert mechanism in CLAIMS


def test_a_finder_knows_whom_to_tell() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "Report a suspected weakness privately" in text
    assert re.search(r"answer within \d+ working days", text)
