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
from edge.core.plain import describe
from edge.core.retention import Retention
from edge.journal import JournalSettings
from edge.settings import ApiSettings, DeviceEntry, GatewaySettings
from edge.updates.settings import UpdateSettings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
SECTIONS: dict[str, type[Any]] = {
    "[gateway]": GatewaySettings,
    "[api]": ApiSettings,
    "[journal]": JournalSettings,
    "[retention]": Retention,
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


def _default(value: Any) -> str:
    """As it is written in TOML; what cannot be written there is what is so when the key is left out."""
    if value is None:
        return "left out"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    if dataclasses.is_dataclass(value):
        inner = ", ".join(f"{field.name} = {getattr(value, field.name)}" for field in dataclasses.fields(value))
        return f"`{{ {inner} }}`"
    return f"`{value}`"


def _table(kind: type[Any]) -> list[str]:
    notes = _notes(kind)
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for field in describe(kind):
        shown = f"{field.type}: {field.rule}" if field.rule else field.type
        default = "required" if field.required else _default(field.default)
        cells = (f"`{field.name}`", shown, default, notes.get(field.name, ""))
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
