"""Transports: real ptys, real sockets, recordings."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import socket
import ssl
import tty
from datetime import UTC, datetime, timedelta

import pytest

from devices.transport import SimLinks, Tap, open_stream
from devices.transport.moniker import parse_moniker
from devices.transport.recording import FROM_DEVICE, TO_DEVICE, read_recording
from edge.core.errors import DeviceRefused, LinkLost
from edge.core.plain import PlainError


@pytest.fixture
def pty():
    master, slave = os.openpty()
    tty.setraw(slave)
    path = os.ttyname(slave)
    yield master, path
    for fd in (master, slave):
        with contextlib.suppress(OSError):
            os.close(fd)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def test_serial_both_ways_and_lock(pty):
    master, path = pty

    async def scene():
        stream = await open_stream(f"serial:{path}?baud=9600&dtr=off")
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0.02)  # the read waits on the loop
        os.write(master, b"\x00\xbb\x0d\x0a")
        assert await reading == b"\x00\xbb\x0d\x0a"
        await stream.write(b"\x7e\r\n")
        assert os.read(master, 10) == b"\x7e\r\n"
        with pytest.raises(LinkLost, match="in use by another program"):
            await open_stream(f"serial:{path}")
        await stream.close()
        await stream.close()
        again = await open_stream(f"serial:{path}")  # the lock is gone with the stream
        await again.close()

    run(scene())


def test_serial_large_write_waits_for_the_reader(pty):
    master, path = pty
    sent = bytes(range(256)) * 400

    async def scene():
        stream = await open_stream(f"serial:{path}")
        writing = asyncio.create_task(stream.write(sent))
        got = bytearray()
        while len(got) < len(sent):
            await asyncio.sleep(0)
            got += await asyncio.to_thread(os.read, master, 65536)
        await writing
        assert bytes(got) == sent
        await stream.close()

    run(scene())


def test_serial_unplugged_and_closed_wake_the_reader(pty):
    _, path = pty

    async def scene():
        stream = await open_stream(f"serial:{path}")
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0.02)
        await stream.close()
        with pytest.raises(LinkLost, match="closed"):
            await reading
        with pytest.raises(LinkLost):
            await stream.write(b"x")

    run(scene())


def test_serial_hangup_is_link_lost():
    master, slave = os.openpty()
    path = os.ttyname(slave)

    async def scene():
        stream = await open_stream(f"serial:{path}")
        os.close(slave)
        os.close(master)
        with pytest.raises(LinkLost, match=re.escape(path)):
            await stream.read()
        await stream.close()

    run(scene())


def test_missing_serial_port_is_named():
    with pytest.raises(
        LinkLost,
        match=r"serial:/dev/ttyNOPE9: no serial port /dev/ttyNOPE9; (expected one of: /dev/|this machine has none)",
    ):
        run(open_stream("serial:/dev/ttyNOPE9"))


def test_serial_waits_for_the_path(pty, tmp_path):
    _, path = pty
    link = tmp_path / "late"

    async def scene():
        opening = asyncio.create_task(open_stream(f"serial:{link}?wait=5"))
        await asyncio.sleep(0.05)
        link.symlink_to(path)
        await (await opening).close()

    run(scene())


async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


def test_tcp_echo_and_end():
    async def scene():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        stream = await open_stream(f"tcp:127.0.0.1:{port}")
        await stream.write(b"hello")
        assert await stream.read() == b"hello"
        sock = stream._writer.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        probes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
        interval = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
        assert idle + probes * interval <= 15
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 15_000
        stream._writer.write_eof()
        with pytest.raises(LinkLost, match="closed by the peer"):
            await stream.read()
        await stream.close()
        with pytest.raises(LinkLost):
            await stream.write(b"x")
        server.close()
        await server.wait_closed()

    run(scene())


def test_tcp_refused_names_the_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(LinkLost, match=f"refused by 127.0.0.1 port {port}"):
        run(open_stream(f"tcp:127.0.0.1:{port}"))


def make_certificate(folder):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "reader")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("reader")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate.fingerprint(hashes.SHA256()).hex()


def test_tls_pin_authority_and_refusal(tmp_path):
    pin = make_certificate(tmp_path)

    async def scene():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        base = f"tls:127.0.0.1:{port}"
        for options in (f"pin={pin}", f"ca={tmp_path / 'cert.pem'}&name=reader"):
            stream = await open_stream(f"{base}?{options}")
            await stream.write(b"secret")
            assert await stream.read() == b"secret"
            await stream.close()
        with pytest.raises(DeviceRefused, match=f"expected {'0' * 64}"):
            await open_stream(f"{base}?pin={'0' * 64}")
        with pytest.raises(DeviceRefused, match="not accepted"):
            await open_stream(base)
        server.close()
        await server.wait_closed()

    run(scene())


def test_tap_and_replay_give_the_same_bytes(tmp_path):
    file = tmp_path / "link.tap"

    async def scene():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        stream = await open_stream(f"tcp:127.0.0.1:{port}?tap={file}")
        got = b""
        for chunk in (b"one", b"two", b"three"):
            await stream.write(chunk)
            got += await stream.read()
            await asyncio.sleep(0.02)
        await stream.close()
        server.close()
        await server.wait_closed()
        replay = await open_stream(f"replay:{file}?speed=0")
        again = b"".join([await replay.read(2) for _ in range(7)])
        assert again == got == b"onetwothree"
        with pytest.raises(LinkLost, match="end of the recording"):
            await replay.read()
        await replay.write(b"goes nowhere")
        await replay.close()

    run(scene())
    records = list(read_recording(file))
    assert [record.direction for record in records] == [TO_DEVICE, FROM_DEVICE] * 3
    assert all(a.at_us <= b.at_us for a, b in itertools.pairwise(records))
    assert records[-1].at_us >= 30_000


def test_tap_stops_at_its_cap_and_the_link_goes_on(tmp_path):
    async def scene():
        class Source:
            async def read(self, max_bytes=65536):
                return b"x" * 100

            async def write(self, data):
                pass

            async def close(self):
                pass

        tap = Tap(Source(), tmp_path / "small.tap", "x", max_bytes=250)
        for _ in range(5):
            assert len(await tap.read()) == 100
        assert "largest size" in tap.fault
        assert len(list(read_recording(tmp_path / "small.tap"))) == 2

    run(scene())


def test_truncated_recording_ends_cleanly_and_foreign_file_is_named(tmp_path):
    good = tmp_path / "good.tap"
    good.write_bytes(b"SSTAP\x01\x00\x00" + b"\0" * 8 + b"\0" + b"\0\0\0\x02ab" + b"\0" * 8 + b"\0" + b"\0\0\0\x09c")
    assert [record.data for record in read_recording(good)] == [b"ab"]
    foreign = tmp_path / "foreign.pcap"
    foreign.write_bytes(b"\xd4\xc3\xb2\xa1" * 10)
    with pytest.raises(PlainError, match="expected a link recording of version 1"):
        list(read_recording(foreign))
    with pytest.raises(LinkLost, match=r"nowhere\.tap"):
        run(open_stream(f"replay:{tmp_path}/nowhere.tap"))


def test_sim_links():
    async def scene():
        links = SimLinks()

        class Nothing:
            async def close(self):
                pass

        async def way():
            return Nothing()

        links.register("reader-1", way)
        assert isinstance(await open_stream("sim:reader-1", links), Nothing)
        with pytest.raises(LinkLost, match="reader-1"):
            await open_stream("sim:reader-2", links)

    run(scene())


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("nothing", "SCHEME:TARGET"),
        ("udp:host:1", "one of the schemes"),
        ("tcp:host", "HOST:PORT"),
        ("tcp:host:70000", "1 to 65535"),
        ("tcp:::1:5084", "HOST:PORT"),
        ("tcp:host:1?baud=9600", "one of the options tap"),
        ("serial:/dev/x?speed=3", "baud, dtr, wait"),
        ("serial:/dev/x?baud=fast", "300 to"),
        ("serial:/dev/x?dtr=maybe", "on or off"),
        ("tls:host:1?pin=12", "64 hex digits"),
        ("tls:host:1?ca=/nope.pem", "PEM file"),
    ],
)
def test_wrong_monikers_are_named(text, match):
    with pytest.raises(PlainError, match=match) as caught:
        run(open_stream(text))
    assert text.partition("?")[0] in str(caught.value)


def test_ipv6_host():
    assert parse_moniker("tcp:[::1]:5084").host_port() == ("::1", 5084)
    assert parse_moniker("tcp://reader-1:5084").host_port() == ("reader-1", 5084)  # as people write addresses
    assert parse_moniker("serial:///dev/ttyUSB0").target == "/dev/ttyUSB0"


def vanish(sock: socket.socket) -> None:
    """Close without a word (TCP_REPAIR, Linux, needs CAP_NET_ADMIN): what a peer does that loses its power."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, 19, 1)
    except PermissionError:
        pytest.skip("no permission to make a half-open connection (CAP_NET_ADMIN)")
    sock.close()


@pytest.mark.slow
def test_half_open_connection_is_noticed_within_15_s():
    async def scene():
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            stream = await open_stream(f"tcp:127.0.0.1:{listener.getsockname()[1]}")
            peer, _ = listener.accept()
            vanish(peer)
            started_s = asyncio.get_running_loop().time()
            with pytest.raises(LinkLost):
                await stream.read()
            assert 1.0 < asyncio.get_running_loop().time() - started_s <= 15.0
            await stream.close()

    run(scene())
