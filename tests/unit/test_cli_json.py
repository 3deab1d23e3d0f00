"""Every command prints JSON with --json, and what it prints is one object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from edge.cli import app

DOCUMENTS = {"export"}  # prints the document itself
PASSED_ON = {"sim"}  # the simulator's own command line


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from leaves(child, (*path, name))
    else:
        yield " ".join(path), command


def test_every_command_takes_json() -> None:
    commands = dict(leaves(typer.main.get_command(app)))
    assert len(commands) > 30
    without = {name for name, command in commands.items() if not any("--json" in p.opts for p in command.params)}
    assert without == DOCUMENTS | PASSED_ON


@pytest.mark.parametrize(
    ("words", "instead"),
    [(("claim", "X"), "--name"), (("claim", "X", "--name", "anna"), "SMARTSTORE_PIN"), (("sign-in", "anna"), "--pin")],
)
def test_where_nobody_can_be_asked_the_option_is_named(words: tuple[str, ...], instead: str) -> None:
    command = [sys.executable, "-c", "from edge.cli import main; main()", *words, "--api", "http://127.0.0.1:1"]
    environment = {name: value for name, value in os.environ.items() if name != "SMARTSTORE_PIN"}
    asked = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=60
    )
    assert asked.returncode == 3
    assert "no terminal" in asked.stderr
    assert instead in asked.stderr
    piped = subprocess.run(
        command, input="anna\n1234567\n", capture_output=True, text=True, env=environment, timeout=60
    )
    assert "no gateway answers" in piped.stderr  # an answer that is piped in is one
    assert "Warning" not in piped.stderr


def test_publishing_tells_what_it_did_as_one_object(tmp_path: Path) -> None:
    def told(*words: str) -> dict[str, object]:
        result = CliRunner().invoke(app, ["release", *words, "--dir", str(tmp_path), "--json"])
        assert result.exit_code == 0, result.output
        told: dict[str, object] = json.loads(result.output)
        return told

    assert Path(str(told("init")["root"])).exists()
    assert told("model", "models/manifest.toml")["name"] == "footfall"
    version = told("list")["releases"][0]["version"]  # type: ignore[index]
    assert told("rotate", "snapshot") == {"role": "snapshot", "rotated": True}
    assert told("withdraw", f"footfall-{version}")["files"] == 1
    assert told("list") == {"releases": []}
