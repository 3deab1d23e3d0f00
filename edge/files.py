"""Small files written so that a power cut leaves the old content or the new one, never a part of it."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Final

PRIVATE: Final = 0o600
"""Access rights: nobody but us."""


def sync_folder(folder: Path) -> None:
    """Make renames and links in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write beside, sync, rename, sync the folder. mode: the new file's access rights (less the umask)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`write_whole` of a JSON document."""
    write_whole(path, json.dumps(value, ensure_ascii=False).encode())


def read_table(path: Path) -> dict[str, Any]:
    """A JSON object; {} where there is none or where it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
    return {}
