"""What an attacker with the server, the network or one key can do to updates: nothing, and each attempt has a name."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from edge.clock import Sources, SystemClock
from edge.core.instant import TimeQuality
from edge.updates.errors import RepositoryUnreachable, UpdateRefused
from edge.updates.repository import NewRelease, Publisher, PublisherError
from edge.updates.trust import Repository
from tests.updates_support import Shop, bundle, signed_long_ago


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path).open()


def refused(shop: Shop, version: str = "1.1.0") -> str:
    """The reason for which the machine refuses; nothing may have changed, and the audit must be told."""
    shop.want(version)
    with pytest.raises(UpdateRefused) as caught:
        shop.updater().run()
    assert shop.start() == "1.0.0"
    assert shop.slots().version("good") == "1.0.0"
    assert shop.outcomes()[-1][2:] == (False, caught.value.reason)
    assert caught.value.hint
    return caught.value.reason


def metadata(shop: Shop, name: str) -> Path:
    return shop.publisher.metadata / name


def test_a_signed_release_is_installed(shop: Shop) -> None:
    shop.release("1.1.0")
    shop.want("1.1.0")
    assert shop.updater().run() == ["gateway 1.0.0 -> 1.1.0"]
    assert shop.start() == "1.1.0"
    assert shop.outcomes() == [("gateway", "1.1.0", True, "")]
    assert shop.updater().run() == []


def test_a_changed_file_is_tampered(shop: Shop) -> None:
    shop.release("1.1.0")
    (file,) = (shop.publisher.targets / "gateway/1.1.0").iterdir()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert refused(shop) == "tampered"


def test_an_endless_file_is_tampered(shop: Shop) -> None:
    shop.release("1.1.0")
    (file,) = (shop.publisher.targets / "gateway/1.1.0").iterdir()
    file.write_bytes(file.read_bytes() + bytes(100_000))
    assert refused(shop) == "tampered"


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_changed_metadata_is_forged(shop: Shop, role: str) -> None:
    shop.release("1.1.0")
    path = max(shop.publisher.metadata.glob(f"*{role}.json"))
    document = json.loads(path.read_text())
    document["signed"]["expires"] = "2099-01-01T00:00:00Z"
    path.write_text(json.dumps(document))
    assert refused(shop) == "forged"


def test_garbage_in_the_place_of_metadata_is_tampered(shop: Shop) -> None:
    shop.release("1.1.0")
    metadata(shop, "timestamp.json").write_bytes(b"\x00\xff{]")
    assert refused(shop) == "tampered"


def test_another_publisher_is_forged(shop: Shop, tmp_path: Path) -> None:
    other = Shop(tmp_path / "other")
    other.folder.mkdir()
    other.publisher.create()
    other.release("1.1.0")
    shutil.copy(other.publisher.metadata / "timestamp.json", metadata(shop, "timestamp.json"))
    assert refused(shop) == "forged"


def test_an_older_state_is_a_replay(shop: Shop) -> None:
    shop.release("1.1.0")
    yesterday = metadata(shop, "timestamp.json").read_bytes()
    shop.release("1.2.0")
    shop.updater().check()
    metadata(shop, "timestamp.json").write_bytes(yesterday)
    assert refused(shop) == "replay"


def test_an_older_state_is_a_replay_even_after_the_memory_was_lost(shop: Shop) -> None:
    """tuf keeps its files without fsync; a power cut may leave them empty."""
    shop.release("1.1.0")
    yesterday = metadata(shop, "timestamp.json").read_bytes()
    shop.release("1.2.0")
    shop.updater().check()
    trust = shop.paths().trust
    for name in ("timestamp.json", "snapshot.json", "targets.json"):
        (trust / name).write_bytes(b"")
    metadata(shop, "timestamp.json").write_bytes(yesterday)
    assert refused(shop) == "replay"
    shop.publisher.sign()
    assert shop.updater().check()


@pytest.mark.parametrize(("role", "days"), [("timestamp", 8), ("snapshot", 15), ("targets", 181), ("root", 366)])
def test_an_expired_state_is_a_freeze(shop: Shop, role: str, days: int) -> None:
    """Each role alone: the others are signed today."""
    shop.release("1.1.0")
    today, old = shop.publisher, Publisher(shop.publisher.folder, signed_long_ago(days))
    load, publish = today._load, old._publish
    if role == "root":
        publish(load("root"), "root")
        return_to = today
    elif role == "targets":
        publish(load("targets"), "targets")
        return_to = today
    elif role == "snapshot":
        publish(load("snapshot"), "snapshot")
        timestamp = Metadata.from_file(str(metadata(shop, "timestamp.json"))).signed
        timestamp.snapshot_meta.version += 1  # type: ignore[attr-defined]
        today._publish(timestamp, "timestamp")
        return_to = None
    else:
        old._publish_state()
        return_to = None
    if return_to is not None:
        return_to._publish_state()
    assert refused(shop) == "freeze"


def test_parts_of_two_states_are_mix_and_match(shop: Shop) -> None:
    """All of it is signed, none of it is expired, but it does not belong together."""
    shop.release("1.1.0")
    shop.release("1.2.0")
    older, newer = sorted(shop.publisher.metadata.glob("*.snapshot.json"))[-2:]
    newer.write_bytes(older.read_bytes())
    assert refused(shop) == "mix_and_match"


def test_targets_of_another_state_are_mix_and_match(shop: Shop) -> None:
    shop.release("1.1.0")
    shop.release("1.2.0")
    older, newer = sorted(shop.publisher.metadata.glob("*.targets.json"))[-2:]
    newer.write_bytes(older.read_bytes())
    assert refused(shop) == "mix_and_match"


def test_an_older_release_is_a_rollback(shop: Shop) -> None:
    shop.release("0.9.0")
    assert refused(shop, "0.9.0") == "rollback"


def test_what_was_withdrawn_is_unknown(shop: Shop) -> None:
    shop.release("1.1.0")
    shop.publisher.withdraw("gateway", "1.1.0")
    assert refused(shop) == "unknown_target"
    with pytest.raises(PublisherError, match="is not published"):
        shop.publisher.withdraw("gateway", "1.1.0")


def test_nothing_is_updated_while_the_clock_is_unset(shop: Shop) -> None:
    shop.release("1.1.0")
    shop.quality = TimeQuality.UNSET
    assert refused(shop) == "clock_unset"
    shop.quality = TimeQuality.RESTORED
    assert shop.updater().run() == ["gateway 1.0.0 -> 1.1.0"]


def test_the_last_signature_is_a_floor_of_the_clock(shop: Shop) -> None:
    shop.updater().check()
    signed_us = shop.updater().status()["signed_us"]
    assert signed_us > 1_790_000_000_000_000
    early = Sources(lambda: 10**9, lambda: 1_700_000_000 * 10**9, lambda: False)
    clock = SystemClock(1, None, early, signed_us=signed_us)
    assert clock.now().wall_us == signed_us
    assert clock.now().quality is TimeQuality.UNSET
    later = Sources(lambda: 10**9, lambda: (signed_us + 1) * 1000, lambda: False)
    assert SystemClock(1, None, later, signed_us=signed_us).now().quality is TimeQuality.RESTORED


def test_keys_are_rotated_and_a_stolen_key_ends(shop: Shop) -> None:
    shop.updater().check()
    stolen = shop.folder / "stolen"
    shutil.copytree(shop.publisher.folder, stolen)
    for role in ("timestamp", "targets", "root", "snapshot"):
        shop.publisher.rotate(role)
    shop.release("1.1.0")
    shop.want("1.1.0")
    assert shop.updater().run() == ["gateway 1.0.0 -> 1.1.0"]
    thief = Publisher(stolen)
    thief.add(NewRelease("software", "gateway", "9.9.9", bundle(shop.folder, "9.9.9"), {"machine": "any"}))
    shop.want("9.9.9")
    with pytest.raises(UpdateRefused) as caught:
        shop.updater(stolen.as_uri()).run()
    assert caught.value.reason in ("forged", "replay")
    assert shop.start() == "1.1.0"


def test_the_same_refusal_in_a_row_is_told_once(shop: Shop) -> None:
    shop.release("0.9.0")
    for _ in range(3):
        assert refused(shop, "0.9.0") == "rollback"
    assert shop.outcomes() == [("gateway", "0.9.0", False, "rollback")]


def test_a_release_for_another_kind_of_machine_is_not_there(shop: Shop) -> None:
    file = bundle(shop.folder, "1.1.0")
    shop.publisher.add(NewRelease("software", "gateway", "1.1.0", file, {"machine": "linux-m68k-cp311"}))
    assert refused(shop) == "unknown_target"


def test_a_version_is_published_once(shop: Shop) -> None:
    shop.release("1.1.0")
    with pytest.raises(PublisherError, match="another file was published under this version"):
        shop.release("1.1.0", "other content")


@pytest.fixture
def server(shop: Shop) -> Iterator[tuple[str, list[int]]]:
    """The repository over HTTP; a status put into the list is answered instead."""
    faults: list[int] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **named) -> None:
            super().__init__(*arguments, directory=str(shop.publisher.folder), **named)

        def do_GET(self) -> None:
            if faults:
                self.send_error(faults[0])
            else:
                super().do_GET()

        def log_message(self, *arguments) -> None:
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}", faults
    served.shutdown()
    served.server_close()


def test_over_http_a_failing_server_is_no_refusal(shop: Shop, server: tuple[str, list[int]]) -> None:
    url, faults = server
    shop.release("1.1.0")
    shop.want("1.1.0")
    faults.append(500)
    with pytest.raises(RepositoryUnreachable, match="500"):
        shop.updater(url).run()
    assert shop.outcomes() == []
    faults.clear()
    assert shop.updater(url).run() == ["gateway 1.0.0 -> 1.1.0"]


def test_a_dead_server_and_a_wrong_address_are_named(shop: Shop) -> None:
    with pytest.raises(RepositoryUnreachable, match="refused"):
        shop.updater("http://127.0.0.1:9").check()
    with pytest.raises(RepositoryUnreachable, match="ftp"):
        Repository("ftp://x", shop.paths().root, shop.paths().trust)
    shop.paths().root.write_text("{}")
    with pytest.raises(UpdateRefused, match="forged"):
        Repository("file:///nowhere", shop.paths().root, shop.paths().trust)
