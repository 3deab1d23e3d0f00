"""Writes docs/settings.md from the dataclasses that read the settings: ``python -m deploy.settings_page``."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from pathlib import Path
from typing import Any

from cloud_bridge.settings import UplinkSettings
from devices.registry import BUILT_IN, driver_info
from edge.journal import JournalSettings
from edge.settings import ApiSettings, DeviceEntry, GatewaySettings
from edge.updates.settings import UpdateSettings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
SECTIONS: dict[str, type[Any]] = {
    "[gateway]": GatewaySettings,
    "[api]": ApiSettings,
    "[journal]": JournalSettings,
    "[uplink]": UplinkSettings,
    "[updates]": UpdateSettings,
    "[[device]]": DeviceEntry,
}
HEAD = """# Settings

One TOML file, named by `smartstore run --config FILE`. Paths are relative to it. Durations, masses and so on carry
their unit in the name. An unknown key, a wrong type or a value out of range is answered with file, key, value and
what is expected. This page is generated (`python -m deploy.settings_page`); a test keeps it complete.
"""


def _notes(kind: type[Any]) -> dict[str, str]:
    """Texts that stand under a field, as a string or a comment behind it."""
    source = textwrap.dedent(inspect.getsource(kind))
    lines, notes = source.splitlines(), {}
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.ClassDef)
    for item, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not (isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)):
            continue
        note = lines[(item.end_lineno or 1) - 1].partition("  # ")[2]
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            note = " ".join(str(after.value.value).split())
        notes[item.target.id] = note
    return notes


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not dataclasses.MISSING:
        return f"`{field.default_factory()!r}`"
    return "required"


def _table(kind: type[Any]) -> list[str]:
    notes = _notes(kind)
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        shown = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
        cells = (f"`{field.name}`", shown, _default(field), notes.get(field.name, ""))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for title, kind in SECTIONS.items():
        lines += [f"## `{title}`", "", inspect.cleandoc(kind.__doc__ or ""), "", *_table(kind), ""]
    for name in BUILT_IN:
        try:
            info = driver_info(name)
        except ImportError:  # named in the registry before it is there
            continue
        lines += [f"## `[device.settings]` of kind `{name}`", "", info.title, "", *_table(info.settings), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
