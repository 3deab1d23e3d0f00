"""``smartstore platform`` as a process: facts in over MQTT, answers out over HTTPS, with its own CA and token."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.ingest.central import Postgres
from cloud_bridge.settings import UplinkSettings
from edge.demo import Cast
from tests.e2e.bridge_wires import make_broker, until, wired_store
from tests.e2e.console_store import ARGUMENTS, CHROMIUM, missing
from tests.e2e.support import wait_until
from tests.postgres_support import postgres_folder

GTIN = "04012345000016"


def ask(told: dict[str, Any], path: str, token: str | None = None) -> tuple[int, str]:
    context = ssl.create_default_context(cafile=told["ca"])
    assert context.minimum_version <= ssl.TLSVersion.TLSv1_3
    request = urllib.request.Request(told["api"] + path)
    given = Path(told["token_file"]).read_text("ascii") if token is None else token
    request.add_header("Authorization", f"Bearer {given}")
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", "from edge.cli import main; main()", "platform", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def test_the_platform_answers_what_its_stores_told(tmp_path: Path) -> None:
    (tmp_path / "places.json").write_text(json.dumps({"t1/s1": {"latitude": 35.66, "longitude": 139.7}}))
    cast = Cast(tmp_path)
    try:
        told = cast.smartstore("platform", "platform", "--dir", str(tmp_path), "--json")

        async def tell() -> None:
            settings = UplinkSettings(hosts=(told["mqtt"],), client_id="s1", platform_keys=told["keys"])
            async with wired_store(tmp_path, settings) as store:
                store.view.set(f"stock/{GTIN}", 1, {"on_hand": 16, "available_to_promise": 15})
                store.view.set("offers/z-1", 1, {"zone": "z-1", "promotions": [{"promotion": "p-1"}]})
                await store.add(40)
                await until(lambda: store.journal.acked_seq == 40, 60)
                await until(lambda: not store.uplink._dirty, 60)

        asyncio.run(tell())
        status, text = ask(told, "/v1/stock?tenant=t1")
        assert status == 200
        assert len(json.loads(text)) == 40
        (row,) = json.loads(ask(told, "/v1/stores")[1])
        assert (row["store"], row["complete_to"], row["missing"]) == ("s1", 40, 0)
        assert "smartstore_events_total 40" in ask(told, "/metrics")[1]
        assert ask(told, "/metrics", "wrong")[0] == 401
        assert ask(told, "/v1/stores", "")[0] == 401
        assert ask(told, "/v1/stock-outs?tenant=t1")[1] == "[]"
        (near,) = json.loads(ask(told, f"/v1/who-has/{GTIN}?tenant=t1&latitude=35.6&longitude=139.7")[1])
        assert (near["store"], near["on_hand"]) == ("s1", 16)
        assert near["distance_km"] == pytest.approx(6.67, abs=0.01), "0.06 degrees of latitude"
        promise = f"/v1/promise/s1/{GTIN}?tenant=t1"
        wait_until(lambda: ask(told, promise)[0] == 200, 60, "the retained state")
        assert json.loads(ask(told, promise)[1])["available_to_promise"] == 15
        mirrored = "/s/t1/s1/v1/offers?zone=z-1"  # for shoppers: nobody is asked who they are
        wait_until(lambda: ask(told, mirrored, "")[0] == 200, 60, "the retained offers")
        assert json.loads(ask(told, mirrored, "")[1])["promotions"] == [{"promotion": "p-1", "why_not": []}]
        assert "page.js" in ask(told, "/s/t1/s1/z-1", "")[1]
        assert ask(told, "/s/t1/s2/v1/offers?zone=z-1", "")[0] == 404
        assert ask(told, "/v1/promise/s1/04569951000003?tenant=t1")[0] == 404
        assert "gtin" in ask(told, "/v1/who-has/1234?tenant=t1")[1]
        assert json.loads(ask(told, "/v1/footfall?tenant=t1&from_us=0&to_us=1")[1]) == []

        shown = command("--dir", str(tmp_path), "--stores", "--json")
        assert json.loads(shown.stdout)["stores"][0]["complete_to"] == 40
        assert "complete to" in command("--dir", str(tmp_path), "--stores").stdout
        cast.stop("platform")
        later = json.loads(command("--dir", str(tmp_path), "--stores", "--json").stdout)["stores"]
        assert (later[0]["complete_to"], later[0]["online"]) == (40, None), "the database knows it as well"
    finally:
        cast.stop_all()


def test_a_group_over_postgresql_and_the_queries_alone(tmp_path: Path) -> None:
    """Two platforms of one MQTT 5 group as processes, and a third that only answers; one store."""
    cast = Cast(tmp_path)

    async def main() -> None:
        async with make_broker("mosquitto", tmp_path) as broker, Postgres(folder / "pg") as database:
            where = ["--broker", broker.address, "--postgres", database.address, "--json", "--dir"]
            group = ["platform", "--shared-group", "g", *where]
            told = await asyncio.to_thread(cast.smartstore, "one", *group, str(tmp_path / "one"))
            (tmp_path / "two").mkdir()
            shutil.copy(tmp_path / "one" / "platform.key", tmp_path / "two")
            await asyncio.to_thread(cast.smartstore, "two", *group, str(tmp_path / "two"))
            settings = UplinkSettings(hosts=(broker.address,), client_id="s1", platform_keys=told["keys"])
            async with wired_store(tmp_path, settings) as store:
                for _ in range(60):
                    await store.add(1)
                await until(lambda: store.journal.acked_seq == 60, 60)
                alone = ["platform", "--queries-only", *where, str(tmp_path / "one")]
                queries = await asyncio.to_thread(cast.smartstore, "queries", *alone)

                def workers() -> dict[str, int]:
                    lines = ask(queries, "/metrics")[1].splitlines()
                    rows = [line.rpartition(" ") for line in lines if line.startswith("smartstore_events_total{")]
                    return {name: int(count) for name, _, count in rows}

                def shared_out() -> bool:
                    counted = workers()
                    return len(counted) == 2 and min(counted.values()) > 0 and sum(counted.values()) >= 60

                await asyncio.to_thread(wait_until, shared_out, 30, "both workers' counters")
                (row,) = json.loads((await asyncio.to_thread(ask, queries, "/v1/stores"))[1])
                assert (row["complete_to"], row["missing"], row["online"]) == (60, 0, True)
                rows = json.loads((await asyncio.to_thread(ask, queries, "/v1/stock?tenant=t1"))[1])
                assert [(row["store"], row["gtin"]) for row in rows] == [("s1", "04012345000000")]
                shown = await asyncio.to_thread(command, "--dir", str(tmp_path / "one"), "--stores", "--json")
                assert json.loads(shown.stdout)["stores"][0]["complete_to"] == 60

    try:
        with postgres_folder() as folder:
            asyncio.run(main())
    finally:
        cast.stop_all()


@pytest.mark.parametrize("option", [("--shared-group", "g"), ("--queries-only",)])
def test_options_that_need_a_database_say_so(tmp_path: Path, option: tuple[str, ...]) -> None:
    done = command("--dir", str(tmp_path), *option)
    assert done.returncode == 2
    assert option[0] in done.stderr
    assert "--postgres and --broker" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"), [(("--stores",), "platform.json"), (("--bundle", "t1"), "platform.json")]
)
def test_a_folder_without_a_platform_is_named(tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    done = command("--dir", str(tmp_path), *arguments)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
def test_a_gateway_joins_in_the_browser_by_the_text_of_its_code(tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    deploy = Path(__file__).parents[2] / "deploy"
    (tmp_path / "site.json").write_text((deploy / "first-site.json").read_text("utf-8"), "utf-8")
    settings = tmp_path / "gateway.toml"
    settings.write_text(
        '[gateway]\nplanogram = "site.json"\nstate_dir = "var"\n[api]\nport = 0\nopen = true\n', "utf-8"
    )
    cast = Cast(tmp_path)
    try:
        cast.smartstore("platform", "platform", "--dir", str(tmp_path / "p"), "--json")
        gateway = cast.smartstore("gateway", "run", "--config", str(settings), "--json")
        made = command("--dir", str(tmp_path / "p"), "--bundle", "t1/s8")
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = browser.new_context(locale="ja", viewport={"width": 360, "height": 780}).new_page()
            page.goto(f"{gateway['api']}/network")
            page.fill("#enrol textarea", "smartstore:nonsense")
            page.click("#enrol [name=check]")
            expect(page.locator("#enrol .answer")).not_to_be_empty()
            page.fill("#enrol textarea", made.stdout)
            page.click("#enrol [name=check]")
            shown = page.locator("#enrol .fingerprint")
            expect(shown).to_be_visible()
            assert f"gateway: {shown.text_content()}\n" in made.stderr  # what the platform's people see
            assert page.text_content("#enrol .of") == "t1 / s8"
            page.click("#enrol [name=join]")
            expect(page.locator("[data-part=platform] dd").first).to_have_text("t1 / s8", timeout=60_000)
            expect(page.locator("[data-part=verdict]")).to_contain_text("接続済み", timeout=60_000)
            browser.close()
    finally:
        cast.stop_all()


def test_a_gateway_process_joins_with_one_command(tmp_path: Path) -> None:
    deploy = Path(__file__).parents[2] / "deploy"
    (tmp_path / "site.json").write_text((deploy / "first-site.json").read_text("utf-8"), "utf-8")
    settings = tmp_path / "gateway.toml"
    settings.write_text(
        '[gateway]\nplanogram = "site.json"\nstate_dir = "var"\n[api]\nport = 0\nopen = true\n', "utf-8"
    )
    stick = tmp_path / "stick"
    stick.mkdir()
    cast = Cast(tmp_path)
    try:
        cast.smartstore("platform", "platform", "--dir", str(tmp_path / "p"), "--json")
        gateway = cast.smartstore("gateway", "run", "--config", str(settings), "--json")
        made = command("--dir", str(tmp_path / "p"), "--bundle", "t1/s7")
        (stick / "s7.smartstore-enrol").write_text(made.stdout, "utf-8")
        line = [sys.executable, "-c", "from edge.cli import main; main()", "enrol", str(stick)]
        line += ["--api", str(gateway["api"]), "--json"]
        asked = subprocess.run(line, input="y\n", capture_output=True, text=True, timeout=120, check=False)
        assert asked.returncode == 0, asked.stderr
        shown = asked.stderr.partition("fingerprint of its key: ")[2][:39]
        assert f"gateway: {shown}\n" in made.stderr
        state = json.loads(asked.stdout.splitlines()[-1])
        assert (state["tenant"], state["store"]) == ("t1", "s7")

        def arrived() -> bool:
            rows = json.loads(command("--dir", str(tmp_path / "p"), "--stores", "--json").stdout)["stores"]
            return [(row["store"], row["complete_to"] > 0) for row in rows] == [("s7", True)]

        wait_until(arrived, 60, "the store's first facts at the platform")
        (stick / "more.smartstore-enrol").write_text("{}", "utf-8")
        refused = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
        assert refused.returncode == 3
        assert "2 files" in refused.stderr
    finally:
        cast.stop_all()
