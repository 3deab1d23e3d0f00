"""The presence part: tag reads in; places of tags, as facts and as evidence, out.

Reads are only collected by `observe`; `tick` folds and judges them, all readers in one pass: at most 250 ms after they
came where the load is high, once a second where it is low. Speed and accuracy come from this same path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edge.core.fact import JsonValue
from edge.core.instant import US_PER_MIN, US_PER_MS, US_PER_S, Instant
from edge.core.observation import AntennaStatus, TagReads
from edge.core.part import PlaceHealth, Said, Signal
from edge.core.presence import memory
from edge.core.presence.activity import Activity, AntennaState
from edge.core.presence.distinct import distinct_at
from edge.core.presence.ledger import HERE, Entry, Ledger
from edge.core.presence.mobility import MobilityProfile, MobilityTracks
from edge.core.presence.places import NOWHERE, Places, home_table
from edge.core.presence.scorer import Scorer, WindowScorer
from edge.core.presence.strangers import Strangers
from edge.core.presence.table import TagTable
from edge.core.presence.tracks import REST_US, K, Motion, Tracks, Verdicts
from edge.core.retention import Retention
from edge.core.site import AntennaRole, Site

FOLD_US = 140 * US_PER_MS  # reads wait no longer than this where there are many (drivers have batched 100 ms) …
MANY_READS = 256
JUDGE_US = US_PER_S  # … and than this where there are few
ASLEEP_US = 10 * US_PER_S  # nobody called for so long: nothing was heard because nobody listened
COHORTS = 4  # large stocks are judged a quarter at a time
LARGE_STOCK = 4096
TOGETHER_EVERY = 3  # small stocks: resting tags, antennas and misplaced items are looked at in every third judgement
STALE_US = 30 * US_PER_S  # sightings that a reader held back for longer say nothing of now
HEALTH_DWELL_US = 10 * US_PER_S  # an antenna must be silent for so long before anybody is told
UNHEARD_US = 60 * US_PER_S
AGE_EVERY_US = 10 * US_PER_MIN
STRANGERS_KEY = "strangers"

MEET_AT_ONCE = 4000  # first sights a fold: naming and saying them costs 10 µs each, and the loop has other work

Scalar = TypeVar("Scalar", bound=np.generic)
Identity = Callable[[bytes], tuple[str, str]]
"""EPC bytes → (GTIN, pure-identity URI); "" where it is no item or no GS1 key."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How presence is inferred: a scorer and the rates of the filter, or a mobility profile of the field instead."""

    name: str = "window"
    scorer: Scorer = field(default_factory=WindowScorer)
    motion: Motion = field(default_factory=Motion)
    mobility: MobilityProfile | None = None

    def tracks(self, n_places: int) -> Tracks:
        """Fresh tracks of this profile."""
        return MobilityTracks(n_places, self.mobility) if self.mobility else Tracks(n_places, self.scorer, self.motion)


@dataclass(slots=True)
class Counts:
    """What became of the reads."""

    reads: int = 0
    stale: int = 0
    unplanned: int = 0  # of an antenna that the planogram does not have
    untracked: int = 0  # of strangers, and of items in a crowd that is still being met
    refused: int = 0  # no room in the tag table


