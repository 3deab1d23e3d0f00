"""HTTPS end to end: a client that trusts only the gateway's CA, renewal while it runs, the one port for typed addresses."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge.access.authority import LEAF_DAYS
from edge.api.app import Server, bind, make_server
from edge.api.door import FIRST_BYTE_S, answer_to
from edge.certificates import Certificates, PublicName, own_addresses
from edge.core.errors import SettingsError
from edge.settings import ApiSettings
from tests.unit.api_support import PIN, Bench, gateway

DAY_US = 86_400_000_000
TLS = ApiSettings(tls=True, port=0)


class Wall:
    """Wall time that the test moves; begins now, because the client's own clock is real."""

    def __init__(self) -> None:
        import time

        self.us = time.time_ns() // 1000

    def __call__(self) -> int:
        return self.us


@contextlib.asynccontextmanager
async def serving(folder: Path, wall: Wall, **more: Any) -> AsyncIterator[tuple[Bench, Certificates, int, Server]]:
    """A gateway over TLS on a real port."""
    certificates = Certificates(folder / "tls", TLS, wall, list)
    listener = bind("127.0.0.1", 0)
    async with gateway(TLS, **more) as bench:
        bench.services.fingerprint, bench.services.ca_pem = certificates.fingerprint, certificates.ca_pem
        server = make_server(bench.services, certificates.context)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        await server.serving.wait()
        try:
            yield bench, certificates, listener.getsockname()[1], server
        finally:
            server.should_exit = True
            await running
            listener.close()


def trusting(certificates: Certificates) -> ssl.SSLContext:
    """Nothing but this CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certificates.ca_pem)
    return context


async def leave(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ssl.SSLError, OSError):
        await writer.wait_closed()


async def ask(port: int, request: str, context: ssl.SSLContext | None) -> tuple[int, str, bytes]:
    """(status, head, leaf certificate)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    tls = writer.get_extra_info("ssl_object")
    leaf = tls.getpeercert(binary_form=True) if tls else b""
    writer.write(f"{request}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n".encode())
    if not request.startswith("POST"):
        writer.write(b"\r\n")
    text = (await reader.read()).decode()
    await leave(writer)
    return int(text.split()[1]), text, leaf


def test_a_client_that_trusts_only_the_ca_claims_and_reads_and_any_other_does_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Wall(), claimed=False) as (bench, certificates, port, _):
            context = trusting(certificates)
            body = json.dumps({"code": bench.services.access.claim_code, "name": "Yuki", "pin": PIN})
            head = f"POST /v1/claim HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(f"{head}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n{body}".encode())
            answer = (await reader.read()).decode()
            await leave(writer)
            assert answer.startswith("HTTP/1.1 200")
            assert "; Secure" in answer  # the cookie never crosses the network in clear
            told = json.loads(answer.partition("\r\n\r\n")[2])
            status, text, _ = await ask(
                port, f"GET /v1/stock HTTP/1.1\r\nAuthorization: Bearer {told['token']}", context
            )
            assert status == 200, text
            # What the label's fingerprint is compared with: the CA as anybody may fetch it.
            _, pem, _ = await ask(port, "GET /v1/ca.pem HTTP/1.1", context)
            der = ssl.PEM_cert_to_DER_cert(pem.partition("\r\n\r\n")[2])
            assert hashlib.sha256(der).hexdigest() == certificates.fingerprint == told["fingerprint"]
            for stranger in (
                ssl.create_default_context(),
                trusting(Certificates(tmp_path / "other", TLS, Wall(), list)),
            ):
                with pytest.raises(ssl.SSLCertVerificationError):
                    await ask(port, "GET /health HTTP/1.1", stranger)

    asyncio.run(main())


