"""Imports that leave out what a library would take along only if it is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast


@contextmanager
def without(name: str) -> Iterator[None]:
    """Within it, importing `name` fails as if it were not installed; what is imported already stays."""
    hidden = name not in sys.modules
    if hidden:
        # the import system's own way to say "not there" (importlib, sys.modules)
        cast("dict[str, object]", sys.modules)[name] = None
    try:
        yield
    finally:
        if hidden:
            del sys.modules[name]
