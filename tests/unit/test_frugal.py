"""Memory is given back, and what nobody needs is not imported; a gateway's process is looked at from outside."""

from __future__ import annotations

import json
import subprocess
import sys

from cloud_bridge.lean import without
from edge.frugal import code_mappings

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


SMAPS = """
7f01a000-7f01c000 r--p 00000000 fe:00 1                                  /usr/lib/libonnx.so
Rss:                   8 kB
Anonymous:             0 kB
7f01c000-7f02c000 r-xp 00002000 fe:00 1                                  /usr/lib/libonnx.so
Rss:                  64 kB
Anonymous:             0 kB
AnonHugePages:         0 kB
7f02c000-7f02e000 r-xp 00000000 fe:00 2                                  /usr/lib/a name with blanks.so
Anonymous:             4 kB
7f02e000-7f030000 rw-p 00012000 fe:00 1                                  /usr/lib/libonnx.so
Anonymous:             8 kB
7f040000-7f042000 r-xp 00000000 00:00 0
Anonymous:             0 kB
7ffd0000-7ffd2000 r-xp 00000000 00:00 0                                  [vdso]
Anonymous:             0 kB
"""


def test_only_code_that_its_file_holds_unchanged_is_given_back() -> None:
    assert list(code_mappings(SMAPS)) == [(0x7F01C000, 0x10000)]


CODE = """
import json, re
from pathlib import Path
import numpy as np, onnxruntime
from edge.frugal import code_mappings, give_back
def resident_kib():
    return sum(map(int, re.findall(r"RssFile:\\s+(\\d+)", Path("/proc/self/status").read_text())))
before = resident_kib()
give_back()
after = resident_kib()
values = np.linalg.solve(np.eye(40) * 2, np.ones(40))
ports = [v.name for v in onnxruntime.InferenceSession("models/footfall.onnx").get_inputs()]
print(json.dumps({"before": before, "after": after, "right": bool((values == 0.5).all()), "ports": ports}))
"""


def test_code_that_was_given_back_still_runs() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["before"] - said["after"] > 8 * 1024
    assert said["right"]
    assert said["ports"] == ["signal"]
