"""Two tenants, two stores each way, certificates and the shipped access lists against real brokers: no crossing."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nats
import pytest

from cloud_bridge.contract.topics import STORE_READS, STORE_WRITES, Topics
from cloud_bridge.ingest.access import PLATFORM_USER, mosquitto_acl, nats_authorization
from cloud_bridge.ingest.authority import Authority, EnrolmentRefused, key_pem, new_key, signing_request
from cloud_bridge.ingest.broker import Broker, TlsFiles, free_port, mosquitto_broker, mosquitto_program, nats_broker
from cloud_bridge.paho_client import PahoLinks, tls_context
from cloud_bridge.settings import UplinkSettings
from edge.core.errors import UplinkError
from edge.core.ports import Message
from tests.e2e.bridge_wires import keys_of, until, wired_platform, wired_store

DEPLOY = Path(__file__).parents[2] / "deploy"
STORES = (("t1", "s1"), ("t1", "s2"), ("t2", "s1"))
BY_NAME = tuple((tenant, store, f"CN={tenant}/{store}") for tenant, store in STORES)
KINDS = ("mosquitto", "nats")


def test_the_shipped_acl_is_made_of_the_contract() -> None:
    assert (DEPLOY / "broker" / "mosquitto.acl").read_text("utf-8") == mosquitto_acl()
    for suffix in STORE_READS:
        assert f"pattern write smartstore/v1/%u/{suffix}\n" not in mosquitto_acl()


@dataclass
class Yard:
    """A CA, the broker's files, and certificates on demand."""

    folder: Path
    authority: Authority = field(default_factory=Authority.create)

    def __post_init__(self) -> None:
        key = new_key()
        self.write("ca.pem", self.authority.pem)
        self.write("server.key", key_pem(key))
        self.write("server.pem", self.authority.server_certificate(key, ["127.0.0.1", "localhost"]))

    def write(self, name: str, content: bytes) -> Path:
        (self.folder / name).write_bytes(content)
        return self.folder / name

    def store(
        self, tenant: str, store: str, authority: Authority | None = None, days: float = 90, tag: str = ""
    ) -> UplinkSettings:
        key = new_key()
        issuer = authority or self.authority
        certificate = issuer.store_certificate(signing_request(key, tenant, store), tenant, store, days)
        return self.settings(f"{tenant}-{store}{tag}", certificate, key_pem(key))

    def platform(self) -> UplinkSettings:
        key = new_key()
        return self.settings("central", self.authority.client_certificate(key, PLATFORM_USER), key_pem(key))

    def settings(self, name: str, certificate: bytes, key: bytes) -> UplinkSettings:
        return UplinkSettings(
            client_id=f"client-{name}",
            ca_file=str(self.folder / "ca.pem"),
            cert_file=str(self.write(f"{name}.pem", certificate)),
            key_file=str(self.write(f"{name}.key", key)),
            persistent_session=False,
        )

    def broker(self, kind: str, revoked: Path | None = None) -> Broker:
        files = TlsFiles(self.folder / "ca.pem", self.folder / "server.pem", self.folder / "server.key", revoked)
        if kind == "mosquitto":
            if mosquitto_program() is None:
                pytest.skip("mosquitto is not installed: apt-get install mosquitto")
            return mosquitto_broker(self.folder / "m", tls=files, acl=DEPLOY / "broker" / "mosquitto.acl")
        return nats_broker(self.folder / "n", tls=files, extra=nats_authorization(BY_NAME))