class Presence:
    """RFID: the place of every tag."""

    def __init__(
        self, site: Site, identity_of: Identity, profile: Profile | None = None, *, max_tags: int = 1 << 19
    ) -> None:
        self.profile = profile or Profile()
        self._identity_of = identity_of
        self._site = site
        self._places = Places(site)
        self._table = TagTable(max_tags)
        self._tracks = self.profile.tracks(len(self._places))
        self._ledger = Ledger(site, self._places, self._table.epc)
        self.retention = Retention()
        self._learn_plan()
        self._strangers = Strangers()
        self._activity = Activity(self._places)
        self.counts = Counts()
        self._pending: dict[tuple[str, int], list[TagReads]] = {}
        self._pending_rows = 0
        self._pending_since_us = 0
        self._judged_us: int | None = None
        self._turn = 0
        self._aged_us: int | None = None
        self._unhealthy: dict[int, str] = {}
        self._blind_since_us = np.zeros(len(self._places), np.int64)

    # --- observations ----------------------------------------------------------------------------------------------

    def observe(self, reads: TagReads, now: Instant) -> list[Signal]:
        """Collect the reads; `tick` works on them. Signals only where very many have piled up."""
        if not len(reads):
            return []
        if not self._pending_rows:
            self._pending_since_us = now.mono_us
        self._pending.setdefault((reads.device_id, reads.epc.shape[1]), []).append(reads)
        self._pending_rows += len(reads)
        return []

    def antenna_status(self, status: AntennaStatus, now: Instant) -> list[Signal]:
        """A reader says that an antenna was connected or disconnected."""
        self._activity.set_antenna(status.device_id, status.antenna, status.connected)
        return self._sources_changed(now.mono_us)

    def reader_status(self, device_id: str, up: bool, now: Instant) -> list[Signal]:
        """A reader is up or down; its tags stay where they are, as unknown, until it is heard again."""
        self._activity.set_reader(device_id, up)
        return self._sources_changed(now.mono_us)

    def sold(self, gtin: str, quantity: int, now: Instant, epcs: Sequence[bytes] = ()) -> list[Signal]:
        """The till sold `quantity` of a product; epcs where it knows which (else those at the till go first)."""
        signals: list[Signal] = []
        rows = [int(self._table.find(np.frombuffer(epc, np.uint8)[None])[0]) for epc in epcs]
        known = [row for row in rows if row in self._ledger.entries]
        if gtin and len(known) < quantity:
            known += [row for row in self._ledger.at_till(gtin) if row not in known][: quantity - len(known)]
        for row in known:
            signals.extend(self._ledger.sell(row, now.mono_us))
        if gtin and len(known) < quantity:
            self._ledger.credit(gtin, quantity - len(known), now.mono_us)
        return signals

    # --- time ------------------------------------------------------------------------------------------------------

    def next_deadline_us(self) -> int | None:
        """When there is something to fold or to judge."""
        if self._judged_us is None:
            return self._pending_since_us if self._pending_rows else None
        period_us = self._period_us()
        if self._pending_rows >= MANY_READS:
            return min(self._pending_since_us + FOLD_US, self._judged_us + period_us)
        return self._judged_us + period_us if self._pending_rows or len(self._table) else None

    def tick(self, now: Instant) -> list[Signal]:
        """Fold what has been collected and judge the tags with news."""
        now_us = now.mono_us
        signals: list[Signal] = []
        judge = self._judged_us is None or now_us - self._judged_us >= self._period_us()
        many = self._pending_rows >= MANY_READS and now_us - self._pending_since_us >= FOLD_US
        if judge or many:
            signals.extend(self._fold(now_us))
        if judge:
            signals.extend(self._judge(now_us))
            self._judged_us = now_us
        return signals

    def _period_us(self) -> int:
        return JUDGE_US // COHORTS if self._table.n_rows > LARGE_STOCK else JUDGE_US

    # --- folding reads into tracks -----------------------------------------------------------------------------------

    def _fold(self, now_us: int) -> Iterator[Signal]:
        """All that is pending, of all readers at once, by width of the EPC."""
        pending, self._pending, self._pending_rows = self._pending, {}, 0
        by_width: dict[int, tuple[list[TagReads], list[NDArray[np.int32]]]] = {}
        for (device, width), batches in pending.items():
            parts = by_width.setdefault(width, ([], []))
            parts[0].extend(batches)
            parts[1].append(self._places.antenna_of(device, _joined([batch.antenna for batch in batches])))
        for batches, by_device in by_width.values():
            antennas = _joined(by_device)
            seen_us = _joined([batch.seen_us for batch in batches])
            epc = _joined([batch.epc for batch in batches])
            rssi_cdbm = _joined([batch.rssi_cdbm for batch in batches])
            count = _joined([batch.count for batch in batches])
            self.counts.reads += len(antennas)
            good = (antennas >= 0) & (seen_us >= now_us - STALE_US)
            if np.count_nonzero(good) < len(good):
                self.counts.unplanned += int((antennas < 0).sum())
                self.counts.stale += int(((antennas >= 0) & ~good).sum())
                epc, antennas, rssi_cdbm, count = epc[good], antennas[good], rssi_cdbm[good], count[good]
            if len(antennas):
                yield from self._fold_columns(epc, antennas, rssi_cdbm, count, now_us)

    def _fold_columns(
        self,
        epc: NDArray[np.uint8],
        antennas: NDArray[np.int32],
        rssi_cdbm: NDArray[np.int16],
        count: NDArray[np.uint16],
        now_us: int,
    ) -> Iterator[Signal]:
        known_rows = self._table.n_rows
        self._activity.count(antennas, count, now_us)
        rows = self._table.add(epc)
        self._tracks.grow(self._table.capacity)
        places = self._places.place_of_antenna[antennas]
        self._tracks.read_us[rows] = now_us
        tracked = self._tracks.tracked.take(rows)
        if np.count_nonzero(tracked) < len(rows) or self._table.n_rows != known_rows:
            yield from self._meet(rows[~tracked], places[~tracked], now_us)
            tracked = self._tracks.tracked[rows] & (rows >= 0)
            self.counts.refused += int((rows < 0).sum())
            self.counts.untracked += int(((rows >= 0) & ~tracked).sum())
            rows, places, rssi_cdbm, count = rows[tracked], places[tracked], rssi_cdbm[tracked], count[tracked]
        level_dbm = rssi_cdbm.astype(np.float32) * np.float32(0.01)
        self._tracks.fold(rows.astype(np.int64), places, level_dbm, count.astype(np.float32), now_us)

    def _meet(self, rows: NDArray[np.int32], places: NDArray[np.int32], now_us: int) -> Iterator[Signal]:
        """First sight of tags: items are tracked, others counted; the rest of a crowd is met when it is read again."""
        unique, first = distinct_at(rows)
        unique, first = unique[:MEET_AT_ONCE], first[:MEET_AT_ONCE]
        items = []
        for row, place in zip(unique.tolist(), places[first].tolist(), strict=True):
            if row < 0 or row in self._strangers.rows:
                continue
            entry = self._entry(row)
            if entry.gtin in self._site.product_by_gtin:
                self._ledger.entries[row] = entry
                self._tracks.product[row] = self._product.get(entry.gtin, 0)
                items.append(row)
                continue
            told = self._strangers.meet(row, entry.epc, self._ledger.place_id(place), now_us)
            if told is not None:
                yield told
        self._tracks.begin(np.array(items, np.int64), now_us)

    def _entry(self, row: int) -> Entry:
        epc = self._table.epc(row)
        gtin, uri = self._identity_of(epc)
        return Entry(uri or epc.hex(), gtin)

    # --- judging -----------------------------------------------------------------------------------------------------

    def _judge(self, now_us: int) -> Iterator[Signal]:
        tracks, n_rows = self._tracks, self._table.n_rows
        elapsed_us = now_us - (now_us if self._judged_us is None else self._judged_us)
        if elapsed_us > ASLEEP_US:
            tracks.slept(elapsed_us, now_us)
        large = n_rows > LARGE_STOCK
        turns = COHORTS if large else TOGETHER_EVERY
        self._turn = (self._turn + 1) % turns
        if self._turn == 0:
            said = tracks.said[:n_rows]
            self._activity.update(now_us, np.bincount(said[said >= 0], minlength=len(self._places)))
            tracks.usual.settle(elapsed_us * turns / US_PER_S)
            yield from self._sources_changed(now_us)
            yield from self._look_misplaced(now_us)
        if large:
            rows = tracks.due(n_rows, now_us, slice(self._turn, None, COHORTS), REST_US)
        elif self._turn == 0:  # few tags cost less than the calls: all that rest are looked at together
            rows = tracks.due(n_rows, now_us, slice(None), 0)
        else:
            rows = tracks.restless(n_rows, now_us)
        if len(rows):
            verdicts = tracks.step(rows, now_us, self._activity.blind, self._activity.log_activity)
            yield from self._settle(verdicts, now_us)
        if self._aged_us is None or now_us - self._aged_us >= AGE_EVERY_US:
            self._aged_us = now_us
            self._age(now_us)

    def _settle(self, verdicts: Verdicts, now_us: int) -> Iterator[Signal]:
        changed, drifted, told = self._tracks.accept(verdicts, now_us, self._activity.blind)
        rows = verdicts.rows
        for index in changed.tolist():
            place = int(verdicts.place[index])
            yield from self._ledger.settle(int(rows[index]), place, float(told[index]), now_us)
        for index in drifted.tolist():
            entry = self._ledger.entries[int(rows[index])]
            if entry.state in HERE:
                yield self._ledger.belief(entry, float(told[index]), now_us)

    def _look_misplaced(self, now_us: int) -> Iterator[Signal]:
        for row in self._ledger.watched(now_us):
            slots = self._tracks.slot_place[row] == self._tracks.said[row]
            probability = float(self._tracks.alpha[row, :K][slots].sum())
            yield from self._ledger.look(row, probability, now_us)

    def _sources_changed(self, now_us: int) -> list[Signal]:
        """Tell which places became blind or can be believed again."""
        activity, signals = self._activity, list[Signal]()
        activity.find_blind()
        blind = activity.blind[:-1]
        self._blind_since_us[~blind] = now_us
        if not blind.any() and not self._unhealthy:
            return signals
        for place in range(len(self._places)):
            down = bool(blind[place])
            if down and place not in self._unhealthy:
                cause = activity.cause(place)
                if now_us - self._blind_since_us[place] >= _patience_us(cause):
                    self._unhealthy[place] = cause
                    signals.extend(self._tell_place(place, now_us, known=False))
            elif not down and place in self._unhealthy:
                del self._unhealthy[place]
                signals.extend(self._tell_place(place, now_us, known=True))
        return signals

    def _tell_place(self, place: int, now_us: int, *, known: bool) -> Iterator[Signal]:
        where = self._places.all[place]
        yield PlaceHealth(now_us, where.id, "rfid", known, self._unhealthy.get(place, ""))
        for row in np.flatnonzero(self._tracks.said[: self._table.n_rows] == place).tolist():
            entry = self._ledger.entries[row]
            if entry.state in HERE:
                yield self._ledger.belief(entry, entry.probability, now_us, known=known)

    def _age(self, now_us: int) -> None:
        """Forget tags that left long ago, and strangers beyond the room there is for them."""
        old = self._ledger.forgettable(now_us, self.retention)
        for row in old:
            self._ledger.forget(row)
        old += self._strangers.surplus(self._tracks.read_us)
        if old:
            rows = np.array(old, np.int64)
            self._tracks.tracked[rows] = False
            self._tracks.said[rows] = NOWHERE
            self._table.drop(rows)

    def before_mirror(self, zone: str) -> list[str]:
        """GTINs of what is before the fitting-room antennas of a zone, first come first; one entry a tag."""
        return [entry.gtin for entry in self._ledger.in_front(AntennaRole.FITTING, zone) if entry.gtin]

    def antenna_rows(self) -> list[dict[str, JsonValue]]:
        """Each antenna with its read rate against its own history, for people."""
        activity = self._activity
        return [
            {
                "device": antenna.device,
                "port": antenna.port,
                "place": self._places.all[antenna.place].id,
                "role": self._places.all[antenna.place].role.value,
                "state": activity.state(index).value,
                "reads_per_s": round(float(activity.short[index]), 2),
                "usual_reads_per_s": round(float(activity.long[index]), 2),
            }
            for index, antenna in enumerate(self._places.antennas)
        ]

    def status(self) -> dict[str, JsonValue]:
        """For people: antennas, tags, strangers, counts of reads."""
        present = sum(entry.state in HERE for entry in self._ledger.entries.values())
        last: list[JsonValue] = [{"epc": epc, "place": place} for epc, place in self._strangers.last]
        return {
            "profile": self.profile.name,
            "antennas": [*self.antenna_rows()],
            "tags": {"present": present, "known": len(self._ledger.entries), "rows": len(self._table)},
            "strangers": {"total": self._strangers.total, "last": last},
            "reads": dict(asdict(self.counts)),
        }

    # --- restart -----------------------------------------------------------------------------------------------------

    def drain_said(self) -> Said:
        """Changed tags: hex EPC → [place, role, state, since_us, sold_us, home shelf of an open misplacement]."""
        said = self._ledger.drain()
        if self._strangers.told:
            said[STRANGERS_KEY] = self._strangers.total
            self._strangers.told = 0
        return said

    def restore(self, said: Mapping[str, JsonValue], now: Instant) -> None:
        """Every tag is where it was said to be, until its antenna has been heard again and says otherwise."""
        for key, value in said.items():
            if key == STRANGERS_KEY:
                self._strangers.total = int(str(value))
            elif isinstance(value, list):
                self._restore_tag(bytes.fromhex(key), value, now.mono_us)

    def _restore_tag(self, epc: bytes, value: list[JsonValue], now_us: int) -> None:
        row = int(self._table.add(np.frombuffer(epc, np.uint8)[None])[0])
        if row < 0:
            return
        self._tracks.grow(self._table.capacity)
        self._tracks.begin(np.array([row]), now_us)
        entry = self._entry(row)
        self._tracks.product[row] = self._product.get(entry.gtin, 0)
        self._ledger.take_back(row, entry, value)
        if entry.state in HERE and entry.place != NOWHERE:
            self._tracks.assume(row, entry.place, now_us)
            entry.probability = float(self._tracks.alpha[row, 0])

    def internals(self) -> JsonValue:
        """Filter internals: what is usual at each place, and what is known and remembered of each tag."""
        return memory.save(self._places, self._table, self._tracks, self._activity)

    def restore_internals(self, internals: JsonValue) -> None:
        """Take back what `internals` gave; anything else is ignored."""
        memory.load(internals, self._places, self._table, self._tracks, self._activity)

    def replan(self, site: Site, now: Instant) -> list[Signal]:
        """Use a new planogram; tags whose place is no more depart with the reason "replanned"."""
        places = Places(site)
        renumbered = memory.renumber(self._places, places)
        signals: list[Signal] = []
        for row, entry in self._ledger.entries.items():
            if entry.place != NOWHERE and renumbered[entry.place] == NOWHERE and entry.state in HERE:
                signals.extend(self._ledger.lose(row, now.mono_us))
                self._tracks.begin(np.array([row], np.int64), now.mono_us)
        self._tracks.renumber(renumbered, len(places))
        self._ledger.replan(site, places, renumbered, now.mono_us)
        activity = Activity(places)
        memory.carry_over(self._activity, activity, self._places, places)
        self._site, self._places, self._activity = site, places, activity
        self._learn_plan()
        self._unhealthy = {int(renumbered[p]): c for p, c in self._unhealthy.items() if renumbered[p] != NOWHERE}
        self._blind_since_us = np.full(len(places), now.mono_us, np.int64)
        return signals

    def _learn_plan(self) -> None:
        """What the planogram says of products and places, in the form that the tracks use."""
        self._product, self._tracks.homes = home_table(self._site, self._places)
        self._tracks.exits = self._places.is_exit
        for row, entry in self._ledger.entries.items():
            self._tracks.product[row] = self._product.get(entry.gtin, 0)


def _joined(columns: list[NDArray[Scalar]]) -> NDArray[Scalar]:
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def _patience_us(cause: str) -> int:
    return {AntennaState.SILENT.value: HEALTH_DWELL_US, AntennaState.UNHEARD.value: UNHEARD_US}.get(cause, 0)
