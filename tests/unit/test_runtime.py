"""The runtime's way into the journal, where the journal takes no more."""

from __future__ import annotations

from edge.core.observation import DeviceState, DeviceStatus
from edge.core.site import load_site
from edge.health import Health
from edge.journal import InlineWriter, Journal, JournalSettings, Store
from edge.journal.log import begin_boot
from edge.runtime import Runtime
from edge.store_engine import make_engine
from tests.bridge_support import LoopClock
from tests.unit.api_support import SITE
from tests.virtual_time import run_virtual


def test_what_a_full_journal_refused_is_counted_and_its_state_is_written_later() -> None:
    async def scenario() -> None:
        clock, store = LoopClock(), Store(None)
        health = Health(lambda: clock.now().mono_us)
        settings = JournalSettings(pending_limit=2, urgent_delay_s=60.0)
        journal = Journal(store, InlineWriter(), settings, begin_boot(store).boot, lambda error: None)
        runtime = Runtime(make_engine(load_site(SITE)), journal, clock, health)

        def come(*devices: str) -> None:
            for device in devices:
                runtime.emit(DeviceStatus(device, clock.now().mono_us, DeviceState.ONLINE))
            runtime.step()

        come("a-1", "a-2", "a-3")
        assert health.counters["facts_refused"] == 3
        assert journal.pending == 0
        come("a-4")
        await journal.flush()
        assert {name for name in runtime.view.documents() if name.startswith("device/")} == {
            f"device/a-{n}" for n in (1, 2, 3, 4)
        }
        assert all(any(f"a-{n}" in key for key in store.mapping("said")) for n in (1, 2, 3, 4))
        assert health.counters["facts_refused"] == 3

    run_virtual(scenario())
