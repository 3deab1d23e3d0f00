"""``smartstore platform``: the reference platform with a broker of its own (NATS) or an existing one, on SQLite."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from cloud_bridge.ingest.broker import nats_broker
from cloud_bridge.ingest.platform import Platform, PlatformSettings


def serve_platform(directory: Path, broker: str, as_json: bool) -> int:
    """Run until SIGTERM or Ctrl-C. broker "" starts an embedded one in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    asyncio.run(_serve(directory, broker, as_json))
    return 0


async def _serve(directory: Path, address: str, as_json: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        if not address:
            embedded = await stack.enter_async_context(nats_broker(directory / "broker"))
            address = embedded.address
        settings = PlatformSettings(
            (address,), database=str(directory / "platform.db"), key_file=str(directory / "platform.key")
        )
        platform = Platform(settings)
        running = asyncio.create_task(platform.run())
        ready = asyncio.create_task(platform.ready.wait())
        await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            _say_ready(platform, address, as_json)
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([running, stopped], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running  # raises what ended it
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if as_json:
            typer.echo(json.dumps({"stopped": True, **asdict(platform.counters)}, default=str))


def _say_ready(platform: Platform, address: str, as_json: bool) -> None:
    key = base64.b64encode(platform.signer.public_key).decode()
    told: dict[str, Any] = {
        "ready": True,
        "mqtt": address,
        "keys": {platform.settings.key_name: key},
        "database": platform.settings.database,
    }
    if as_json:
        typer.echo(json.dumps(told))
        return
    typer.echo(f"broker    {address}\ndatabase  {platform.settings.database}")
    typer.echo(f"settings for a gateway:\n\n[uplink]\nhosts = [{json.dumps(address)}]\n")
    typer.echo(f"[uplink.platform_keys]\n{platform.settings.key_name} = {json.dumps(key)}")
