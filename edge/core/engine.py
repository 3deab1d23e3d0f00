"""The engine: observations in, facts out. Pure and deterministic; the same one runs live, in replay and in simulation.

It owns the parts and the ways between them, nothing else::

    TagReads ──▶ presence ─┐                      ┌──▶ reorder
    CellSamples ▶ shelves ─┼─ evidence ▶ inventory ┼──▶ holds
    Advert ────▶ proximity ┘             │         └──▶ promotions
    DoorCrossing ▶ footfall ◀── picks ───┴▶ conversions
    DeviceStatus, SensorReading ▶ fleet (and every part that believes the device)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from edge.core.conversion import Conversions
from edge.core.errors import CommandRejected
from edge.core.fact import Fact, JsonValue
from edge.core.facts import ItemPicked, ItemSold, OnHandChanged
from edge.core.fleet import Fleet
from edge.core.footfall import Footfall
from edge.core.holds import Holds
from edge.core.instant import Instant
from edge.core.inventory import Inventory
from edge.core.observation import (
    RESTING,
    Advert,
    AntennaStatus,
    CellSamples,
    DeviceIdentity,
    DeviceState,
    DeviceStatus,
    DoorCrossing,
    Frames,
    Observation,
    SensorReading,
    TagReads,
)
from edge.core.part import Commanded, Part, Replanned, Said, Signal, earliest
from edge.core.ports import Command
from edge.core.presence import Presence
from edge.core.promotion import Promotions
from edge.core.proximity import Proximity
from edge.core.reorder import Reorder
from edge.core.shelf import Shelves
from edge.core.site import Site


@dataclass(frozen=True, slots=True)
class Parts:
    """The rooms of the engine, made by the composition root."""

    presence: Presence
    shelves: Shelves
    inventory: Inventory
    holds: Holds
    reorder: Reorder
    proximity: Proximity
    promotions: Promotions
    footfall: Footfall
    conversions: Conversions
    fleet: Fleet

    def named(self) -> dict[str, Part]:
        """Every part by the name under which its state is kept."""
        return {name: cast("Part", getattr(self, name)) for name in self.__slots__}


class Engine:
    """The parts of one store, and the ways between them."""

    def __init__(self, site: Site, parts: Parts) -> None:
        self.site, self.parts = site, parts
        self._named = parts.named()
        self._commanded = {
            name: part for part in self._named.values() for name in getattr(part, "COMMANDS", frozenset())
        }
        self._readers = frozenset(reader.device for reader in site.readers)
        self._catalogued = parts.inventory.site
        self._touched: dict[str, Instant] = {}  # documents that the last steps changed, in order
        self._now = Instant(0, 0)  # of the last step

    # --- in ---------------------------------------------------------------------------------------------------------

    def handle(self, observation: Observation, now: Instant) -> list[Fact]:
        """Facts that follow from one observation. Frames go to the Inference port, never here."""
        return self._route(self._observe(observation, now), now)

    def _observe(self, observation: Observation, now: Instant) -> Iterable[Signal]:
        parts = self.parts
        match observation:
            case TagReads():
                return parts.presence.observe(observation, now)
            case CellSamples():
                return parts.shelves.observe(observation, now)
            case Advert():
                return parts.proximity.heard(observation, now)
            case DoorCrossing():
                return parts.footfall.crossed(observation, now)
            case SensorReading():
                return self._readings(observation)
            case AntennaStatus():
                return parts.presence.antenna_status(observation, now)
            case DeviceStatus():
                return self._device_status(observation, now)
            case DeviceIdentity():
                self._touched[f"device/{observation.device_id}"] = now
                return parts.fleet.identity(observation)
            case Frames():
                raise TypeError("frames go to the Inference port; the engine takes the crossings found in them")

    def _readings(self, reading: SensorReading) -> list[Signal]:
        """What beacons measured goes to the fleet under their own names; a stranger's sensor is nobody's."""
        known = self.parts.proximity.reading(reading)
        return [signal for one in known for signal in self.parts.fleet.reading(one)]

    def _device_status(self, status: DeviceStatus, now: Instant) -> list[Signal]:
        """Every part that believes this device hears how it is."""
        parts = self.parts
        signals = list(parts.fleet.status(status))
        self._touched[f"device/{status.device_id}"] = now
        up = status.state is not DeviceState.OFFLINE and status.cause != RESTING
        if status.device_id in self._readers:
            signals += parts.presence.reader_status(status.device_id, up, now)
        signals += parts.shelves.device_status(status, now)
        signals += parts.footfall.status(status, now)
        return signals

    def tick(self, now: Instant) -> list[Fact]:
        """Do what has become due in every part."""
        facts: list[Fact] = []
        for part in self._named.values():
            due_us = part.next_deadline_us()
            if due_us is not None and due_us <= now.mono_us:
                facts += self._route(part.tick(now), now)
        return facts

    def next_deadline(self) -> int | None:
        """Engine time at which `tick` has something to do, None for never."""
        return earliest(*(part.next_deadline_us() for part in self._named.values()))

    def execute(self, command: Command, now: Instant) -> list[Fact]:
        """Carry out a command. Raises CommandRejected and then has changed nothing."""
        part = self._commanded.get(command.name)
        if part is None:
            known = ", ".join(sorted(self._commanded))
            raise CommandRejected("unknown_command", f"name = {command.name!r}: expected one of {known}")
        facts = self._route(cast("Commanded", part).execute(command, now), now)
        if command.name == "erase_subject":  # the keys follow; where this person walks is not said from now on
            self.parts.proximity.forget(str(command.args["subject_id"]))
        if self.parts.inventory.site is not self._catalogued:  # set_catalogue: unit masses, names, tags for every part
            facts += self.replan(self.parts.inventory.site, now)
        return facts

    @property
    def commands(self) -> frozenset[str]:
        """Names of the commands that the parts carry out."""
        return frozenset(self._commanded)

    def replan(self, site: Site, now: Instant) -> list[Fact]:
        """Use another planogram from now on."""
        self.site = site
        self._readers = frozenset(reader.device for reader in site.readers)
        facts: list[Fact] = []
        for part in self._named.values():
            if hasattr(part, "replan"):
                facts += self._route(cast("Replanned", part).replan(site, now), now)
        for door in site.doors:  # a door that is new to the planogram may have been online for long
            state = DeviceState(self.parts.fleet.state_of(door.device) or DeviceState.OFFLINE)
            facts += self._route(self.parts.footfall.status(DeviceStatus(door.device, now.mono_us, state), now), now)
        self._catalogued = self.parts.inventory.site
        return facts

    # --- the ways between the parts -----------------------------------------------------------------------------------

    def _route(self, signals: Iterable[Signal], now: Instant) -> list[Fact]:
        """Lead signals onward until only facts are left; evidence ends in the inventory."""
        self._now = now
        facts: list[Fact] = []
        batch = list(signals)
        while batch:
            following = self.parts.inventory.handle_all(batch, now)
            told = [signal for signal in (*batch, *following) if isinstance(signal, Fact)]
            facts += told
            batch = self._follow(told, now)
        return facts

    def _follow(self, facts: list[Fact], now: Instant) -> list[Signal]:
        """What facts lead to in the parts behind (and, for sales, before) the inventory."""
        parts = self.parts
        signals: list[Signal] = list(parts.reorder.handle_all(facts, now)) if facts else []
        for fact in facts:
            parts.conversions.follow(fact, now)
            if isinstance(fact, OnHandChanged):
                parts.promotions.stock(fact)
            elif isinstance(fact, ItemPicked):
                parts.footfall.picked(fact.quantity)
            elif isinstance(fact, ItemSold):
                signals += parts.presence.sold(fact.gtin, fact.quantity, now)
            if gtin := getattr(fact, "gtin", ""):
                self._touched[f"stock/{gtin}"] = now
        return signals

    # --- state --------------------------------------------------------------------------------------------------------

    def drain_said(self) -> Said:
        """Entries of the said state that changed, as ``part/key``."""
        said: Said = {}
        for name, part in self._named.items():
            for key, value in part.drain_said().items():
                said[f"{name}/{key}"] = value
        return said

    def drain_documents(self) -> dict[str, JsonValue]:
        """Retained documents that changed: topic suffix → document."""
        touched, self._touched = self._touched, {}
        touched |= {f"offers/{zone}": self._now for zone in sorted(self.parts.promotions.drain_changed())}
        return {suffix: self._document(suffix, now) for suffix, now in touched.items()}

    def all_documents(self, now: Instant) -> dict[str, JsonValue]:
        """Every document, for a start."""
        suffixes = [f"stock/{gtin}" for gtin in self.site.product_by_gtin]
        suffixes += [f"device/{device_id}" for device_id in self.parts.fleet.device_ids()]
        suffixes += [f"offers/{zone}" for zone in sorted(self.parts.promotions.zones())]
        return {suffix: self._document(suffix, now) for suffix in suffixes}

    def _document(self, suffix: str, now: Instant) -> JsonValue:
        kind, _, key = suffix.partition("/")
        if kind == "offers":
            return self.parts.promotions.document(key, now)
        if kind == "device":
            return cast("JsonValue", self.parts.fleet.document(key))
        return cast("JsonValue", self.parts.inventory.stock_document(key, now))

    def snapshot(self) -> dict[str, JsonValue]:
        """Filter internals of every part, by its name."""
        return {name: internals for name, part in self._named.items() if (internals := part.internals()) is not None}

    def restore(self, said: Mapping[str, JsonValue], internals: Mapping[str, JsonValue], now: Instant) -> None:
        """Take back what `drain_said` (all of it, merged) and `snapshot` gave."""
        by_part: dict[str, dict[str, JsonValue]] = {name: {} for name in self._named}
        for path, value in said.items():
            name, _, key = path.partition("/")
            by_part.setdefault(name, {})[key] = value
        for name, part in self._named.items():
            part.restore(by_part[name], now)
            if name in internals:
                part.restore_internals(internals[name])
        if self.parts.inventory.site is not self._catalogued:  # products that set_catalogue had brought
            self.replan(self.parts.inventory.site, now)
