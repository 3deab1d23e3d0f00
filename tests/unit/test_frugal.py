"""Memory is given back, and what nobody needs is not imported; a gateway's process is looked at from outside."""

from __future__ import annotations

import json
import subprocess
import sys

from cloud_bridge.lean import without

PROBE = """
import ctypes, json, sys
from edge.frugal import be_frugal, give_back
def rss_mib():
    return int(open("/proc/self/statm").read().split()[1]) / 256
be_frugal()
before = rss_mib()
held = [bytes(40_000) for _ in range(2_000)]
keep = bytes(100_000)
full = rss_mib()
del held
give_back()
import edge.api.app, edge.bridge, edge.journal
from edge.journal import Store
Store(None).close()
loaded = [n for n in ("pydantic.v1", "dns.resolver", "sqlite_utils") if sys.modules.get(n) is not None]
print(json.dumps({"before": before, "full": full, "after": rss_mib(), "loaded": loaded}))
"""


def test_a_process_gives_back_and_imports_only_what_it_needs() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["full"] - said["before"] > 60
    assert said["after"] < said["full"]
    assert said["loaded"] == []


def test_what_is_hidden_is_hidden_only_within() -> None:
    sys.modules.pop("colorsys", None)
    with without("colorsys"):
        try:
            import colorsys
        except ImportError:
            colorsys = None  # type: ignore[assignment]
        assert colorsys is None
    import colorsys as there

    assert there.rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)
    with without("json"):
        import json as still

        assert still is json
