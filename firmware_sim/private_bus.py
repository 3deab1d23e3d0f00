"""A D-Bus of our own, so that BlueZ can be played on a machine that has none (and no harm done to one that has)."""

import asyncio
import os
import shutil
from pathlib import Path
from types import TracebackType

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_incoming_bytes">134217728</limit>
  <limit name="max_outgoing_bytes">134217728</limit>
  <limit name="max_match_rules_per_connection">512</limit>
</busconfig>
"""


class PrivateBus:
    """A `dbus-daemon` with an open policy on a socket in ``directory``; use as an async context.

    Clients find it through ``DBUS_SYSTEM_BUS_ADDRESS=address``. FileNotFoundError when dbus-daemon is not installed.
    """

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "bus"
        self.address = f"unix:path={self.socket}"
        self._config = directory / "bus.conf"
        self._daemon: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "PrivateBus":
        program = shutil.which("dbus-daemon")
        if program is None:
            raise FileNotFoundError("dbus-daemon is not installed: apt-get install dbus")
        if len(os.fsencode(self.socket)) > 107:  # sun_path, unix(7)
            raise ValueError(f"{self.socket}: a socket's path has at most 107 bytes")
        self._config.write_text(_CONFIG.format(socket=self.socket))
        self._daemon = await asyncio.create_subprocess_exec(
            program,
            f"--config-file={self._config}",
            "--nofork",
            "--nopidfile",
            "--print-address=1",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # it complains of limits that an ordinary user cannot raise
        )
        if self._daemon.stdout is None or not await self._daemon.stdout.readline():
            raise ConnectionError(f"dbus-daemon did not start on {self.socket} (exit {await self._daemon.wait()})")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._daemon is not None and self._daemon.returncode is None:
            self._daemon.terminate()
            await self._daemon.wait()
        self.socket.unlink(missing_ok=True)
        self._config.unlink(missing_ok=True)
