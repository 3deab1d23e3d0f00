"""Networks that let little out: WebSocket as the fallback for TCP, and an HTTP proxy (CONNECT) for both and enrolment."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cloud_bridge.ingest.authority import Authority, key_pem, new_key, signing_request
from cloud_bridge.ingest.broker import TlsFiles, free_port, mosquitto_broker, mosquitto_program
from cloud_bridge.paho_client import PahoLinks
from cloud_bridge.settings import UplinkSettings
from edge.access import AccessDenied
from edge.core.errors import UplinkError
from edge.core.plain import PlainError
from edge.core.ports import Message
from edge.enrolling import HttpsDoor
from tests.e2e.bridge_wires import until, wired_store

pytestmark = pytest.mark.skipif(
    mosquitto_program() is None, reason="mosquitto is not installed: apt-get install mosquitto"
)


class Nobody:
    """A listener of a link that never opens."""

    def disconnected(self, reason: str) -> None:
        raise AssertionError(reason)

    def acknowledged(self, tokens: object) -> None:
        raise AssertionError(tokens)

    def received(self, message: Message) -> None:
        raise AssertionError(message)


@pytest.mark.parametrize("key", ["password_file", "proxy_file"])
def test_a_file_that_is_not_there_is_the_cause_of_no_connection_and_ends_nothing(tmp_path: Path, key: str) -> None:
    given = {"username": "s1", "proxy": "http://127.0.0.1:1", key: str(tmp_path / "gone")}
    links = PahoLinks(UplinkSettings(hosts=("mqtt://127.0.0.1:1",), **given))
    link = links(links.settings.endpoints()[0])
    with pytest.raises(
        UplinkError, match=rf"127.0.0.1:1: {key} = '.*gone': No such file or directory; expected a text"
    ):
        asyncio.run(link.connect(Nobody(), Message("none", b""), ()))


def test_enrolment_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    chosen = UplinkSettings(proxy="http://127.0.0.1:1", proxy_file=str(tmp_path / "gone"))
    with pytest.raises(AccessDenied, match=r"proxy_file = '.*gone': No such file"):
        asyncio.run(HttpsDoor(lambda: chosen).call("https://127.0.0.1:9/v1/enrol", {}, ""))


@dataclass
class SmallProxy:
    """An HTTP proxy that knows CONNECT and nothing else."""

    credentials: str = ""
    asked: list[str] = field(default_factory=list)
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, place, _ = head.split(" ", 2)
            self.asked.append(place)
            wanted = "Basic " + base64.b64encode(self.credentials.encode()).decode()
            if self.credentials and f"Proxy-Authorization: {wanted}" not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            elif method != "CONNECT":
                writer.write(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
            else:
                host, _, port = place.rpartition(":")
                up, down = await asyncio.open_connection(host, int(port))
                writer.write(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 small\r\n\r\n")
                await asyncio.gather(self.copy(reader, down), self.copy(up, writer))
        writer.close()

    @staticmethod
    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            writer.close()


@contextlib.asynccontextmanager
async def proxy(credentials: str = "") -> AsyncIterator[SmallProxy]:
    small = SmallProxy(credentials)
    server = await asyncio.start_server(small.handle, "127.0.0.1", 0)
    small.port = server.sockets[0].getsockname()[1]
    try:
        yield small
    finally:
        server.close()


def settings(*hosts: str, **more: object) -> UplinkSettings:
    return UplinkSettings(hosts=hosts, client_id="s1", trust_puback=True, backoff_most_s=0.3, **more)


def certificates(folder: Path) -> tuple[TlsFiles, dict[str, str]]:
    authority, key = Authority.create(), new_key()
    made = {
        "ca.pem": authority.pem,
        "server.pem": authority.server_certificate(key, ["127.0.0.1"]),
        "server.key": key_pem(key),
        "s1.pem": authority.store_certificate(signing_request(key, "t1", "s1"), "t1", "s1"),
    }
    for name, content in made.items():
        (folder / name).write_bytes(content)
    mine = {"ca_file": "ca.pem", "cert_file": "s1.pem", "key_file": "server.key"}
    files = TlsFiles(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    return files, {name: str(folder / path) for name, path in mine.items()}


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("through", [False, True])
def test_websocket_carries_on_where_tcp_is_shut(tmp_path: Path, secure: bool, through: bool) -> None:
    async def main() -> None:
        tls, mine = certificates(tmp_path) if secure else (None, {})
        port, s = free_port(), "s" if secure else ""
        async with mosquitto_broker(tmp_path / "m", tls=tls, websocket_port=port), proxy("me:secret") as small:
            (tmp_path / "proxy").write_text("me:secret\n")
            if through:
                mine |= {"proxy": f"http://127.0.0.1:{small.port}", "proxy_file": str(tmp_path / "proxy")}
            shut = f"mqtt{s}://127.0.0.1:{free_port()}"
            async with wired_store(tmp_path, settings(shut, f"ws{s}://127.0.0.1:{port}/mqtt", **mine)) as store:
                store.add(2_000)  # larger than one frame: 64 kB each
                await until(lambda: store.journal.acked_seq == 2_000, 60)
                assert store.uplink.status.host == f"127.0.0.1:{port}"
            assert bool(small.asked) is through
            assert not through or small.asked[-1] == f"127.0.0.1:{port}"

    asyncio.run(main())


def test_tcp_goes_first_where_it_is_open_and_through_a_proxy_as_well(tmp_path: Path) -> None:
    async def main() -> None:
        port = free_port()
        async with mosquitto_broker(tmp_path / "m", websocket_port=port) as broker, proxy() as small:
            hosts = (broker.address, f"ws://127.0.0.1:{port}")
            chosen = settings(*hosts, proxy=f"http://127.0.0.1:{small.port}")
            async with wired_store(tmp_path, chosen) as store:
                store.add(10)
                await until(lambda: store.journal.acked_seq == 10, 60)
                assert store.uplink.status.host == f"127.0.0.1:{broker.port}"
            assert small.asked == [f"127.0.0.1:{broker.port}"]

    asyncio.run(main())


def test_a_proxy_that_refuses_is_named(tmp_path: Path) -> None:
    async def cause(address: str) -> str:
        async with wired_store(tmp_path, settings("mqtt://127.0.0.1:1883", proxy=address)) as store:
            await until(lambda: bool(store.uplink.status.cause), 60)
            return store.uplink.status.cause

    async def poem(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"shall I compare thee\r\n\r\n")
        await writer.drain()
        writer.close()

    async def main() -> None:
        async with proxy("me:secret") as small:
            assert "407 Proxy Authentication Required" in await cause(f"http://127.0.0.1:{small.port}")
            with pytest.raises(AccessDenied, match="407"):
                chosen = settings(proxy=f"http://127.0.0.1:{small.port}")
                await HttpsDoor(lambda chosen=chosen: chosen).call(
                    "https://127.0.0.1:9/v1/enrol", {}, Authority.create().pem.decode()
                )
        server = await asyncio.start_server(poem, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert "shall I compare" in await cause(f"http://127.0.0.1:{port}")
        server.close()
        for wrong in ("socks5://x:1", "http://", "http://me:secret@x:1", "http://x:99999"):
            with pytest.raises(PlainError, match="proxy"):
                settings(proxy=wrong)

    asyncio.run(main())
