"""Whether a new release does as well as the one before: asked through the public /health, by the old release's code.

Well means: over the last part of the gate it answers as the new version, no heartbeat is overdue, it has no alarm that
the old one had not, at least as many devices are online, and the link to the platform stands if it stood before.
"""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

LOOK_S: Final = 5.0
ANSWER_S: Final = 5.0
NOT_UP: Final = "it did not stay up: taken back after three starts"
SETTLE_SHARE: Final = 0.2  # of the gate, at its end: all looks in it must be good
_LARGEST_BYTES: Final = 1 << 20
Look = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class HealthPage:
    """The gateway's /health on this machine, by the address it listens on (the certificate is good for it).

    folder: where its CA is kept; https: whether it speaks TLS.
    """

    address: str
    port: int
    https: bool
    folder: Path

    def __call__(self) -> Mapping[str, Any]:
        """The document, {} where there is no answer that can be understood."""
        scheme, tls = ("https", self._tls()) if self.https else ("http", None)
        request = urllib.request.Request(f"{scheme}://{self.address}:{self.port}/health")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S, context=tls) as answer:
                return self._read(answer)
        except urllib.error.HTTPError as error:
            return self._read(error)
        except (OSError, ValueError):
            return {}

    def _tls(self) -> ssl.SSLContext | None:
        try:
            return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        except OSError:
            return None

    @staticmethod
    def _read(answer: Any) -> Mapping[str, Any]:
        document = json.loads(answer.read(_LARGEST_BYTES))
        return document if isinstance(document, dict) else {}


def baseline_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a later release is compared with."""
    return {
        "causes": sorted(map(str, document.get("causes", []))),
        "devices_online": int(document.get("devices_online", 0)),
        "uplink": str(document.get("uplink", "off")),
    }


def fault_of(document: Mapping[str, Any], version: str, baseline: Mapping[str, Any]) -> str:
    """What is wrong with one look, "" when it is as good as before."""
    if not document:
        return "it does not answer"
    if document.get("version") != version:
        return f"version {document.get('version')} answers, expected {version}"
    if document.get("status") == "failing":
        return f"it fails: {', '.join(map(str, document.get('causes', [])))}"
    if new := sorted(set(map(str, document.get("causes", []))) - set(baseline.get("causes", []))):
        return f"new alarm: {', '.join(new)}"
    online, before = int(document.get("devices_online", 0)), int(baseline.get("devices_online", 0))
    if online < before:
        return f"{online} devices online, {before} before"
    if baseline.get("uplink") == "connected" and document.get("uplink") != "connected":
        return "the link to the platform does not stand"
    return ""


@dataclass(slots=True)
class Judge:
    """Watches one trial. `still` says whether the release on trial is still the current one (the gate may end it)."""

    look: Look
    still: Callable[[], bool]
    gate_s: float
    sleep: Callable[[float], None] = time.sleep
    now_s: Callable[[], float] = time.monotonic
    say: Callable[[str], None] = lambda _: None

    def verdict(self, version: str, baseline: Mapping[str, Any]) -> str:
        """What was wrong within `gate_s`; "" when the release did well for all of it."""
        began_s = self.now_s()
        settle_s = max(SETTLE_SHARE * self.gate_s, min(2 * LOOK_S, self.gate_s))
        fault, boots = "it does not answer", set[int]()
        while (passed_s := self.now_s() - began_s) < self.gate_s:
            if not self.still():
                return NOT_UP
            document = self.look()
            now = fault_of(document, version, baseline)
            if now != fault:
                self.say(f"{version}: {now or 'well'} ({passed_s:.0f} s of {self.gate_s:.0f} s)")
            fault = now
            if document.get("version") == version:
                boots.add(int(document.get("boot", 0)))
            if fault and passed_s > self.gate_s - settle_s:
                return fault
            self.sleep(min(LOOK_S, self.gate_s / 20))
        if len(boots) > 1:
            return f"it started {len(boots)} times while it was judged"
        return fault
