"""Finding readers: mDNS answers, a bounded probe, a reader that DHCP moved. Real sockets on the loopback network."""

from __future__ import annotations

import asyncio
import random
import struct

import pytest

from devices.discovery import MAX_HOSTS, browse, probe
from devices.driver import DriverContext
from devices.rfid_llrp.discovery import SERVICE, discover, find_again, fingerprint
from devices.rfid_llrp.driver import LlrpDriver
from devices.rfid_llrp.settings import Settings
from devices.transport import open_stream
from edge.core.errors import DeviceRefused, LinkLost
from edge.core.observation import DeviceIdentity
from edge.core.plain import PlainError
from firmware_sim.llrp_caps import Identity
from firmware_sim.llrp_reader import LlrpReader, ReaderOptions
from firmware_sim.stream import serve_tcp
from tests.contract.test_rfid_llrp_sim import UTC_US, Tags


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def wire_name(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in name.strip(".").split(".")) + b"\0"


def record(name: str, kind: int, data: bytes) -> bytes:
    """A record with the cache-flush bit, as mDNS responders send it (RFC 6762, 10.2)."""
    return wire_name(name) + struct.pack(">HHIH", kind, 0x8001, 120, len(data)) + data


class Responder(asyncio.DatagramProtocol):
    """Announces one reader; between its answers it sends what it should not."""

    def __init__(self, address: str, port: int) -> None:
        instance = f"SpeedwayR-11-25-D6.{SERVICE}"
        self.answer = struct.pack(">6H", 0, 0x8400, 0, 1, 0, 2)
        self.answer += wire_name(SERVICE) + struct.pack(">HHIH", 12, 1, 120, len(wire_name(instance)))
        self.answer += wire_name(instance)
        self.answer += record(instance, 33, struct.pack(">HHH", 0, 0, port) + wire_name("reader.local."))
        self.answer += record("reader.local.", 1, bytes(map(int, address.split("."))))
        self.queries: list[bytes] = []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, addr) -> None:
        self.queries.append(data)
        rng = random.Random(len(self.queries))
        self.transport.sendto(rng.randbytes(80), addr)
        self.transport.sendto(self.answer[: rng.randrange(len(self.answer))], addr)
        self.transport.sendto(self.answer, addr)


async def reader_at(host: str, mac: str, port: int = 0):
    loop = asyncio.get_running_loop()
    options = ReaderOptions(identity=Identity(mac=bytes.fromhex(mac)))
    reader = LlrpReader(
        Tags(), (1, 2), lambda: round(loop.time() * 1e6), lambda: UTC_US + round(loop.time() * 1e6), options
    )
    return await serve_tcp(reader.serve, host, port)


async def responder_for(address: str, port: int):
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Responder(address, port), local_addr=("127.0.0.1", 0)
    )
    return transport, protocol, transport.get_extra_info("sockname")


def test_mdns_finds_what_announces_itself_and_survives_garbage():
    async def main():
        transport, protocol, address = await responder_for("127.0.0.9", 5084)
        services = await browse(SERVICE, 0.4, address)
        transport.close()
        return services, protocol.queries

    services, queries = run(main())
    assert [(s.name, s.address, s.port) for s in services] == [("SpeedwayR-11-25-D6", "127.0.0.9", 5084)]
    [first, second] = queries
    assert first == second
    assert first[12:].startswith(wire_name(SERVICE) + struct.pack(">HH", 12, 0x8001)), "PTR, unicast answer welcome"


def test_probe_finds_readers_by_identity_and_not_other_servers():
    async def main():
        one, port = await reader_at("127.0.0.2", "001625000001")
        two, _ = await reader_at("127.0.0.5", "001625000002", port)

        async def other(reader, writer):
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        web = await asyncio.start_server(other, "127.0.0.3", port)
        transport, _, mdns = await responder_for("127.0.0.5", port)
        found = await discover(open_stream, ("127.0.0.0/29",), port, mdns)
        transport.close()
        for server in (one, two, web):
            server.close()
        return port, found

    port, found = run(main())
    assert {(c.moniker, c.identity) for c in found} == {
        (f"tcp:127.0.0.2:{port}", "001625000001"),
        (f"tcp:127.0.0.5:{port}", "001625000002"),
    }
    assert {(c.kind, c.title, c.note) for c in found} == {("rfid_llrp", "Impinj 2001002", "5.14.0.240")}


def test_reader_in_use_is_found_but_not_disturbed():
    async def main():
        server, port = await reader_at("127.0.0.1", "001625000001")
        stream = await open_stream(f"tcp:127.0.0.1:{port}")
        await stream.read()  # we are its one client now
        found = await fingerprint(open_stream, "127.0.0.1", port)
        await stream.close()
        server.close()
        return found

    found = run(main())
    assert found.identity == ""
    assert "another client is connected" in found.note


def test_probe_is_bounded():
    async def nobody(host, port):
        raise AssertionError

    for network, words in (("10.0.0.0/8", f"at most {MAX_HOSTS}"), ("store", "such as 192.168.1.0/24")):
        with pytest.raises(PlainError, match=words):
            run(probe(network, 5084, nobody))


def test_moved_reader_is_found_again_and_read():
    async def main():
        gone = await asyncio.start_server(lambda *_: None, "127.0.0.4", 0)
        old_port = gone.sockets[0].getsockname()[1]
        gone.close()
        await gone.wait_closed()
        server, port = await reader_at("127.0.0.7", "001625000007")
        transport, _, mdns = await responder_for("127.0.0.7", port)

        async def find(opener, identity, moniker):
            return await find_again(opener, identity, moniker, mdns)

        context = DriverContext("reader-1", lambda: 0, open_stream)
        settings = Settings(f"tcp:127.0.0.4:{old_port}", identity="00:16:25:00:00:07")
        seen = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.5):
                await LlrpDriver(context, settings, find).run(seen.append)
        stranger = Settings(settings.moniker, identity="00:16:25:00:00:99")
        with pytest.raises(LinkLost, match=f"port {old_port}"):
            await LlrpDriver(context, stranger, find).run(seen.append)
        transport.close()
        server.close()
        return seen, context.counters

    seen, counters = run(main())
    assert [item.serial for item in seen if isinstance(item, DeviceIdentity)] == ["001625000007"]
    assert counters["found_at_another_address"] == 1


def test_stranger_at_the_old_address_makes_us_look_elsewhere_too():
    async def main():
        stranger, stranger_port = await reader_at("127.0.0.4", "001625000001")
        server, port = await reader_at("127.0.0.7", "001625000007")

        async def find(opener, identity, moniker):
            assert (identity, moniker) == ("001625000007", f"tcp:127.0.0.4:{stranger_port}")
            return f"tcp:127.0.0.7:{port}"

        async def nowhere(opener, identity, moniker):
            return None

        context = DriverContext("reader-1", lambda: 0, open_stream)
        settings = Settings(f"tcp:127.0.0.4:{stranger_port}", identity="001625000007")
        seen = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await LlrpDriver(context, settings, find).run(seen.append)
        with pytest.raises(DeviceRefused, match="reader 001625000001 answers at"):
            await LlrpDriver(context, settings, nowhere).run(seen.append)
        stranger.close()
        server.close()
        return seen

    seen = run(main())
    assert [item.serial for item in seen if isinstance(item, DeviceIdentity)] == ["001625000007"]
