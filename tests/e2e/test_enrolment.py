"""Enrolment from bundle to revocation: a real platform over HTTPS, mosquitto with its CA, a gateway's own bridge."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from cloud_bridge.ingest.access import PLATFORM_USER
from cloud_bridge.ingest.authority import Authority, key_pem, new_key
from cloud_bridge.ingest.broker import Broker, TlsFiles, mosquitto_broker, mosquitto_program
from cloud_bridge.ingest.enrolment import Enrolments, compact, wall_us
from cloud_bridge.ingest.platform import Platform
from cloud_bridge.ingest.public_names import PublicNames
from cloud_bridge.ingest.query import LiveSight
from cloud_bridge.ingest.service import make_service
from cloud_bridge.settings import UplinkSettings
from edge.access import AccessDenied
from edge.access.enrolment import Enrolment
from edge.access.public_certificate import PublicCertificate, PublicFiles
from edge.api.app import Server
from edge.bridge import Gateway, make_bridge
from edge.certificates import PublicName
from edge.core.instant import US_PER_DAY, Instant, TimeQuality
from edge.core.plain import PlainError
from edge.enrolling import HttpsDoor, enrolled_settings
from edge.settings import ApiSettings
from tests.e2e.bridge_wires import until, wired_platform
from tests.unit.api_support import Bench, HandClock, enrolment_ports, gateway

ACL = Path(__file__).parents[2] / "deploy" / "broker" / "mosquitto.acl"


class RealClock(HandClock):
    """Certificates need the wall clock of the machine; `ahead_us` turns it."""

    ahead_us = 0
    quality = TimeQuality.SYNCED

    def now(self) -> Instant:
        return Instant(super().now().mono_us, wall_us() + self.ahead_us, self.quality)


@dataclass
class Yard:
    """The platform's side."""

    folder: Path
    authority: Authority
    enrolments: Enrolments
    broker: Broker
    platform: Platform
    url: str

    def bundle(self, tenant: str = "t9", store: str = "s9") -> str:
        hosts = [f"mqtts://127.0.0.1:{self.broker.port}"]
        return self.enrolments.bundle((tenant, store), hosts, self.url, self.platform.signer, "platform-1").decode()


@contextlib.asynccontextmanager
async def yard(folder: Path) -> AsyncIterator[Yard]:
    if mosquitto_program() is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    authority = Authority.load(folder / "ca")
    enrolments = Enrolments(folder, authority)
    files = {name: folder / name for name in ("server.pem", "server.key", "client.pem", "client.key")}
    key = new_key()
    files["server.key"].write_bytes(key_pem(key))
    files["server.pem"].write_bytes(authority.server_certificate(key, ["127.0.0.1", "localhost"]))
    files["client.key"].write_bytes(key_pem(key))
    files["client.pem"].write_bytes(authority.client_certificate(key, PLATFORM_USER))
    tls = TlsFiles(folder / "ca" / "ca.pem", files["server.pem"], files["server.key"], enrolments.revoked)
    link = UplinkSettings(ca_file=str(tls.ca), cert_file=str(files["client.pem"]), key_file=str(files["client.key"]))
    async with (
        mosquitto_broker(folder / "m", tls=tls, acl=ACL) as broker,
        wired_platform(folder, (f"mqtts://127.0.0.1:{broker.port}",), link=link) as platform,
    ):
        assert platform.consumer is not None
        listener = socket.create_server(("127.0.0.1", 0))
        app = make_service(platform.store, LiveSight(platform.consumer), enrolments, PublicNames(folder), "secret")
        config = uvicorn.Config(
            app, lifespan="off", log_level="warning", ssl_certfile=str(tls.certificate), ssl_keyfile=str(tls.key)
        )
        server = Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await server.serving.wait()
        try:
            yield Yard(
                folder, authority, enrolments, broker, platform, f"https://127.0.0.1:{listener.getsockname()[1]}"
            )
        finally:
            server.should_exit = True
            await task
            enrolments.close()


def enrolment_of(bench: Bench, folder: Path, clock: HandClock, **more: Any) -> Enrolment:
    """The gateway's own enrolment, towards a real platform."""
    services = bench.services
    ports = enrolment_ports(
        services.runtime.journal, clock, services.access, services.installation.adopt,
        folder=folder / "platform", door=HttpsDoor(), **more,
    )  # fmt: skip
    services.enrolment = Enrolment(ports)
    return services.enrolment


