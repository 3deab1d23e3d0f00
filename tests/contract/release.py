"""``python -m tests.contract.release``: freeze the schemas of this release.

Run it once a release, never to please a test.
"""

from __future__ import annotations

import json
from pathlib import Path

from cloud_bridge.contract.generate import schemas

RELEASED = Path(__file__).parent / "released_v1.json"

if __name__ == "__main__":
    RELEASED.write_text(json.dumps(schemas(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
