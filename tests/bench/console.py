"""Console and API: first paint, live updates, listeners, reads a second, set-up of ten devices by script."""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.console_store import ARGUMENTS, CHROMIUM, Found, first_day, missing

PIN = "bench pin 9"
TEN = 10
GTIN = "04569951000003"
PEOPLE, UPDATES_PER_S, LISTEN_S = 4, 100.0, 8.0
UPDATES_S = 6.0
DRAWN_PER_S = 125.0  # recounts a second, each of which is two facts: some over the 200 that are asked
STUTTER_MS = 100  # nothing new for so long is seen as a halt (six frames of a 60 Hz screen)


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


def set_up_ten(found: Found, api: Api, folder: Path) -> float:
    """Set up ten simulated devices through the API; seconds until all of them work."""
    ten = found.ten(folder)
    started_s = time.monotonic()
    for device in ten:
        api.call("PUT", f"/v1/devices/{device['id']}", found.body(device))
    while True:
        states = {row["id"]: row["state"] for row in api.call("GET", "/v1/devices")}
        if len(states) == TEN and set(states.values()) == {"online"}:
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
            api.call("GET", f"/v1/stock/{GTIN}")
            count += 1
        return count

    cpu_s, started_s = found.cpu_s(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        total = sum(pool.map(work, apis))
    return total / (time.monotonic() - started_s), total / max(1e-9, found.cpu_s() - cpu_s)


class Updates:
    """People who count without end: so many recounts a second in all, each of which is at least two facts."""

    def __init__(self, url: str, token: str, recounts_per_s: float = UPDATES_PER_S) -> None:
        self._stop, self._rate_per_s = threading.Event(), recounts_per_s
        self._people = [
            threading.Thread(target=self._work, args=(Api(url, token), number), daemon=True) for number in range(PEOPLE)
        ]

    def __enter__(self) -> Updates:
        for person in self._people:
            person.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for person in self._people:
            person.join(30)

    def _work(self, api: Api, number: int) -> None:
        began_s, sent = time.monotonic(), 0
        while not self._stop.is_set():
            api.call("POST", "/v1/recounts", {"shelf": f"shelf-{number + 1}", "gtin": GTIN, "quantity": 10 + sent % 50})
            sent += 1
            time.sleep(max(0.0, began_s + sent * PEOPLE / self._rate_per_s - time.monotonic()))


def last_seq(found: Found) -> int:
    """Facts committed so far."""
    return int(Api(found.url).call("GET", "/health")["last_seq"])


def busy_share(found: Found, seconds: float) -> tuple[float, float]:
    """(share of a core, facts a second) over the next seconds."""
    cpu_s, facts, started_s = found.cpu_s(), last_seq(found), time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - started_s
    return (found.cpu_s() - cpu_s) / took_s, (last_seq(found) - facts) / took_s


def listeners(found: Found, token: str, count: int) -> dict[str, float]:
    """What so many clients of the live stream cost while a person's updates flow: the difference to none of them."""
    with Updates(found.url, token):
        time.sleep(1.0)
        alone, _ = busy_share(found, LISTEN_S)
        sockets = [_listener(found.url, token) for _ in range(count)]
        heard = [0] * count
        stop = threading.Event()
        reader = threading.Thread(target=_drain, args=(sockets, heard, stop), daemon=True)
        reader.start()
        time.sleep(1.0)
        before, began_s = list(heard), time.monotonic()
        share, facts_per_s = busy_share(found, LISTEN_S)
        slowest = min(now - then for now, then in zip(heard, before, strict=True)) / (time.monotonic() - began_s)
        stop.set()
        reader.join(30)
    for client in sockets:
        client.close()
    return {
        "core_share": round(max(0.0, share - alone), 3),
        "core_share_without_clients": round(alone, 3),
        "sse_facts_per_s": round(facts_per_s, 1),
        "sse_heard_per_s_by_slowest": round(slowest, 1),
    }


def _listener(url: str, token: str) -> socket.socket:
    place = urlsplit(url)
    head = f"GET /v1/facts/live HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    client = socket.create_connection((place.hostname or "", place.port or 80))
    client.sendall(head)
    client.setblocking(False)
    return client


def _drain(sockets: list[socket.socket], heard: list[int], stop: threading.Event) -> None:
    while not stop.is_set():
        time.sleep(0.25)
        for index, client in enumerate(sockets):
            with contextlib.suppress(BlockingIOError):
                while data := client.recv(1 << 16):
                    heard[index] += data.count(b"event: fact")


def idle_share(found: Found) -> float:
    """Share of a core that the gateway takes without listeners."""
    cpu_s, started_s = found.cpu_s(), time.monotonic()
    time.sleep(5.0)
    return (found.cpu_s() - cpu_s) / (time.monotonic() - started_s)


FRAMES = """async (seconds) => {
    let frames = 0, run = true, worst = 0, stutters = 0, last = 0;
    const tick = (now) => {
        if (last) { frames += 1; worst = Math.max(worst, now - last); stutters += now - last > STUTTER_MS; }
        last = now;
        if (run) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    const start = performance.now(), before = window.factsSeen || 0;
    await new Promise((done) => setTimeout(done, seconds * 1000));
    run = false;
    const took = (performance.now() - start) / 1000;
    return { updates: ((window.factsSeen || 0) - before) / took, frames: frames / took, worst, stutters, left: waiting.length };
}"""


def in_browser(found: Found, token: str) -> dict[str, float]:
    """First paint of the Store page; then people count without end: facts that come over the live stream and are drawn,
    frames meanwhile, and how often none came for so long that an eye sees it (`dropped_frame_runs`)."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_cookies([{"name": "smartstore-session", "value": token, "url": found.url}])
        page = context.new_page()
        page.goto(found.url + "/health-page")
        page.goto(found.url + "/store")
        page.wait_for_timeout(1500)
        paint = "performance.getEntriesByType('paint').find(p => p.name === 'first-contentful-paint').startTime / 1000"
        first_s = page.evaluate(paint)
        with Updates(found.url, token, DRAWN_PER_S):
            page.wait_for_timeout(1500)
            drawn = page.evaluate(FRAMES.replace("STUTTER_MS", str(STUTTER_MS)), UPDATES_S)
        browser.close()
    return {
        "first_paint_s": round(first_s, 3),
        "updates_per_s": round(drawn["updates"], 1),
        "frames_per_s": round(drawn["frames"], 1),
        "longest_frame_ms": round(drawn["worst"], 1),
        "dropped_frame_runs": drawn["stutters"],
        "undrawn": drawn["left"],
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
        setup_s = set_up_ten(found, api, Path(folder))
        time.sleep(5.0)
        alone = idle_share(found)
        live = listeners(found, token, options.clients)
        per_s, per_cpu_s = reads(found, token)
        figures: dict[str, object] = {
            "setup_10_devices_s": round(setup_s, 2),
            "sse_clients": options.clients,
            **live,
            "core_share_alone": round(alone, 3),
            "api_reads_per_s": round(per_cpu_s),
            "api_reads_per_wall_s": round(per_s),
            "rss_unclaimed_mib": round(rss_idle_mib, 1),
            "rss_mib": round(found.rss_mib(), 1),
        }
        reason = missing()
        return figures | ({"skipped": reason} if reason else in_browser(found, token))