def test_the_certificate_is_renewed_at_two_thirds_without_a_stop_and_kept_connections_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        wall = Wall()
        async with serving(tmp_path, wall) as (_, certificates, port, _server):
            context = trusting(certificates)
            _, _, first = await ask(port, "GET /health HTTP/1.1", context)
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            fingerprint = certificates.fingerprint
            wall.us += (LEAF_DAYS * 2 // 3 - 1) * DAY_US
            assert not certificates.renew()
            # Only until the clients' own clocks would find it too new: they are real.
            wall.us -= (LEAF_DAYS * 2 // 3 + 20) * DAY_US
            assert certificates.renew()  # a clock that was ahead when it was made: valid again now
            wall.us += (LEAF_DAYS * 2 // 3 + 2) * DAY_US
            assert certificates.renew()
            assert certificates.fingerprint == fingerprint
            wall.us = Wall().us
            certificates.renew()
            _, _, second = await ask(port, "GET /health HTTP/1.1", context)
            assert first != second
            writer.write(f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            await leave(writer)

    asyncio.run(main())


def test_a_new_address_is_in_the_next_certificate_and_a_full_disk_is_an_alarm_not_an_end(tmp_path: Path) -> None:
    from cryptography import x509

    addresses = ["192.168.1.5"]
    certificates = Certificates(
        tmp_path / "tls", ApiSettings(host="0.0.0.0", names=("shop-gw.lan",)), Wall(), lambda: addresses
    )

    def good_for() -> set[str]:
        leaf = x509.load_pem_x509_certificate(certificates.authority.leaf.read_bytes())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return {str(name.value) for name in names}

    assert {"localhost", "shop-gw.lan", "192.168.1.5"} <= good_for()
    addresses[:] = ["10.0.0.9"]
    assert certificates.renew()
    assert "10.0.0.9" in good_for()
    assert "0.0.0.0" not in good_for()
    told: list[str] = []

    async def main() -> None:
        looking = asyncio.create_task(certificates.run(told.append, 0.001))
        while "" not in told:
            await asyncio.sleep(0.001)
        addresses[:] = ["10.0.0.10"]
        (tmp_path / "tls" / "leaf.pem.new").mkdir()  # as good as a full disk: nothing can be written there
        while not told[-1]:
            await asyncio.sleep(0.001)
        assert not looking.done()
        looking.cancel()

    asyncio.run(main())
    assert "could not be renewed" in told[-1]
    assert all(own_addresses())


def test_a_typed_address_is_led_to_https_and_nothing_else_is_answered_in_clear(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Wall()) as (bench, certificates, port, server):
            status, text, _ = await ask(port, "GET /set-up?step=2 HTTP/1.1", None)
            assert status == 308
            assert f"\r\nLocation: https://127.0.0.1:{port}/set-up?step=2\r\n" in text
            token = bench.tokens["admin"]
            for request in (
                f"DELETE /v1/tokens/x HTTP/1.1\r\nAuthorization: Bearer {token}",
                "POST /v1/session HTTP/1.1\r\n\r\n",
                "\x05\x01\x00",
                "GET http://evil.example/ HTTP/1.1",
            ):
                status, text, _ = await ask(port, request + "\r\n", None)
                assert (status, "https_needed" in text) == (403, True), request
            assert "viewer" in [script.name for script in bench.services.access.tokens()]
            silent = await asyncio.open_connection("127.0.0.1", port)
            assert (await ask(port, "GET /health HTTP/1.1", trusting(certificates)))[0] == 200
            deadline = asyncio.get_running_loop().time() + 60
            while len(server.server_state.connections) > 1 and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.01)
            assert len(server.server_state.connections) == 1  # the silent one, until its time is over
            await leave(silent[1])

    asyncio.run(main())
    assert FIRST_BYTE_S <= 30


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil\r\nLocation: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\r\nSet-Cookie: x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        b"\xff" * 5000,
        b"",
    ],
)
def test_what_is_answered_in_clear_is_one_of_two_answers(head: bytes) -> None:
    answer = answer_to(head)
    lines = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert lines[0] in (b"HTTP/1.1 308 Permanent Redirect", b"HTTP/1.1 403 Forbidden")
    names = [line.partition(b":")[0] for line in lines[1:]]
    assert len(names) == len(set(names))
    assert set(names) <= {b"Location", b"Content-Type", b"Connection", b"Cache-Control", b"Content-Length"}


def test_the_settings_refuse_to_show_pins_or_everything_to_the_network() -> None:
    assert not ApiSettings().https
    assert ApiSettings(tls=True).https
    assert ApiSettings(host="0.0.0.0").https
    ApiSettings(host="0.0.0.0").check()
    for settings in (ApiSettings(host="0.0.0.0", tls=False), ApiSettings(host="192.168.1.5", open=True)):
        with pytest.raises(SettingsError, match=r"api\."):
            settings.check()


def public_files(folder: Path, name: str) -> tuple[Path, Path, str]:
    """Chain and key of a name, and the CA that a phone knows: it stands for a public one."""
    known = Certificates(folder, ApiSettings(names=(name,)), Wall(), list)
    return known.authority.leaf, known.authority.leaf_key, known.ca_pem


def test_shoppers_see_a_certificate_that_they_know_and_nothing_but_their_page(tmp_path: Path) -> None:
    name = "store-7.example.com"
    leaf, key, ca = public_files(tmp_path / "acme", name)
    settings = ApiSettings(
        tls=True, port=0, public_name=name, public_certificate=str(leaf), public_key=str(key)
    )  # fmt: skip
    phone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    phone.load_verify_locations(cadata=ca)

    async def get(port: int, path: str, context: ssl.SSLContext, called: str) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=called)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {called}:{port}\r\nConnection: close\r\n\r\n".encode())
        head = await reader.read()
        await leave(writer)
        return int(head.split()[1])

    async def main() -> None:
        certificates = Certificates(tmp_path / "tls", settings, Wall(), list)
        listener = bind("127.0.0.1", 0)
        port = listener.getsockname()[1]
        async with gateway(settings) as bench:
            server = make_server(bench.services, certificates.context)
            running = asyncio.create_task(server.serve(sockets=[listener]))
            await server.serving.wait()
            pages = ("/s/z-1", "/s/sw.js", "/v1/offers?zone=z-1", "/v1/shopper/product?code=4569951000003")
            assert {path: await get(port, path, phone, name) for path in pages} == dict.fromkeys(pages, 200)
            others = ("/", "/sign-in", "/v1/devices", "/v1/offers/why?zone=z-1", "/health", "/openapi.json")
            assert {path: await get(port, path, phone, name) for path in others} == dict.fromkeys(others, 404)
            own = trusting(certificates)
            assert await get(port, "/health", own, "127.0.0.1") == 200  # everything else under the gateway's own CA
            with pytest.raises(ssl.SSLCertVerificationError):
                await get(port, "/s/z-1", phone, "127.0.0.1")
            async with bench.client("technician") as client:
                labels = {row["id"]: row["code"] for row in (await client.get("/v1/labels")).json()}
            assert labels["z-1"] == f"https://{name}/s/z-1"
            server.should_exit = True
            await running

    asyncio.run(main())


def test_a_renewed_public_certificate_is_taken_and_a_broken_one_is_told_and_left(tmp_path: Path) -> None:
    leaf, key, _ = public_files(tmp_path / "acme", "shop.example")
    settings = ApiSettings(public_name="shop.example", public_certificate=str(leaf), public_key=str(key))
    public = PublicName(settings)
    assert public.look() == ""
    chosen = public._context
    assert (public.look(), public._context is chosen) == ("", True)
    leaf.write_text("nonsense", encoding="ascii")
    assert "certificate of shop.example cannot be used" in public.look()
    assert public._context is chosen
    other, _, _ = public_files(tmp_path / "new", "shop.example")
    leaf.write_bytes(other.read_bytes())
    key.write_bytes((tmp_path / "new" / Path(key).name).read_bytes())
    assert (public.look(), public._context is chosen) == ("", False)
    with pytest.raises(SettingsError, match="together, or none"):
        ApiSettings(public_name="shop.example").check()
