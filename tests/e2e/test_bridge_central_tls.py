"""The cluster behind certificates: enrolled stores are let in, to their own topics only, and put out when revoked."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
import subprocess
from pathlib import Path

import nats
import pytest

from cloud_bridge.contract.topics import Topics
from cloud_bridge.ingest import secured
from cloud_bridge.ingest.authority import Authority, key_pem, new_key, signing_request
from cloud_bridge.ingest.broker import nats_program
from cloud_bridge.ingest.central import Central
from cloud_bridge.ingest.enrolment import Enrolments
from cloud_bridge.ingest.platform import load_signer
from cloud_bridge.settings import UplinkSettings
from edge.core.errors import UplinkError
from tests.e2e.bridge_wires import until, wired_store
from tests.e2e.test_bridge_access import client, try_publish
from tests.postgres_support import postgres_folder


class Counter:
    """The platform's side of enrolling, and a gateway's files."""

    def __init__(self, central: Central, folder: Path) -> None:
        self.central, self.folder = central, folder
        self.signer = load_signer(central.key_file)
        self.enrolments = Enrolments(central.folder, Authority.load(central.folder / "ca"))
        self.count = 0

    def enrol(self, tenant: str, store: str) -> UplinkSettings:
        bundle = json.loads(self.enrolments.bundle((tenant, store), self.hosts, "", self.signer, "platform-1"))
        key = new_key()
        made = self.enrolments.enrol(bundle["token"], signing_request(key, tenant, store))
        self.count += 1
        files = [self.folder / f"{tenant}-{store}-{self.count}.{kind}" for kind in ("pem", "key")]
        files[0].write_text(made["certificate"])
        files[1].write_bytes(key_pem(key))
        (self.folder / "ca.pem").write_text(made["ca"])
        return UplinkSettings(
            hosts=self.hosts,
            client_id=f"{tenant}-{store}-{self.count}",
            platform_keys={"platform-1": base64.b64encode(self.signer.public_key).decode()},
            ca_file=str(self.folder / "ca.pem"),
            cert_file=str(files[0]),
            key_file=str(files[1]),
            backoff_most_s=0.5,
            persistent_session=False,
        )

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(node.address for node in self.central.nodes)


async def refused(central: Central, settings: UplinkSettings) -> bool:
    """By every node."""
    for node in central.nodes:
        try:
            async with client(node, settings):
                return False
        except UplinkError:
            continue
    return True


DEPLOYED = Path(__file__).parents[2] / "deploy" / "central"


def test_the_shipped_configuration_is_one_that_nats_takes(tmp_path: Path) -> None:
    secured.main(["--folder", str(tmp_path / "keys"), "--hosts", "n1,n2,n3,127.0.0.1"])
    before = {path: path.read_bytes() for path in (tmp_path / "keys").rglob("*.key")}
    secured.main(["--folder", str(tmp_path / "keys"), "--hosts", "n1"])
    assert {path: path.read_bytes() for path in (tmp_path / "keys").rglob("*.key")} == before, "what is there stays"
    home = tmp_path / "etc" / "nats"
    home.mkdir(parents=True)
    text = (DEPLOYED / "nats.conf").read_text("utf-8").replace('"/keys/', f'"{tmp_path}/keys/')
    (home / "nats.conf").write_text(text, "utf-8")
    command = [str(nats_program()), "-t", "-c", str(home / "nats.conf")]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NODE": "n1"})
    assert told.returncode == 0, told.stderr
    (tmp_path / "keys" / "nats-users.conf").unlink()
    without = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NODE": "n1"})
    assert without.returncode != 0, "without the list nobody is let in: a node does not start open"


@pytest.mark.slow
def test_enrolled_stores_are_let_in_and_revoked_ones_put_out(tmp_path: Path) -> None:
    async def main() -> None:
        async with Central(folder / "central", tls=True) as central:
            counter = Counter(central, tmp_path)
            first, other = counter.enrol("t1", "s1"), counter.enrol("t2", "s1")
            for name in ("a", "b"):
                (tmp_path / name).mkdir()
            async with (
                wired_store(tmp_path / "a", first, name="s1", tenant="t1") as one,
                wired_store(tmp_path / "b", other, name="s1", tenant="t2") as two,
            ):
                one.add(300)
                two.add(200)
                await until(lambda: (one.journal.acked_seq, two.journal.acked_seq) == (300, 200), 60)

                mine, theirs = Topics("t1", "s1"), Topics("t2", "s1")
                watcher = dataclasses.replace(other, client_id="watcher")
                async with client(central.nodes[0], watcher, theirs.of("ack"), theirs.of("command")) as (ear, _):
                    for topic in (theirs.of("birth"), theirs.of("ack"), theirs.of("command"), mine.of("ack")):
                        await try_publish(central.nodes[0], dataclasses.replace(first, client_id="thief"), topic)
                    await asyncio.sleep(0.5)
                    assert [m for m in ear.messages if not m.payload.startswith(b"{")] == []

                assert counter.enrolments.revoke("t1", "s1") == 1
                await until(lambda: not one.uplink.status.connected, 10)
                one.add(50)
                again = dataclasses.replace(first, client_id="again")
                assert await refused(central, again)
                two.add(50)
                await until(lambda: two.journal.acked_seq == 250, 30)
                assert one.journal.acked_seq == 300
            second = counter.enrol("t1", "s1")
            async with wired_store(tmp_path / "a", second, name="s1", tenant="t1") as one:
                await until(lambda: one.journal.acked_seq == one.journal.last_seq >= 350, 60)
                assert await refused(central, again), "the old certificate does not pass for its successor"
            with pytest.raises((nats.errors.Error, OSError)):
                await nats.connect(
                    central.nodes[0].client_address.replace("tls", "nats"), allow_reconnect=False, connect_timeout=2
                )
            assert central.worker_faults() == []
            counter.enrolments.close()

    with postgres_folder() as folder:
        asyncio.run(main())
