"""The one door to every wire: `open_stream(moniker)`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from devices.transport.moniker import Moniker, parse_moniker
from devices.transport.recording import Tap, open_replay
from devices.transport.stream import ByteStream
from edge.core.errors import LinkLost
from edge.core.plain import PlainError


@dataclass(frozen=True, slots=True)
class SimLinks:
    """In-memory links by name, filled by tests: ``sim:NAME`` calls the way to open that is registered here."""

    ways: dict[str, Callable[[], Awaitable[ByteStream]]] = field(default_factory=dict)

    def register(self, name: str, way: Callable[[], Awaitable[ByteStream]]) -> None:
        """Make ``sim:{name}`` open with `way`; a later one replaces an earlier one."""
        self.ways[name] = way

    async def open(self, moniker: Moniker) -> ByteStream:
        """Open a registered link; raises LinkLost naming what is registered."""
        way = self.ways.get(moniker.target)
        if way is None:
            raise LinkLost(moniker.text, f"no simulated link {moniker.target}; there are: {', '.join(self.ways)}")
        return await way()


NO_SIM_LINKS = SimLinks()


async def open_stream(text: str, sim_links: SimLinks = NO_SIM_LINKS) -> ByteStream:
    """Open a moniker. Every scheme takes ``tap=FILE`` to record the link.

    Raises PlainError for a moniker that cannot be right, LinkLost or DeviceRefused (named by the moniker) where the
    link cannot be opened.
    """
    moniker = parse_moniker(text)
    moniker.check()
    tap = moniker.options.get("tap")
    plain = replace(moniker, options={name: value for name, value in moniker.options.items() if name != "tap"})
    stream = await _open(plain, sim_links)
    if tap is None:
        return stream
    try:
        return Tap(stream, Path(tap), moniker.text)
    except OSError as error:
        await stream.close()
        raise PlainError(f"{text}: tap", tap, f"a file that can be written ({error.strerror})") from error


async def _open(moniker: Moniker, sim_links: SimLinks) -> ByteStream:
    if moniker.scheme == "serial":
        from devices.transport.serial_port import open_serial  # noqa: PLC0415 (a store without serial devices)

        return await open_serial(moniker)
    if moniker.scheme in ("tcp", "tls"):
        from devices.transport.tcp import open_tcp, open_tls  # noqa: PLC0415 (ssl costs 20 ms at the start)

        return await (open_tls if moniker.scheme == "tls" else open_tcp)(moniker)
    if moniker.scheme == "sim":
        return await sim_links.open(moniker)
    return open_replay(moniker)
