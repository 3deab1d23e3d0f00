"""Which planogram's places a fact names: its SGLNs and time zone as of the moment at which the fact got its seq.

Facts name shelves by their ids; an EPCIS event names them by SGLN, which the planogram says. A fact that is sent again
(a replay, a restart, days of backlog) must be the same bytes, so what the planogram said is kept as long as its facts.
"""

from __future__ import annotations

from typing import Any

from cloud_bridge.contract.envelope import EnvelopeRenderer, PlannedRenderer
from cloud_bridge.contract.epcis import Places
from edge.core.site import Site
from edge.journal import Journal

PLACES_KEY = "bridge/places"
PLANS_KEPT = 100
"""Beyond, the oldest goes: a hundred changes of SGLNs or time zone while no platform acknowledges anything."""


class PlannedPlaces:
    """The plans of one journal's facts as rows [first seq, plan], kept in the journal itself."""

    def __init__(self, journal: Journal, site: Site) -> None:
        """site: the planogram of now, which may have changed while the gateway was off."""
        self._journal = journal
        kept: Any = journal.get(PLACES_KEY)
        self._rows: list[Any] = kept if isinstance(kept, list) else []
        if not self._rows:
            self._rows = [[0, _plan(site)]]
            self._keep()
        self.renderer = PlannedRenderer(self._renderer(self._rows[0][1]))
        for from_seq, plan in self._rows[1:]:
            self.renderer.plan(from_seq, self._renderer(plan))
        self.use(site)

    def use(self, site: Site) -> None:
        """Facts that get their seq from now on are of this planogram; durable with or before the first of them."""
        plan, journal = _plan(site), self._journal
        if plan == self._rows[-1][1]:
            return
        from_seq = journal.last_seq + journal.pending + 1
        self.renderer.plan(from_seq, self._renderer(plan))
        gone = sum(row[0] <= journal.first_seq for row in self._rows[1:])  # its facts are no more
        self._rows = [*self._rows[gone:], [from_seq, plan]][-PLANS_KEPT:]
        self._keep()

    def _keep(self) -> None:
        self._journal.put(PLACES_KEY, self._rows)

    def _renderer(self, plan: dict[str, Any]) -> EnvelopeRenderer:
        return EnvelopeRenderer(Places(plan["sgln"], plan["shelves"]), plan["timezone"], self._journal.epoch)


def _plan(site: Site) -> dict[str, Any]:
    shelves = {shelf.id: shelf.sgln_extension for shelf in site.shelves if shelf.sgln_extension != "0"}
    return {"sgln": site.store.sgln, "timezone": site.store.timezone, "shelves": shelves}
