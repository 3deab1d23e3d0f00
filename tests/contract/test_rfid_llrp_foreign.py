"""Our LLRP client with a reader that others wrote: the server of npm's llrpjs 1.0.1 (MIT), as a separate process."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path

import pytest

from devices.driver import DriverContext
from devices.rfid_llrp.driver import LlrpDriver
from devices.rfid_llrp.settings import Settings
from devices.transport import open_stream
from edge.core.observation import AntennaStatus, DeviceIdentity, DeviceState, DeviceStatus, TagReads

READER = Path(__file__).with_name("llrpjs_reader.js")


MODULES = Path(__file__).resolve().parents[2] / ".venv" / "peers" / "node_modules"


@pytest.fixture(scope="module")
def llrpjs():
    """Path of node_modules with llrpjs in it."""
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    if not (MODULES / "llrpjs").is_dir():
        pytest.skip("npm's llrpjs is not installed: make peers")
    return MODULES


def test_our_client_gets_its_tags_from_llrpjs(llrpjs):
    async def main() -> tuple[list[object], str]:
        process = await asyncio.create_subprocess_exec(
            "node",
            str(READER),
            env={**os.environ, "NODE_PATH": str(llrpjs)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            first = await asyncio.wait_for(process.stdout.readline(), 20)
            port = int(first.split()[1])
            seen: list[object] = []
            context = DriverContext("reader-1", lambda: time.monotonic_ns() // 1000, open_stream)
            driver = LlrpDriver(context, Settings(f"tcp:127.0.0.1:{port}", identity="84:24:8D:EE:00:01"))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3):
                    await driver.run(seen.append)
        finally:
            process.stdin.close()
            rest = await process.stdout.read()
            await process.wait()
        return seen, rest.decode()

    seen, output = asyncio.run(asyncio.wait_for(main(), 60))
    [identity] = [item for item in seen if isinstance(item, DeviceIdentity)]
    assert (identity.serial, identity.model, identity.firmware) == ("84248dee0001", "Zebra 96", "3.21.23")
    antennas = [(item.antenna, item.connected) for item in seen if isinstance(item, AntennaStatus)]
    assert antennas == [(1, True), (2, False)]
    assert [item.state for item in seen if isinstance(item, DeviceStatus)] == [DeviceState.ONLINE]
    reads = [item for item in seen if isinstance(item, TagReads)]
    assert {item.epc.shape[1] for item in reads} == {12, 16}
    for item in reads:
        numbers = item.epc[:, 0].astype(int)
        width = item.epc.shape[1]
        assert all(bytes(row) == bytes(range(row[0], row[0] + width)) for row in item.epc)
        assert set(numbers) <= ({1, 3} if width == 12 else {2, 4})
        assert (item.antenna == 1 + numbers % 2).all()
        assert (item.rssi_cdbm == -100 * (40 + numbers)).all()
        assert (item.count == numbers).all()
        assert (item.mono_us - item.seen_us < 3_000_000).all()
    assert sum(map(len, reads)) >= 20
    assert output.count("ack") >= 3, "keepalives were answered"
