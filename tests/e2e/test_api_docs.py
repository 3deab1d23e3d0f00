"""docs/api.md is true: its examples run, one after the other, against a gateway over HTTPS."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.cli.client import pinned
from edge.demo import Cast
from tests.unit.api_support import PIN, SITE, TEA

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```sh\n(.*?)^```\n(?:<!-- answers: (.*?) -->\n)?", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    (tmp_path / "site.json").write_text(json.dumps(SITE), encoding="utf-8")
    settings = tmp_path / "gateway.toml"
    settings.write_text('[gateway]\nplanogram = "site.json"\n[api]\nport = 0\ntls = true\n', encoding="utf-8")
    cast = Cast(tmp_path)
    try:
        told = cast.smartstore("gateway", "run", "--config", str(settings), "--json")
        client = pinned(told["api"], told["fingerprint"])
        client.call("POST", "/v1/claim", {"code": told["claim_code"], "name": "Yuki", "pin": PIN})
        yield {
            "GATEWAY": told["api"],
            "FINGERPRINT": told["fingerprint"],
            "NAME": "Yuki",
            "PIN": PIN,
            "GTIN": TEA,
            "SHELF": "shelf-1",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
        }
    finally:
        cast.stop_all()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is missing: apt-get install curl")
def test_every_example_runs_and_answers_what_the_page_says(environment: dict[str, str], tmp_path: Path) -> None:
    assert len(EXAMPLES) > 10
    marks = "".join(f"printf '\\n=== {number}\\n'\n{script}" for number, (script, _) in enumerate(EXAMPLES))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", marks],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = re.split(r"\n=== \d+\n", done.stdout.replace("\r", ""))[1:]
    reached = EXAMPLES[len(said) - 1][0] if said else ""
    assert done.returncode == 0, f"{reached}\n{done.stdout[-2000:]}\n{done.stderr}"
    assert len(said) == len(EXAMPLES)
    for (script, answers), output in zip(EXAMPLES, said, strict=True):
        if answers:
            assert re.search(answers, output, re.DOTALL), f"{script}\nanswered {output[-1500:]}\nexpected {answers}"


def test_every_operation_that_the_page_names_exists() -> None:
    from tests.unit.api_support import Bench, run

    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            paths = (await client.get("/openapi.json")).json()["paths"]
        known = [re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path) + r"\Z") for path in paths]
        named = set(re.findall(r"\$GATEWAY(/[a-z0-9./_$A-Z%-]+)", PAGE)) | set(re.findall(r"`(/v1/[a-z./]+)", PAGE))
        assert len(named) > 12
        for path in sorted(path.rstrip("/") for path in named):
            assert any(pattern.match(path) for pattern in known) or path == "/openapi.json", path

    run(test)
