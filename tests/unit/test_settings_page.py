"""docs/settings.md names every key of every section and driver."""

from __future__ import annotations

import re
from pathlib import Path

from deploy.settings_page import PAGE, SECTIONS, page

ROOT = Path(__file__).parents[2]


def test_the_page_is_as_generated() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m deploy.settings_page"


def test_every_section_that_a_room_asks_for_is_on_the_page() -> None:
    asked = {
        name
        for path in (ROOT / "edge").rglob("*.py")
        for name in re.findall(r"\.section\(\"(\w+)\"", path.read_text(encoding="utf-8"))
    }
    assert asked
    assert {f"[{name}]" for name in asked} <= set(SECTIONS)
