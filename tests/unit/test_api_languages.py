"""A Japanese technician reads no English: hints, refusals, evidence and progress all have their sentence."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import edge
from edge.api.hints import HINTS
from edge.api.sentences import in_japanese, templates, told
from edge.api.telling import Teller
from edge.api.words import keys, speaker
from edge.core.site import load_site
from tests.unit.api_support import SITE, TEA, Bench, run

ROOMS = Path(edge.__file__).parent
SPOKEN = {"Problem": (2, 3), "AccessDenied": (1, 2), "DeviceRefused": (1,), "LinkLost": (1,), "NetworkRefused": (0,)}
SHOPPERS = frozenset({"desk.py", "shopper_routes.py", "offers_routes.py"})  # the shopper's page has words of its own
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def literal(node: ast.expr) -> str:
    """A string, or an f-string with x in place of what is filled in; "" for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
    return ""


def spoken_in(path: Path) -> set[str]:
    """What a module's refusals say."""
    said: set[str] = set()
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        local = {
            target.id: literal(node.value)
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", "")
                for index in SPOKEN.get(name, ()):
                    if index < len(node.args):
                        given = node.args[index]
                        said.add(local.get(given.id, "") if isinstance(given, ast.Name) else literal(given))
    return {
        text for text in said if text and not text.startswith("/") and re.search(r"[a-z]{3}", text.replace("x", ""))
    }


def hints_of_errors() -> set[str]:
    found: set[str] = set()
    for path in ROOMS.rglob("*.py"):
        if path.parent.name in ("cli", "demo"):
            continue  # of the command line, which speaks English
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name) and target.id == "hint" and literal(node.value):
                    found.add(literal(node.value))
    return found


def test_every_hint_and_every_refusal_has_its_japanese() -> None:
    said = {text for path in ROOMS.rglob("*.py") if path.name not in SHOPPERS for text in spoken_in(path)}
    assert len(said) > 90
    missing = sorted(text for text in said | hints_of_errors() | set(HINTS.values()) if not in_japanese(text))
    assert missing == [], "add their Japanese to edge/api/sentences.json"


def test_what_the_engine_says_of_shelves_and_stock_has_its_japanese() -> None:
    said: set[str] = set()
    for room in ("core/shelf/part.py", "core/shelf/advice.py", "core/inventory", "core/proximity/care.py"):
        place = ROOMS / room
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                target = node.targets[0] if isinstance(node, ast.Assign) else None
                if isinstance(target, ast.Name) and target.id in ("cause", "text", "detail"):
                    said.add(literal(node.value))
    sentences = {text for text in said if len(re.findall(r"[a-z]{3,}", text.replace("x", ""))) > 2}
    assert len(sentences) > 12
    missing = sorted(text for text in sentences if not in_japanese(text))
    assert missing == [], "add their Japanese to edge/api/sentences.json"
    known = in_japanese(
        "what stands on shelf shelf-5 cannot be known now (weight: mcu-2 is offline: LinkLost); the last counts are kept"
    )
    assert known == "棚 5 の在庫は現在確認できません（重量：mcu-2 がオフライン（接続断））。直前の数を保持しています"


