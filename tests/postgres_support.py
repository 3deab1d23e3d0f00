"""A place for PostgreSQL, which never runs as root, so that it can enter no folder of pytest's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloud_bridge.ingest.broker import BrokerError
from cloud_bridge.ingest.central import postgres_programs


@contextmanager
def postgres_folder() -> Iterator[Path]:
    """An empty folder that every user may enter, gone afterwards. Skips where PostgreSQL is not installed."""
    try:
        postgres_programs()
    except BrokerError as missing:
        pytest.skip(str(missing))
    with tempfile.TemporaryDirectory(prefix="smartstore-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
