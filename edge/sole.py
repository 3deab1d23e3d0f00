"""One gateway a folder: who runs holds a lock on its state that ends with its process, also on kill -9."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edge.core.errors import SettingsError


def hold(state_dir: Path) -> int:
    """Make and lock the folder for this process; a descriptor to `os.close`.

    Raises SettingsError where it is held, or cannot be made or written.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        found, expected = f"{state_dir} ({error.strerror})", "a folder that this user may make and write in"
        raise SettingsError("settings", "gateway.state_dir", found, expected) from None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the process's: its own later gateways are not shut out
    except OSError:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        expected = f"a folder that no running gateway uses (process {holder} runs in it: stop that one first)"
        raise SettingsError("settings", "gateway.state_dir", str(state_dir), expected) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor
