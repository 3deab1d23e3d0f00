"""Console and API: first paint, live updates, listeners, reads a second, set-up of ten devices by script."""

from __future__ import annotations

import argparse
import concurrent.futures
import http.client
import json
import socket
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.console_store import CHROMIUM, Found, first_day, missing

PIN = "bench pin 9"
TEN = 10
UPDATES_S = 4.0


class Api:
    """One kept connection with a session."""

    def __init__(self, url: str, token: str = "") -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        self.headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def call(self, method: str, path: str, body: Any = None) -> Any:
        self._connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:200]!r}")
        return json.loads(content)


def set_up_ten(found: Found, api: Api) -> float:
    """Set up ten simulated devices through the API (the store has nine; the tenth is a second look at a reader)."""
    started_s = time.monotonic()
    rows = [*found.devices, *found.devices][:TEN]
    for index, device in enumerate(rows):
        name = device["id"] if index < len(found.devices) else f"{device['id']}-b"
        api.call("PUT", f"/v1/devices/{name}", found.body(device))
    wanted = {device["id"] for device in found.devices}
    while True:
        states = {row["id"]: row["state"] for row in api.call("GET", "/v1/devices")}
        if all(states[name] != "offline" for name in wanted):
            return time.monotonic() - started_s
        if time.monotonic() - started_s > 60:
            raise RuntimeError(f"not online within 60 s: {states}")
        time.sleep(0.2)


def reads(found: Found, token: str) -> tuple[float, float]:
    """(reads a second, reads a second of the gateway's CPU) over four kept connections."""
    apis = [Api(found.url, token) for _ in range(4)]

    def work(api: Api) -> int:
        until_s, count = time.monotonic() + 3.0, 0
        while time.monotonic() < until_s:
            api.call("GET", "/v1/stock/04569951000003")
            count += 1
        return count

    cpu_s, started_s = found.cpu_s(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        total = sum(pool.map(work, apis))
    return total / (time.monotonic() - started_s), total / max(1e-9, found.cpu_s() - cpu_s)


def listeners(found: Found, token: str, count: int) -> tuple[int, float]:
    """(events heard by the slowest, share of a core) with so many clients of the live stream and updates flowing."""
    place = urlsplit(found.url)
    head = f"GET /v1/facts/live HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    sockets = []
    for _ in range(count):
        client = socket.create_connection((place.hostname or "", place.port or 80))
        client.sendall(head)
        client.setblocking(False)
        sockets.append(client)
    time.sleep(2.0)
    cpu_s, started_s = found.cpu_s(), time.monotonic()
    heard = [0] * count
    while time.monotonic() - started_s < 8.0:
        time.sleep(0.25)
        for index, client in enumerate(sockets):
            try:
                while data := client.recv(1 << 16):
                    heard[index] += data.count(b"event: fact")
            except BlockingIOError:
                continue
    share = (found.cpu_s() - cpu_s) / (time.monotonic() - started_s)
    for client in sockets:
        client.close()
    return min(heard), share


def idle_share(found: Found) -> float:
    """Share of a core that the gateway takes without listeners."""
    cpu_s, started_s = found.cpu_s(), time.monotonic()
    time.sleep(5.0)
    return (found.cpu_s() - cpu_s) / (time.monotonic() - started_s)


def in_browser(found: Found, token: str) -> dict[str, float]:
    """First paint of the Store page, and drawn updates a second when facts come faster than that."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context()
        context.add_cookies([{"name": "smartstore-session", "value": token, "url": found.url}])
        page = context.new_page()
        page.goto(found.url + "/health-page")
        page.goto(found.url + "/store")
        page.wait_for_timeout(1500)
        paint = "performance.getEntriesByType('paint').find(p => p.name === 'first-contentful-paint').startTime / 1000"
        first_s = page.evaluate(paint)
        drawn = page.evaluate(
            """async (seconds) => {
                const pairs = [...document.querySelectorAll('.pip')].map(pip => pip.dataset.pair.split('|'));
                let frames = 0, run = true, worst = 0, last = performance.now();
                const tick = (now) => { frames += 1; worst = Math.max(worst, now - last); last = now; if (run) requestAnimationFrame(tick); };
                requestAnimationFrame(tick);
                let sent = 0;
                const start = performance.now();
                while (performance.now() - start < seconds * 1000) {
                    const due = Math.floor((performance.now() - start) / 5);
                    for (; sent < due; sent++) {
                        const [shelf, gtin] = pairs[sent % pairs.length];
                        waiting.push({ type: 'inventory.OnHandChanged', shelf, gtin, on_hand: sent % 9, time_us: Date.now() * 1000, seq: sent });
                        if (!drawing) { drawing = true; requestAnimationFrame(draw); }
                    }
                    await new Promise((done) => setTimeout(done, 5));
                }
                run = false;
                return { updates: sent / seconds, frames: frames / seconds, worst };
            }""",
            UPDATES_S,
        )
        browser.close()
    return {
        "first_paint_s": round(first_s, 3),
        "updates_per_s": round(drawn["updates"], 1),
        "frames_per_s": round(drawn["frames"], 1),
        "longest_frame_ms": round(drawn["worst"], 1),
    }


def run(argv: list[str]) -> dict[str, object]:
    """All figures of one gateway over a simulated store."""
    parser = argparse.ArgumentParser(prog="tests.bench console")
    parser.add_argument("--clients", type=int, default=100)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="smartstore-console-") as folder, first_day(Path(folder)) as found:
        rss_idle_mib = found.rss_mib()
        open_ = Api(found.url)
        token = open_.call("POST", "/v1/claim", {"code": found.code, "name": "bench", "pin": PIN})["token"]
        api = Api(found.url, token)
        setup_s = set_up_ten(found, api)
        api.call("DELETE", f"/v1/devices/{found.devices[0]['id']}-b")
        time.sleep(5.0)
        alone = idle_share(found)
        heard, share = listeners(found, token, options.clients)
        per_s, per_cpu_s = reads(found, token)
        figures: dict[str, object] = {
            "setup_10_devices_s": round(setup_s, 2),
            "sse_clients": options.clients,
            "events_heard": heard,
            "core_share": round(max(0.0, share - alone), 3),
            "core_share_alone": round(alone, 3),
            "api_reads_per_s": round(per_cpu_s),
            "api_reads_per_wall_s": round(per_s),
            "rss_unclaimed_mib": round(rss_idle_mib, 1),
            "rss_mib": round(found.rss_mib(), 1),
        }
        reason = missing()
        return figures | ({"skipped": reason} if reason else in_browser(found, token))
