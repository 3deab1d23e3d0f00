"""The command line against a gateway over HTTPS, as processes of their own: from the label to the exports."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.cli import api as api_cli
from edge.cli import client as api_client
from edge.cli import main
from edge.demo import Cast
from tests.unit.api_support import PIN, RICE, SITE, TEA


@dataclasses.dataclass
class Label:
    """What stands on the gateway, and where its files are."""

    api: str
    code: str
    fingerprint: str
    folder: Path

    @property
    def link(self) -> str:
        return f"{self.api}/claim#code={self.code}&ca={self.fingerprint}"


@dataclasses.dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.splitlines()[-1])


Smartstore = Callable[..., Said]


@pytest.fixture(scope="module")
def label(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Label]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "site.json").write_text(json.dumps(SITE), encoding="utf-8")
    settings = folder / "gateway.toml"
    settings.write_text('[gateway]\nplanogram = "site.json"\n[api]\nport = 0\ntls = true\n', encoding="utf-8")
    cast = Cast(folder)
    try:
        told = cast.smartstore("gateway", "run", "--config", str(settings), "--json")
        yield Label(told["api"], told["claim_code"], told["fingerprint"], folder)
    finally:
        cast.stop_all()


@pytest.fixture
def smartstore(
    label: Label,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Smartstore:
    """The command in this process (a process of its own for each would take minutes), with a home of its own."""
    for name in list(os.environ):
        if name.startswith("SMARTSTORE_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(api_client, "HOME", label.folder / "home")
    monkeypatch.setattr(api_cli, "FOLLOW_S", 0.02)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["smartstore", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return Said(int(ended.value.code or 0), said.out, said.err)

    return call


def test_before_the_claim_each_refusal_names_the_next_step(label: Label, smartstore: Smartstore) -> None:
    untrusted = smartstore("stock", "--api", label.api)
    assert untrusted.code == 3
    assert "certificate is not trusted" in untrusted.err
    assert "label" in untrusted.err
    other = smartstore("claim", label.link.replace(label.fingerprint, "0" * 64), "--name", "Yuki", "--pin", PIN)
    assert (other.code, label.fingerprint in other.err) == (3, True)
    ca = label.folder / "var" / "tls" / "ca.pem"
    unclaimed = smartstore("stock", "--api", label.api, "--ca", str(ca))
    assert (unclaimed.code, "(unclaimed)" in unclaimed.err, "Claim it" in unclaimed.err) == (3, True, True)
    assert smartstore("stock", "--api", label.api, "--ca", "/nowhere.pem").code == 3
    nobody = smartstore("devices", "--api", "http://127.0.0.1:9")
    assert (nobody.code, "no gateway answers" in nobody.err) == (3, True)
    assert "expected an address" in smartstore("devices", "--api", "nonsense").err
    wrong = smartstore("claim", "AAAAA-AAAAA", "--name", "Yuki", "--pin", PIN, "--api", label.api, "--ca", str(ca))
    assert (wrong.code, "(wrong_code)" in wrong.err) == (3, True)


def test_claim_by_the_link_then_everything_without_options(
    label: Label, smartstore: Smartstore, tmp_path: Path
) -> None:
    claimed = smartstore("claim", label.link, "--name", "Yuki", "--pin", PIN, "--json")
    assert claimed.json == {"claimed": True, "name": "Yuki", "role": "admin", "api": label.api}
    kept = label.folder / "home" / "gateway.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert PIN not in kept.read_text(encoding="utf-8")
    assert [row["gtin"] for row in smartstore("stock", "--json").json] == [TEA, RICE]
    assert "Green tea" in smartstore("stock", "--text", "tea").out
    assert smartstore("health", "--json").json["claimed"] is True
    assert smartstore("devices", "--json").json == []
    assert "no such position" in smartstore("devices", "nobody").err
    assert smartstore("devices", "nobody", "--test", "1").code == 3
    found = smartstore("discover", "--json")
    assert found.code == 0, found.err
    job = smartstore("jobs", "--json").json[0]
    assert (job["kind"], job["state"]) == ("discovery", "done")
    followed = smartstore("jobs", job["id"])
    assert "discovery" in followed.out
    assert "job_over" in smartstore("jobs", job["id"], "--cancel").err
    assert smartstore("sign-in", "Yuki", "--pin", "wrong pin").code == 3
    assert smartstore("sign-in", "Yuki", "--pin", PIN).code == 0
    gone = smartstore("stock", "--token", "no such token")
    assert ("not valid any more" in gone.err, "sign-in" in gone.err) == (True, True)
    _imports_and_exports(smartstore, tmp_path)
    _audits(label, smartstore)


def _imports_and_exports(smartstore: Smartstore, tmp_path: Path) -> None:
    table, planogram = tmp_path / "catalogue.csv", tmp_path / "planogram.json"
    assert smartstore("export", "catalogue", "--output", str(table)).code == 0
    assert smartstore("export", "planogram", "-o", str(planogram)).code == 0
    assert smartstore("export", "configuration").out.startswith("{\n")
    assert "expected one of" in smartstore("export", "moon").err
    assert "--output" in smartstore("export", "support-bundle").err
    assert smartstore("export", "support-bundle", "-o", str(tmp_path / "b.zip")).code == 0
    assert (tmp_path / "b.zip").read_bytes()[:2] == b"PK"
    assert smartstore("import", str(table), "--json").json["changes"] == []
    table.write_text(table.read_text(encoding="utf-8").replace("Green tea", "Greener tea"), encoding="utf-8")
    dry = smartstore("import", str(table), "--dry-run")
    assert ("1 changes" in dry.out, "dry run" in dry.out) == (True, True)
    assert "Green tea" in smartstore("stock").out
    assert "in effect now" in smartstore("import", str(table)).out
    assert "Greener tea" in smartstore("stock").out
    assert smartstore("import", str(planogram), "--json").json["applied"] is True  # the old name again
    bad = tmp_path / "bad.csv"
    bad.write_text(f"gtin,unit_mass_g\n{TEA},heavy\n", encoding="utf-8")
    refused = smartstore("import", str(bad))
    assert (refused.code, "line 2, column unit_mass_g: 'heavy'" in refused.err) == (3, True)
    assert "expected JSON" in smartstore("import", str(tmp_path / "b.zip")).err
    assert "No such file" in smartstore("import", str(tmp_path / "nowhere.csv")).err


def _audits(label: Label, smartstore: Smartstore) -> None:
    rows = smartstore("audit", "--json").json
    assert {"claim", "set_catalogue", "set_planogram", "support_bundle"} <= {row["action"] for row in rows}
    assert "Yuki" in smartstore("audit", "--limit", "3").out
    assert smartstore("audit", "verify", "--json").json["intact"] is True
    copy = label.folder / "copy.db"
    with sqlite3.connect(label.folder / "var" / "journal.db") as live, sqlite3.connect(copy) as other:
        live.backup(other)
    live.close()
    other.close()
    assert smartstore("audit", "verify", "--journal", str(copy), "--json").json["intact"] is True


def test_a_large_table_goes_in_pieces_whose_faults_name_the_true_line() -> None:
    text = b"gtin,name\n" + b"".join(b'%014d,"name\nof %d"\n' % (n, n) for n in range(2_000))
    pieces = list(api_cli.pieces_of(text, 5_000))
    assert 5 < len(pieces) < 20
    lines = text.count(b"\n")
    rebuilt = b"".join(re.sub(rb"\Agtin,name\n+", b"", piece) for piece in pieces)
    assert rebuilt == text.partition(b"\n")[2]
    assert pieces[-1].count(b"\n") == lines
    assert all(piece.startswith(b"gtin,name\n") and piece.count(b'"') % 2 == 0 for piece in pieces)
    assert list(api_cli.pieces_of(b"gtin,name\n")) == [b"gtin,name\n"]


def test_why_says_the_evidence_in_words() -> None:
    row = {
        "gtin": TEA,
        "name": "Green tea",
        "on_hand": 7,
        "available_to_promise": 6,
        "held": 1,
        "shelves": [
            {
                "shelf": "shelf-1",
                "on_hand": 7,
                "low": 6,
                "high": 8,
                "confidence": 0.93,
                "sources": ["tags", "weight"],
                "tags": 7,
                "last_verified_us": 0,
                "known": False,
                "reason": "one was taken",
                "why": [
                    {"at_us": 100_000_000, "source": "tags", "text": "8 tags were read", "probability": 1.0},
                    {"at_us": 280_000_000, "source": "weight", "text": "lane 1 lost 523 g: -1", "probability": 0.98},
                ],
            }
        ],
    }
    text = api_cli.in_words(row, 400_000_000)
    assert text.splitlines()[0] == f"Green tea ({TEA}): 7 on hand, 6 can be promised, 1 held"
    assert "shelf-1: 7, surely 6 to 8, 93% sure; from tags, weight; 7 tags; its sensors are silent now" in text
    newest, oldest = text.splitlines()[-2:]
    assert newest.split() == [
        "2",
        "min",
        "ago",
        "weight:",
        "lane",
        "1",
        "lost",
        "523",
        "g:",
        "-1",
        "(probability",
        "98%)",
    ]
    assert oldest.split() == ["5", "min", "ago", "tags:", "8", "tags", "were", "read"]
    assert "nothing is known yet" in api_cli.in_words({"gtin": TEA, "on_hand": None}, 0)
    assert "no shelf has any" in api_cli.in_words({"gtin": TEA, "on_hand": 0}, 0)
