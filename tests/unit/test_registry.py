"""The registry: literal table, entry points, errors."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from devices import registry
from devices.driver import DriverInfo
from edge.core.plain import PlainError


def test_unknown_kind_is_named_with_what_exists():
    with pytest.raises(PlainError, match=r"kind = 'toaster': expected one of rfid_llrp, .*door_array"):
        registry.driver_info("toaster")


def test_entry_point_is_found_but_cannot_replace_ours(monkeypatch):
    info = DriverInfo("toaster", "Toaster", SimpleNamespace, lambda context, settings: None)
    rows = [
        SimpleNamespace(name="toaster", load=lambda: info),
        SimpleNamespace(name="rfid_llrp", load=lambda: info),
        SimpleNamespace(name="liar", load=lambda: "no driver"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group, name=None: [r for r in rows if name in (None, r.name)])
    assert registry.driver_info("toaster") is info
    assert registry.kinds() == [*registry.BUILT_IN, "liar", "toaster"]
    with pytest.raises(PlainError, match=re.escape("a DriverInfo of the kind liar")):
        registry.driver_info("liar")


def test_listing_kinds_imports_no_driver():
    code = (
        "import sys, devices.registry as r; r.kinds(); print(sorted(m for m in sys.modules if m.startswith('devices')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['devices', 'devices.registry']"
    assert importlib.metadata.version("numpy")


def test_discoverers_exist():
    assert registry.discoverers()["rfid_llrp"].__name__ == "discover"


@pytest.mark.parametrize("kind", ["rfid_llrp", "rfid_r200"])
def test_our_drivers_load(kind):
    info = registry.driver_info(kind)
    assert info.kind == kind
    assert info.title
