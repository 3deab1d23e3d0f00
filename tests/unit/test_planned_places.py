"""EPCIS events name the places of the planogram in effect when the fact was committed, whenever they are sent."""

from __future__ import annotations

import asyncio
import copy
import json
from pathlib import Path

from cloud_bridge.settings import UplinkSettings
from edge.bridge import Bridge, Gateway, make_bridge
from edge.core import facts
from edge.core.instant import Instant
from edge.core.ports import Commit
from edge.core.site import Site, load_site
from edge.journal import InlineWriter, Journal, JournalSettings
from edge.journal.log import open_store
from edge.planned_places import PLACES_KEY, PLANS_KEPT, PlannedPlaces
from tests.unit.api_support import SITE, TEA, gateway

OTHER_SGLN = "urn:epc:id:sgln:4569951.00202.0"
WIRED = UplinkSettings(hosts=("mqtt://127.0.0.1:9",))


def planned(sgln: str = SITE["store"]["sgln"], extension: str = "0", timezone: str = "Asia/Tokyo") -> Site:
    document = copy.deepcopy(SITE)
    document["store"] |= {"sgln": sgln, "timezone": timezone}
    document["shelves"][0]["sgln_extension"] = extension
    return load_site(document)


def pick(at_us: int = 1) -> facts.ItemPicked:
    return facts.ItemPicked(at_us=at_us, gtin=TEA, shelf="shelf-1", quantity=1, confidence=0.9)


def open_journal(path: Path) -> Journal:
    store, kept = open_store(JournalSettings(path=str(path)))
    return Journal(store, InlineWriter(), JournalSettings(path=str(path)), kept.boot, lambda error: None)


def read_points(journal: Journal, places: PlannedPlaces) -> dict[int, tuple[str, str]]:
    events = [json.loads(places.renderer.event(row)) for row in journal.read(1, 1_000)]
    movements = [event for event in events if "readPoint" in event["data"]]
    return {int(e["seq"]): (e["data"]["readPoint"]["id"], e["data"]["eventTimeZoneOffset"]) for e in movements}


def test_a_changed_planogram_leaves_what_was_committed_as_it_was(tmp_path: Path) -> None:
    async def main() -> None:
        journal = open_journal(tmp_path / "j.db")
        at = Instant(1, 1_790_000_000_000_000)
        places = PlannedPlaces(journal, planned())
        waiting = journal.append(Commit([(pick(), at)]), at)  # has its seq, is not on the disk yet
        places.use(planned(OTHER_SGLN, timezone="Europe/Berlin"))
        await journal.append(Commit([(pick(), at)]), at, urgent=True)
        places.use(planned(OTHER_SGLN, "A17", "Europe/Berlin"))
        places.use(planned(OTHER_SGLN, "A17", "Europe/Berlin"))
        await journal.append(Commit([(pick(), at)]), at, urgent=True)
        await waiting
        expected = {
            1: ("urn:epc:id:sgln:4569951.00101.shelf-1", "+09:00"),
            2: ("urn:epc:id:sgln:4569951.00202.shelf-1", "+02:00"),
            3: ("urn:epc:id:sgln:4569951.00202.A17", "+02:00"),
        }
        assert read_points(journal, places) == expected
        sent = [places.renderer.event(row) for row in journal.read(1, 10)]
        await journal.close()

        again = open_journal(tmp_path / "j.db")
        changed_by_hand = planned("urn:epc:id:sgln:4569951.00303.0")  # in the settings, while the gateway was off
        later = PlannedPlaces(again, changed_by_hand)
        assert [later.renderer.event(row) for row in again.read(1, 3)] == sent, "byte by byte, after a restart too"
        await again.append(Commit([(pick(), at)]), at, urgent=True)
        assert read_points(again, later)[4] == ("urn:epc:id:sgln:4569951.00303.shelf-1", "+09:00")
        assert len(again.get(PLACES_KEY)) == 4
        await again.close()

    asyncio.run(main())


def test_plans_go_with_their_facts_and_never_become_many(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "j.db"
        journal = open_journal(path)
        at = Instant(1, 1_790_000_000_000_000)
        places = PlannedPlaces(journal, planned())
        for number in range(PLANS_KEPT + 20):
            places.use(planned(extension=f"A{number}"))
            await journal.append(Commit([(pick(), at)]), at, urgent=True)
        assert len(journal.get(PLACES_KEY)) == PLANS_KEPT
        before = places.renderer.event(journal.read(60, 1)[0])
        await journal.close()
        kept = open_journal(path)
        assert (
            PlannedPlaces(kept, planned(extension=f"A{PLANS_KEPT + 19}")).renderer.event(kept.read(60, 1)[0]) == before
        )
        await kept.close()

    asyncio.run(main())


def test_a_running_bridge_takes_the_planogram_that_is_loaded() -> None:
    def bridge_of(bench) -> Bridge:
        services = bench.services
        made = make_bridge(Gateway(services.runtime, services.installation), services.installation.site(), WIRED, "0")
        assert made is not None
        return made

    async def main() -> None:
        async with gateway(claimed=False) as bench:
            runtime, installation = bench.services.runtime, bench.services.installation
            bridge = bridge_of(bench)
            runtime.tell(pick(runtime.clock_us()))
            document = installation.site_document()
            document["store"]["sgln"] = OTHER_SGLN
            await installation.use_site(document, "somebody", "c-1")
            runtime.tell(pick(runtime.clock_us()))
            await runtime.journal.flush()
            render = bridge.uplink._ports.renderer.event
            events = [json.loads(render(row)) for row in runtime.journal.read(1, 1_000)]
            picks = [e for e in events if e["data"].get("smartstore:fact") == "inventory.ItemPicked"]
            points = [event["data"]["bizLocation"]["id"] for event in picks]
            assert points == [SITE["store"]["sgln"], OTHER_SGLN]
            anew = bridge_of(bench).uplink._ports.renderer.event  # as enrolment makes one
            assert [json.loads(anew(row)) for row in runtime.journal.read(1, 1_000)] == events

    asyncio.run(main())