def test_japanese_sentences_keep_what_was_filled_in_and_nothing_else_stays_english() -> None:
    for english in templates():
        own_words = re.sub(r"\{\w+[!?]?\}", "", english)
        if re.search(r"[a-z]{2}", own_words.replace("rfid", "")):
            assert JAPANESE.search(in_japanese(english)), english
    text = "weight of lane lane-1-a changed by -521.6 g ± 0.3 g: -1"
    assert in_japanese(text) == "レーン lane-1-a の重さが -521.6 g（±0.3 g）変化：-1 点"
    assert in_japanese("mia is viewer: expected staff or more") == (
        "mia さんの権限は「閲覧」です（「スタッフ」以上が必要です）"
    )
    assert in_japanese("mcu-1: silent for 15 s") == "mcu-1：15 秒間応答がありません"
    assert in_japanese("the flux capacitor is warm") == ""
    assert told("the flux capacitor is warm", "ja") == "the flux capacitor is warm"
    assert told("running", "en") == "running"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "japanese"),
    [
        ("PUT", "/v1/devices/x-1", {"kind": 5}, 422, "文字列を入力してください"),
        ("POST", "/v1/recounts", {"shelf": "shelf-1", "gtin": TEA, "quantity": "many"}, 422, "整数を入力してください"),
        ("POST", "/v1/recounts", {"shelf": "shelf-1", "gtin": TEA}, 422, "必須です"),
        ("GET", "/v1/stock/123", None, 422, "8・12・13・14桁の数字が必要です"),
        ("GET", "/v1/devices/none-9", None, 404, "機器 'none-9' はありません"),
        ("POST", "/v1/lanes/lane-1/tare", None, 422, "データが届いていません"),
        ("PUT", "/v1/reorder/" + TEA, {"kind": "wish"}, 422, "が必要です"),
    ],
)
def test_problems_are_in_the_language_of_who_asks(
    method: str, path: str, body: Any, status: int, japanese: str
) -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("technician") as client:
            answer = await client.request(method, path, json=body, headers={"Accept-Language": "ja-JP,ja;q=0.9"})
            assert (answer.status_code, answer.headers["content-language"]) == (status, "ja")
            problem = answer.json()
            assert japanese in problem["detail"], problem
            assert JAPANESE.search(problem["title"] + problem["hint"])
            english = (await client.request(method, path, json=body)).json()
            assert english["cause"] == problem["cause"]  # what scripts go by has no language
            assert not JAPANESE.search(english["detail"] + english["title"] + english["hint"])

    run(test)


def test_the_cookie_goes_before_the_browser_and_a_refusal_at_the_guard_is_spoken_too() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client(None) as client:
            chosen = {"Cookie": "smartstore-language=ja", "Accept-Language": "en"}
            answer = await client.post("/v1/recounts", json={}, headers=chosen | {"Origin": "http://evil.example"})
            assert answer.json()["title"] == "ほかのサイトからの操作です"
            answer = await client.get("/v1/stock", headers=chosen)
            assert (answer.status_code, answer.json()["title"]) == (401, "サインインが必要です")
            odd = await client.get(
                "/v1/stock", headers={"Cookie": "smartstore-language=tlh; =;;", "Accept-Language": "*"}
            )
            assert odd.json()["title"] == "not signed in"

    run(test)


def test_a_person_who_types_a_wrong_address_gets_a_page_and_a_script_a_problem() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("staff") as client:
            headers = {"Accept": "text/html,application/xhtml+xml", "Accept-Language": "ja"}
            for path, status in (("/devices/none-9", 404), ("/set-up", 403), ("/stock/123", 422), ("/nowhere", 404)):
                page = await client.get(path, headers=headers)
                assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8"), path
                assert "トップへ戻る" in page.text
                assert "<html" in page.text
                script = await client.get(path)
                assert (script.status_code, script.headers["content-type"]) == (status, "application/problem+json")
            api = await client.get("/v1/devices/none-9", headers=headers)
            assert api.headers["content-type"] == "application/problem+json"

    run(test)


def test_every_kind_cause_and_deed_that_is_shown_has_words() -> None:
    site = load_site(SITE)
    known = set(keys())
    for language in ("en", "ja"):
        teller = Teller(speaker(language), site)
        assert teller.places(["shelf-1", "shelf-2", "z-1"]) in ("Shelf 1, 2 · Food", "棚 1, 2 · Food")
        assert teller.cause("odd_cause") == "odd cause"
    for cause in HINTS:
        assert f"cause_{cause.replace(':', '_')}" in known, f"add cause_{cause} to edge/api/words.json"
    done = set()
    for path in ROOMS.rglob("*.py"):
        done |= set(re.findall(r'audit\.add\([^,]+, "(\w+)"', path.read_text(encoding="utf-8")))
    assert len(done) > 20
    assert {f"act_{action}" for action in done} - known == set()
