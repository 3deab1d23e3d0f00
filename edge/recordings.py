"""Recordings of a device's link (`devices.transport.Tap`), made while a technician watches and kept under a bound.

Only links whose bytes name nobody are recorded: a BLE link carries addresses of phones, a door sensor has its own way.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from edge.core.errors import GatewayError

KINDS: Final = ("rfid_llrp", "rfid_r200", "shelf_mcu", "scale_sics", "scale_modbus")
REPLAYED: Final = ("rfid_llrp", "rfid_r200")
KEPT: Final = 10
MAX_BYTES: Final = 20 << 20
STEP_S: Final = 0.25
_NAME: Final = re.compile(r"([a-z0-9-]{1,40})\.([0-9]{1,6})\.tap\Z")
_MAIN: Final = "import os, sys; os.nice(10); from edge.cli import main; sys.argv[0] = 'smartstore'; main()"
Tell = Callable[[float, str], None]


class RecordingRefused(GatewayError):
    """No recording can be made or replayed: detail says why."""

    hint = "Choose a device whose link may be recorded, or delete an old recording."


class Tapping(Protocol):
    """What can put a tap on a link."""

    async def tap(self, device_id: str, path: Path | None, max_bytes: int = 0) -> None:
        """Record the link from its next connection on, None: no longer; the link starts anew."""
        ...


class Recordings:
    """The recordings in a folder: ``DEVICE.NUMBER.tap``."""

    def __init__(self, folder: Path, tapping: Tapping) -> None:
        self.folder, self._tapping = folder, tapping
        self._busy: set[str] = set()

    def rows(self) -> list[dict[str, Any]]:
        """Name, device and size of each, oldest first."""
        found = ((path, _NAME.match(path.name)) for path in self.folder.glob("*.tap"))
        known = sorted((int(match[2]), match[1], path) for path, match in found if match)
        return [{"name": path.name, "device": device, "bytes": path.stat().st_size} for _, device, path in known]

    def path(self, name: str) -> Path | None:
        """The file of a recording, None where there is none of this name."""
        return self.folder / name if _NAME.match(name) and (self.folder / name).is_file() else None

    def new(self, device_id: str, kind: str) -> Path:
        """Where the next recording goes. Raises RecordingRefused."""
        if kind not in KINDS:
            detail = f"device {device_id}: kind = {kind!r}: expected one of {', '.join(KINDS)}, whose links name nobody"
            raise RecordingRefused(detail)
        if device_id in self._busy:
            raise RecordingRefused(f"device {device_id}: it is being recorded: expected one recording at a time")
        rows = self.rows()
        if len(rows) >= KEPT:
            raise RecordingRefused(f"recordings: {len(rows)} are kept: expected fewer than {KEPT}")
        last = max((int(row["name"].split(".")[1]) for row in rows), default=0)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.folder / f"{device_id}.{last + 1}.tap"

    async def record(self, device_id: str, kind: str, seconds: float, tell: Tell) -> dict[str, Any]:
        """Record for so long. The link starts anew at the begin and at the end; what a cancelled one has is kept.

        Raises RecordingRefused.
        """
        loop, path = asyncio.get_running_loop(), self.new(device_id, kind)
        self._busy.add(device_id)
        try:
            await self._tapping.tap(device_id, path, MAX_BYTES)
            until_s = loop.time() + seconds
            while (left_s := until_s - loop.time()) > 0:
                size = size_of(path)
                tell(1 - left_s / seconds, f"{size} bytes" if size else "waiting for the link")
                await asyncio.sleep(min(STEP_S, left_s))
        finally:
            self._busy.discard(device_id)
            await self._tapping.tap(device_id, None)
        if not size_of(path):
            raise RecordingRefused(f"device {device_id}: its link did not open in {seconds:g} s")
        return {"name": path.name, "device": device_id, "bytes": size_of(path)}


def size_of(path: Path) -> int:
    """Bytes of a recording, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def forget(path: Path) -> None:
    """Delete a recording, if there is one."""
    path.unlink(missing_ok=True)


async def replay(
    recording: Path, planogram: Mapping[str, Any], other: Mapping[str, Any], profile: str
) -> dict[str, Any]:
    """What another planogram or profile would have made of a reader's recording; a process of its own, at low priority.

    Raises RecordingRefused with the words of `smartstore replay`.
    """
    device = recording.name.split(".")[0]
    with tempfile.TemporaryDirectory(prefix="smartstore-replay-") as place:
        paths = [Path(place) / "now.json", Path(place) / "then.json"]
        for path, document in zip(paths, (planogram, other), strict=True):
            path.write_text(json.dumps(document), encoding="utf-8")
        now, then = map(str, paths)
        asked = ["--device", device, "--planogram", now, "--other", then, "--profile", profile, "--json"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _MAIN, "replay", str(recording), *asked),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, errors = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
    if process.returncode != 0:
        said = errors.decode(errors="replace").strip().splitlines()
        raise RecordingRefused((said or ["the replay failed"])[0].replace(f"{place}/", ""))
    compared: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return compared