class Ear:
    """A `LinkListener` that remembers."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.acked = 0
        self.cause = ""

    def connected(self) -> None: ...

    def disconnected(self, reason: str) -> None:
        self.cause = reason

    def acknowledged(self, tokens) -> None:
        self.acked += len(tokens)

    def received(self, message: Message) -> None:
        self.messages.append(message)


@asynccontextmanager
async def client(
    broker: Broker, settings: UplinkSettings, *topics: str
) -> AsyncIterator[tuple[Ear, Callable[[str], None]]]:
    address = f"mqtts://127.0.0.1:{broker.port}"
    links = PahoLinks(
        UplinkSettings(**{name: getattr(settings, name) for name in settings.__slots__} | {"hosts": (address,)})
    )
    link, ear = links(links.settings.endpoints()[0]), Ear()
    await link.connect(ear, Message("smartstore/v1/none", b""), topics)

    def publish(topic: str) -> None:
        link.publish(Message(topic, topic.encode()))

    try:
        yield ear, publish
    finally:
        await link.disconnect()


async def try_publish(broker: Broker, settings: UplinkSettings, topic: str) -> None:
    settings = dataclasses.replace(settings, client_id=settings.client_id + "-writer")
    try:
        async with client(broker, settings) as (ear, publish):
            publish(topic)
            async with asyncio.timeout(1):
                while not ear.acked and not ear.cause:
                    await asyncio.sleep(0.01)
    except (UplinkError, TimeoutError):
        return


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_writes_and_reads_its_own_and_nothing_else(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        yard = Yard(tmp_path)
        mine, others = Topics("t1", "s1"), (Topics("t1", "s2"), Topics("t2", "s1"))
        own = yard.store("t1", "s1")
        suffixes = [suffix.replace("+", "x") for suffix in STORE_WRITES]
        async with yard.broker(kind) as broker:
            watched = [f"smartstore/v1/+/+/{suffix}" for suffix in STORE_WRITES]
            async with client(broker, yard.platform(), *watched) as (platform, say):
                for suffix in suffixes:
                    await try_publish(broker, own, mine.of(suffix))
                await until(lambda: len(platform.messages) >= len(suffixes), 10)
                for topics in others:
                    for suffix in suffixes[:3]:
                        await try_publish(broker, own, topics.of(suffix))
                await asyncio.sleep(0.3)
                assert sorted(message.topic for message in platform.messages) == sorted(map(mine.of, suffixes))

                reads = [mine.of(suffix) for suffix in STORE_READS]
                async with client(broker, own, *reads) as (ear, _):
                    for suffix in STORE_READS:
                        await try_publish(broker, own, mine.of(suffix))  # its own ack, its own command
                    for topics in (mine, *others):
                        for suffix in STORE_READS:
                            say(topics.of(suffix))
                    await until(lambda: len(ear.messages) >= len(reads), 10)
                    await asyncio.sleep(0.3)
                    assert sorted(message.topic for message in ear.messages) == sorted(reads)
                for topic in (others[0].of("command"), others[1].of("events/+"), "smartstore/v1/#", "#"):
                    await nothing_heard(broker, own, topic, say, [t.of("command") for t in others])

    asyncio.run(main())


async def nothing_heard(
    broker: Broker, own: UplinkSettings, topic: str, say: Callable[[str], None], said: list[str]
) -> None:
    try:
        async with client(broker, own, topic) as (ear, _):
            for place in said:
                say(place)
            await asyncio.sleep(0.3)
            assert [m for m in ear.messages if not m.topic.startswith("smartstore/v1/t1/s1/")] == []
    except UplinkError:
        return


def test_nats_own_port_takes_nobody_without_a_certificate(tmp_path: Path) -> None:
    async def main() -> None:
        yard, port = Yard(tmp_path), free_port()
        files = TlsFiles(tmp_path / "ca.pem", tmp_path / "server.pem", tmp_path / "server.key")
        async with nats_broker(tmp_path / "n", client_port=port, tls=files, extra=nats_authorization(BY_NAME)):
            trusting = ssl.create_default_context(cafile=str(yard.folder / "ca.pem"))
            for name in (f"CN={PLATFORM_USER}", "CN=t1/s2"):
                for scheme, context in (("nats", None), ("tls", trusting)):
                    with pytest.raises((nats.errors.Error, OSError)):
                        await nats.connect(
                            f"{scheme}://127.0.0.1:{port}",
                            user=name,
                            password="",
                            tls=context,
                            allow_reconnect=False,
                            connect_timeout=2,
                        )

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_facts_flow_over_tls_with_certificates(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        yard = Yard(tmp_path)
        async with yard.broker(kind) as broker:
            address = f"mqtts://127.0.0.1:{broker.port}"
            async with wired_platform(tmp_path, (address,), link=yard.platform()) as platform:
                stores = []
                for tenant, store in STORES[1:]:
                    base = yard.store(tenant, store)
                    chosen = dataclasses.replace(base, hosts=(address,), platform_keys=keys_of(platform))
                    stores.append((tenant, store, chosen))
                for tenant, name, chosen in stores:
                    (tmp_path / tenant).mkdir(exist_ok=True)
                    async with wired_store(tmp_path / tenant, chosen, tenant=tenant, name=name) as store:
                        store.add(700)
                        await until(lambda store=store: store.journal.acked_seq == 700, 20)
                assert platform.counters.events == 1_400

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_foreign_expired_and_missing_certificates_are_refused(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        yard = Yard(tmp_path)
        async with yard.broker(kind) as broker:
            for settings in (
                yard.store("t1", "s1", Authority.create("somebody else")),
                yard.store("t1", "s1", days=-1),
                UplinkSettings(client_id="none", ca_file=str(tmp_path / "ca.pem")),
            ):
                with pytest.raises(UplinkError):
                    async with client(broker, settings) as (ear, _):
                        await until(lambda ear=ear: bool(ear.cause), 2)
                        raise UplinkError(ear.cause)
            async with client(broker, yard.store("t1", "s1")) as (ear, _):
                assert ear.cause == ""

    asyncio.run(main())


def test_a_revoked_store_is_shut_out_and_a_renewed_one_comes_in(tmp_path: Path) -> None:
    async def main() -> None:
        yard = Yard(tmp_path)
        old, other = yard.store("t1", "s1"), yard.store("t1", "s2")
        revoked = yard.write("crl.pem", yard.authority.revocation_list([Path(old.cert_file).read_bytes()]))
        async with yard.broker("mosquitto", revoked) as broker:
            with pytest.raises(UplinkError):
                async with client(broker, old) as (ear, _):
                    await until(lambda: bool(ear.cause), 2)
                    raise UplinkError(ear.cause)
            for settings in (other, yard.store("t1", "s1", tag="-renewed")):
                async with client(broker, settings) as (ear, publish):
                    publish(Topics("t1", "s2" if settings is other else "s1").of("events/stock"))
                    await until(lambda ear=ear: ear.acked == 1, 5)

    asyncio.run(main())


# paho leaves the socket of a failed handshake to the garbage collector, which closes it at once and says so:
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_broker_of_another_authority_or_older_tls_is_not_trusted(tmp_path: Path) -> None:
    async def main() -> None:
        yard = Yard(tmp_path)
        stranger_folder = tmp_path / "stranger"
        stranger_folder.mkdir()
        stranger = Yard(stranger_folder)
        async with stranger.broker("mosquitto") as broker:
            with pytest.raises(UplinkError, match=r"certificate: .*(issuer|verify|sign)"):
                async with client(broker, yard.store("t1", "s1")):
                    pass
        assert tls_context(yard.store("t1", "s1")).minimum_version is ssl.TLSVersion.TLSv1_3

    asyncio.run(main())


def test_enrolment_refuses_what_is_not_the_stores_own() -> None:
    authority, key = Authority.create(), new_key()
    with pytest.raises(EnrolmentRefused, match="t1/s1"):
        authority.store_certificate(signing_request(key, "t1", "s2"), "t1", "s1")
    with pytest.raises(EnrolmentRefused, match="PEM"):
        authority.store_certificate(b"hello", "t1", "s1")
    with pytest.raises(ValueError, match="store"):
        authority.store_certificate(signing_request(key, "t1", "../x"), "t1", "../x")


def test_the_authority_is_kept(tmp_path: Path) -> None:
    first = Authority.load(tmp_path / "ca")
    assert Authority.load(tmp_path / "ca").pem == first.pem
    assert (tmp_path / "ca" / "ca.key").stat().st_mode & 0o077 == 0
