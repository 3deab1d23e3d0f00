"""What a technician sees of updates: API, command line and console, before, during and after one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from edge.cli.api import _update_lines
from edge.updates.files import Exchange, write_json
from edge.updates.report import LAST
from edge.updates.settings import UpdatePaths, UpdateSettings
from tests.unit.api_support import gateway


def machine(folder: Path) -> UpdatePaths:
    """0.9.0 before, 1.0.0 good and current, nothing on trial."""
    slots = folder / "slots"
    slots.mkdir()
    for link, version in (("current", "1.0.0"), ("good", "1.0.0"), ("previous", "0.9.0")):
        (slots / link).symlink_to(f"slots/{version}")
    settings = UpdateSettings(url="https://updates.example", slots=str(slots))
    return UpdatePaths(settings, folder / "root.json", slots, folder / "trust", folder / "state")


def on_trial(paths: UpdatePaths, version: str) -> None:
    write_json(paths.slots / "trial.json", {"version": version})
    (paths.slots / "current").unlink()
    (paths.slots / "current").symlink_to(f"slots/{version}")


def test_a_technician_sees_what_runs_and_what_happened_last(tmp_path: Path) -> None:
    async def main() -> None:
        paths = machine(tmp_path)
        exchange = Exchange(paths.state / "updates")
        exchange.want({"gateway": "1.1.0"})
        write_json(
            exchange.status_file,
            {"checked_us": 1_790_000_000_000_000, "signed_us": 5, "available": {"gateway": "1.1.0"}, "refused": ""},
        )
        async with gateway(updates=paths) as bench:
            async with bench.client("technician") as client:
                seen = (await client.get("/v1/updates")).json()
                assert (seen["version"], seen["current"], seen["good"]) == (bench.services.version, "1.0.0", "1.0.0")
                assert (seen["previous"], seen["trial"], seen["last"]) == ("0.9.0", "", None)
                assert (seen["wanted"], seen["available"]) == ({"gateway": "1.1.0"}, {"gateway": "1.1.0"})
                assert seen["repository"] == "https://updates.example"
                on_trial(paths, "1.1.0")
                seen = (await client.get("/v1/updates")).json()
                assert (seen["current"], seen["good"], seen["trial"]) == ("1.1.0", "1.0.0", "1.1.0")
                page = (await client.get("/health-page", headers={"Accept-Language": "en"})).text
                assert "on trial" in page
                last = {
                    "what": "gateway", "old": "1.0.0", "new": "1.1.0", "ok": False, "reason": "unhealthy",
                    "detail": "gateway-1.1.0: it does not answer", "at_us": 1_790_000_000_000_000,
                }  # fmt: skip
                await bench.services.runtime.journal.put(LAST, last)  # type: ignore[arg-type]
                seen = (await client.get("/v1/updates")).json()
                assert seen["last"]["hint"] == "The release did worse than the one before, which runs again."
                lines = dict(_update_lines(seen))
                assert lines["slot current"] == "1.1.0"
                assert lines["last result"].endswith(
                    "gateway 1.0.0 -> 1.1.0: unhealthy: gateway-1.1.0: it does not answer"
                )
                for language, words in (("en", "was not kept"), ("ja", "以前のリリースに戻しました")):
                    page = (await client.get("/health-page", headers={"Accept-Language": language})).text
                    assert words in page
                    assert "gateway-1.1.0: it does not answer" in page
            async with bench.client("viewer") as viewer:
                assert (await viewer.get("/v1/updates")).status_code == 403
                assert 'id="updates"' not in (await viewer.get("/health-page")).text

    asyncio.run(main())


def test_a_look_wakes_the_updater_and_is_audited(tmp_path: Path) -> None:
    """systemd's path unit starts the updater when `wanted.json` is written, even with what was in it before."""

    async def main() -> None:
        paths = machine(tmp_path)
        exchange = Exchange(paths.state / "updates")
        exchange.want({"gateway": "1.1.0"})
        before = exchange.wanted_file.stat()
        async with gateway(updates=paths) as bench:
            async with bench.client("technician") as client:
                answer = await client.post("/v1/updates/look")
                assert (answer.status_code, answer.json()) == (202, {"looking": True})
            after = exchange.wanted_file.stat()
            assert (before.st_ino, before.st_mtime_ns) != (after.st_ino, after.st_mtime_ns)
            assert exchange.wanted() == {"gateway": "1.1.0"}
            rows = bench.services.access.audit.rows(limit=10)
            assert "look_for_updates" in [row["action"] for row in rows]
            async with bench.client("staff") as client:
                assert (await client.post("/v1/updates/look")).status_code == 403

    asyncio.run(main())


def test_a_gateway_that_does_not_update_itself_says_so() -> None:
    async def main() -> None:
        async with gateway() as bench, bench.client("technician") as client:
            seen: dict[str, Any] = (await client.get("/v1/updates")).json()
            assert (seen["repository"], seen["current"], seen["last"]) == ("", "", None)
            assert "does not update itself" in dict(_update_lines(seen))["repository"]
            answer = await client.post("/v1/updates/look")
            assert answer.status_code == 409
            assert "updates.url is empty: expected the address" in json.dumps(answer.json())
            page = (await client.get("/health-page", headers={"Accept-Language": "ja"})).text
            assert "このゲートウェイは自動更新しません" in page

    asyncio.run(main())
