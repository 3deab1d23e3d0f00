"""``python -m cloud_bridge.contract.generate``: write the published files from the code.

``asyncapi.json``, ``schemas/*.json`` and ``examples/*.json`` beside this module, and the page for people. The files
are committed; a test compares them with what this module makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cloud_bridge.contract import CONTRACT_VERSION
from cloud_bridge.contract.asyncapi import document
from cloud_bridge.contract.examples import example_events
from cloud_bridge.contract.messages import MESSAGES
from cloud_bridge.contract.page import page
from cloud_bridge.contract.schema import data_schema, envelope_schema
from edge.core.fact import fact_types, kind_of

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "contract.md"


def schemas() -> dict[str, dict[str, Any]]:
    """File stem → JSON Schema of everything that is sent."""
    made = {f"event.{kind_of(fact_type)}": data_schema(fact_type) for _, fact_type in sorted(fact_types().items())}
    made["event"] = envelope_schema()
    made.update({kind.name: kind.schema for kind in MESSAGES})
    return made


def files() -> dict[Path, str]:
    """Path → content of every generated file."""
    made = {HERE / "asyncapi.json": _json(document(CONTRACT_VERSION)), PAGE: page()}
    for name, schema in schemas().items():
        made[HERE / "schemas" / f"{name}.json"] = _json(schema)
    for name, event in example_events().items():
        made[HERE / "examples" / f"{name}.json"] = _json(event)
    for kind in MESSAGES:
        made[HERE / "examples" / f"{kind.name}.json"] = _json(kind.example)
    return made


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write them all."""
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