@contextlib.asynccontextmanager
async def linked(bench: Bench, enrolment: Enrolment) -> AsyncIterator[Any]:
    services = bench.services
    settings = enrolled_settings(UplinkSettings(backoff_most_s=0.3, persistent_session=False), enrolment)
    served = Gateway(services.runtime, services.installation, instance="of this process")  # as in every bridge of one
    bridge = make_bridge(served, services.installation.site(), settings, "0")
    assert bridge is not None
    task = asyncio.create_task(bridge.run())
    try:
        yield bridge
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_a_gateway_joins_renews_and_is_revoked(tmp_path: Path) -> None:
    async def main() -> None:
        clock = RealClock()
        async with yard(tmp_path) as at, gateway() as bench:
            enrolment = enrolment_of(bench, tmp_path, clock)
            async with bench.client("admin") as admin:
                assert (await admin.get("/v1/enrolment")).json()["enrolled"] is False
                text = compact(at.bundle().encode())
                told = (await admin.post("/v1/enrolment/check", json={"bundle": text})).json()
                assert (told["tenant"], told["store"], told["trusted"]) == ("t9", "s9", False)
                refused = await admin.post("/v1/enrolment", json={"bundle": text, "fingerprint": "AAAA"})
                assert (refused.status_code, refused.json()["cause"]) == (409, "fingerprint")
                body = {"bundle": text, "fingerprint": told["fingerprint"].lower().replace(" ", ":")}
                state = (await admin.post("/v1/enrolment", json=body)).json()
                assert state["enrolled"] is True, state
                assert bench.services.site.store.tenant == "t9"
                assert oct(enrolment.file("key").stat().st_mode)[-3:] == "600"

                async with linked(bench, enrolment) as bridge:
                    journal = bench.services.runtime.journal
                    await until(lambda: bridge.uplink.status.connected, 60)
                    await until(lambda: 0 < journal.last_seq == journal.acked_seq, 60)
                assert {key.store for key in at.platform.consumer.streams} == {"s9"}  # type: ignore[union-attr]

                again = await admin.post("/v1/enrolment", json={"bundle": text})
                assert (again.status_code, again.json()["cause"]) == (409, "platform_refused")
                assert "used already" in again.json()["detail"]
                renewed = (await admin.post("/v1/enrolment/renew")).json()
                assert renewed["serial"] != state["serial"]
                assert sorted(path.suffix for path in (tmp_path / "platform").iterdir()) == [".key", ".pem", ".pem"]
                async with linked(bench, enrolment) as bridge:
                    await until(lambda: bridge.uplink.status.connected, 60)

                streams = at.platform.consumer.streams.values()  # type: ignore[union-attr]
                assert [stream.refused for stream in streams] == [""], "a renewed certificate is no second process"
                assert at.enrolments.revoke("t9", "s9") == 2
                os.kill(at.broker.pid, signal.SIGHUP)  # mosquitto reads its list of revoked certificates again
                denied = await admin.post("/v1/enrolment/renew")
                assert "revoked" in denied.json()["detail"]
                rows = [row["action"] for row in (await admin.get("/v1/audit")).json()]
                assert rows[:2] == ["renew_certificate", "enrol"]

    asyncio.run(main())


def test_it_renews_itself_at_two_thirds_and_says_when_it_cannot(tmp_path: Path) -> None:
    async def main() -> None:
        clock, changed, alarms = RealClock(), [], []
        async with yard(tmp_path) as at, gateway() as bench:
            enrolment = enrolment_of(bench, tmp_path, clock, changed=lambda: changed.append(1))
            first = await enrolment.enrol(at.bundle(), enrolment.check(at.bundle())["fingerprint"], "admin")
            assert first["renew_at_us"] - first["not_before_us"] == pytest.approx(60 * US_PER_DAY, rel=0.01)
            clock.ahead_us = 59 * US_PER_DAY
            assert not enrolment.is_due()
            clock.ahead_us = 61 * US_PER_DAY
            assert enrolment.is_due()
            clock.quality = TimeQuality.UNSET
            assert not enrolment.is_due(), "an unknown clock proves nothing"
            clock.quality = TimeQuality.SYNCED
            task = asyncio.create_task(enrolment.run(alarms.append, look_s=0.05))
            # The platform's clock is right and ours is ahead: what it signs now is good in 61 days as well.
            await until(lambda: len(changed) == 2, 60)
            at.enrolments.revoke("t9", "s9")
            await until(lambda: "revoked" in alarms[-1] if alarms else False, 60)
            assert "revoked" in enrolment.state()["cause"]
            task.cancel()

    asyncio.run(main())


class Acme:
    """What the operator's ACME client does: answers a request with a chain of a publicly trusted CA."""

    def __init__(self) -> None:
        self.key, self.name = new_key(), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Public CA")])

    def answer(self, home: Path, names: list[str] | None = None, days: float = 90) -> None:
        request = x509.load_pem_x509_csr((home / "request.pem").read_bytes())
        asked = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        given = x509.SubjectAlternativeName([x509.DNSName(name) for name in names]) if names else asked
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(request.subject).issuer_name(self.name)
        builder = builder.public_key(request.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=days))
        made = builder.add_extension(given, critical=False).sign(self.key, SHA256())
        (home / "chain.pem").write_bytes(made.public_bytes(Encoding.PEM))


def test_the_shoppers_page_gets_its_trusted_certificate_by_the_platform(tmp_path: Path) -> None:
    async def main() -> None:
        clock, acme = RealClock(), Acme()
        files = PublicFiles("shop-9.example", tmp_path / "g" / "chain.pem", tmp_path / "g" / "key.pem")
        async with yard(tmp_path) as at, gateway() as bench:
            enrolment = enrolment_of(bench, tmp_path, clock)
            public = PublicCertificate(files, clock, enrolment.ask)
            with pytest.raises(AccessDenied, match="no certificate yet"):
                await public.look()
            await enrolment.enrol(at.bundle(), enrolment.check(at.bundle())["fingerprint"], "admin")
            with pytest.raises(AccessDenied, match=r"expected an entry in the platform's public-names\.json"):
                await public.look()
            (tmp_path / "public-names.json").write_text('{"t9/s9": "shop-8.example"}')
            with pytest.raises(AccessDenied, match=r"expected 'shop-8\.example'"):
                await public.look()
            (tmp_path / "public-names.json").write_text('{"t9/s9": "shop-9.example"}')
            assert await public.look() == "the platform has no certificate of shop-9.example yet"
            home = tmp_path / "public" / "t9" / "s9"
            first_request = (home / "request.pem").read_bytes()
            acme.answer(home, ["shop-7.example"])
            with pytest.raises(AccessDenied, match="shop-7"):
                await public.look()
            assert not files.certificate.exists()
            acme.answer(home)
            assert await public.look() == ""
            assert (home / "request.pem").read_bytes() == first_request, "one key, one request"
            settings = ApiSettings(
                public_name=files.name, public_certificate=str(files.certificate), public_key=str(files.key)
            )
            assert PublicName(settings).look() == "", "chain and key fit together"
            assert oct(files.key.stat().st_mode)[-3:] == "600"

            before = files.certificate.read_bytes()
            clock.ahead_us = 59 * US_PER_DAY
            await public.look()
            assert files.certificate.read_bytes() == before
            clock.ahead_us = 62 * US_PER_DAY
            assert await public.look() == "", "the old one is good while the next is waited for"
            assert (home / "request.pem").read_bytes() != first_request, "a key of its own for each certificate"
            assert PublicName(settings).look() == ""
            acme.answer(home, days=150)
            await public.look()
            assert files.certificate.read_bytes() != before
            assert PublicName(settings).look() == ""

            alarms: list[str] = []
            at.enrolments.revoke("t9", "s9")
            clock.ahead_us = 140 * US_PER_DAY
            task = asyncio.create_task(public.run(alarms.append, look_s=0.05))
            await until(lambda: any("revoked" in alarm for alarm in alarms), 30)
            task.cancel()

    asyncio.run(main())


def test_bundles_that_are_not_believed(tmp_path: Path) -> None:
    async def main() -> None:
        clock = RealClock()
        async with yard(tmp_path) as at, gateway() as bench:
            enrolment = enrolment_of(bench, tmp_path, clock)
            good = json.loads(at.bundle())

            async def denied(changes: dict[str, Any]) -> str:
                try:
                    text = json.dumps(good | changes)
                    await enrolment.enrol(text, "", "admin")
                except (AccessDenied, PlainError) as error:
                    return str(error)
                raise AssertionError(changes)

            assert "did not sign" in await denied({"tenant": "t8"})
            assert "did not sign" in await denied({"token": "other"})
            for key, value in (
                ("kind", "poem"), ("version", 2), ("tenant", "T 9"), ("hosts", []), ("hosts", ["http://x"]),
                ("enrol_url", "http://127.0.0.1"), ("keys", {"platform-1": "AAAA"}), ("key", "platform-2"),
                ("ca", "none"), ("expires", "soon"),
            ):  # fmt: skip
                assert f"bundle.{key}" in await denied({key: value})
            for text in ("", "[]", "{", "smartstore-enrol:!!", "smartstore-enrol:AAAA", "x" * 40_000):
                with pytest.raises(PlainError):
                    enrolment.check(text)
            clock.ahead_us = 8 * US_PER_DAY
            assert "expired" in await denied({})
            clock.ahead_us = 0

            mark = enrolment.check(at.bundle())["fingerprint"]
            clock.ahead_us = -400 * US_PER_DAY
            with pytest.raises(AccessDenied, match="clock"):
                await enrolment.enrol(at.bundle(), mark, "admin")
            clock.ahead_us = 0
            assert not enrolment.state()["enrolled"]
            await enrolment.enrol(at.bundle(), mark, "admin")
            assert enrolment.check(at.bundle())["trusted"], "the key of the platform that it belongs to is trusted"
            with pytest.raises(AccessDenied, match="other_store"):
                await enrolment.enrol(at.bundle("t9", "s8"), mark, "admin")
            other = Enrolments(tmp_path / "other", Authority.create())
            stranger = other.bundle(("t9", "s9"), ["mqtts://127.0.0.1:1"], at.url, at.platform.signer, "platform-1")
            with pytest.raises(AccessDenied, match="platform_certificate"):
                await enrolment.enrol(stranger.decode(), mark, "admin")
            other.close()
            assert datetime.fromisoformat(good["expires"]).tzinfo == UTC

    asyncio.run(main())
