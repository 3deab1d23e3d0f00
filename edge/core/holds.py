"""Holds: stock reserved for a customer until a time, from placed over picked to collected, released or expired.

Available to promise = max(0, P10(on hand) - held and not yet picked - buffer). A picked hold has left the shelf, so the
count fell when it was picked and the hold no longer lowers what can be promised.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from edge.core.arguments import check_gtin, check_quantity, check_text, parse, refused
from edge.core.errors import CommandRejected
from edge.core.fact import JsonValue
from edge.core.facts import HoldCollected, HoldExpired, HoldPicked, HoldPlaced, HoldReleased
from edge.core.instant import US_PER_DAY, US_PER_MIN, Instant
from edge.core.inventory.inbox import Entry, Inbox
from edge.core.part import Said, Signal
from edge.core.plain import build
from edge.core.ports import Command
from edge.core.site import Site

REMEMBER_US = 7 * US_PER_DAY  # a closed hold still answers a repeated command
LONGEST_MIN = 30 * 24 * 60
DEFAULT_MIN = 120


class Pickup(StrEnum):
    """How the customer gets the goods."""

    COUNTER = "counter"
    LOCKER = "locker"
    DRIVE_THROUGH = "drive_through"
    SHIP = "ship"


class State(StrEnum):
    """Where a hold is in its life."""

    PLACED = "placed"
    PICKED = "picked"
    COLLECTED = "collected"
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold; expires_us is engine time."""

    id: str
    gtin: str
    quantity: int
    pickup: Pickup
    expires_us: int
    state: State
    order: str = ""
    changed_us: int = 0

    @property
    def is_open(self) -> bool:
        """Whether somebody still waits for it."""
        return self.state in (State.PLACED, State.PICKED)


@dataclass(frozen=True, slots=True)
class PlaceArgs:
    """place_hold."""

    hold: str
    gtin: str
    quantity: int = 1
    pickup: Pickup = Pickup.COUNTER
    expires_min: float = DEFAULT_MIN
    order: str = ""


@dataclass(frozen=True, slots=True)
class HoldArgs:
    """pick_hold, collect_hold, release_hold."""

    hold: str
    reason: str = ""


class Stock(Protocol):
    """What holds need of the inventory."""

    promises: Promised | None
    inbox: Inbox

    @property
    def site(self) -> Site:
        """The planogram with the present catalogue."""
        ...

    def at_least(self, gtin: str, now_us: int, risk: float = 0.1) -> int:
        """The count that is there but for this risk."""
        ...

    def fetched(self, gtin: str, quantity: int, now: Instant, reference: str) -> list[Signal]:
        """Staff fetched goods from the shelves."""
        ...


class Promised(Protocol):
    """How the inventory asks back."""

    def available_to_promise(self, gtin: str, now_us: int) -> int:
        """Items that may still be promised."""
        ...

    def open_quantity(self, gtin: str) -> int:
        """Items held and not yet picked."""
        ...


class Holds:
    """The holds part. `buffer` items a product are never promised (settings; `buffers` by product)."""

    COMMANDS: ClassVar[frozenset[str]] = frozenset({"place_hold", "pick_hold", "collect_hold", "release_hold"})

    def __init__(self, stock: Stock, buffer: int = 0, buffers: Mapping[str, int] | None = None) -> None:
        self._stock, self._buffer, self._buffers = stock, buffer, dict(buffers or {})
        self._holds: dict[str, Hold] = {}
        self._held: dict[str, int] = {}
        self._changed: set[str] = set()
        self._done: dict[str, int] = {}
        stock.promises = self

    # --- what can be promised -----------------------------------------------------------------------------------------

    def available_to_promise(self, gtin: str, now_us: int) -> int:
        """max(0, P10(on hand) - held and not yet picked - buffer), in items."""
        buffer = self._buffers.get(gtin, self._buffer)
        return max(0, self._stock.at_least(gtin, now_us) - self.open_quantity(gtin) - buffer)

    def open_quantity(self, gtin: str) -> int:
        """Items of a product that are held and still on the shelf."""
        return self._held.get(gtin, 0)

    def holds(self) -> list[Hold]:
        """All holds that are open or were closed within 7 days."""
        return list(self._holds.values())

    # --- commands -----------------------------------------------------------------------------------------------------

    def execute(self, command: Command, now: Instant) -> list[Signal]:
        """Carry out a command; the same command again does nothing. Raises CommandRejected and then changed nothing."""
        if command.id in self._done:
            return []
        if command.name == "place_hold":
            out = self._place(command, now)
        else:
            args = parse(HoldArgs, command)
            hold = self._holds.get(args.hold)
            if hold is None:
                raise CommandRejected("unknown_hold", f"{command.name}: hold = {args.hold!r}: expected an open hold")
            action = {"pick_hold": self._pick, "collect_hold": self._collect, "release_hold": self._release}
            out = action[command.name](command, hold, args.reason, now)
        self._done[command.id] = now.mono_us
        self._changed.add(f"c/{command.id}")
        return out

    def _place(self, command: Command, now: Instant) -> list[Signal]:
        args = parse(PlaceArgs, command)
        check_text(command, "hold", args.hold)
        gtin = check_gtin(command, "gtin", args.gtin)
        if gtin not in self._stock.site.product_by_gtin:
            text = f"place_hold: gtin = {args.gtin!r}: expected a GTIN of the catalogue"
            raise CommandRejected("unknown_gtin", text)
        check_quantity(command, "quantity", args.quantity)
        if not 0 < args.expires_min <= LONGEST_MIN:
            raise refused(command, "expires_min", args.expires_min, f"minutes above 0, at most {LONGEST_MIN}")
        if args.hold in self._holds:
            text = f"place_hold: hold = {args.hold!r}: expected an id that no other hold has"
            raise CommandRejected("known_hold", text)
        available = self.available_to_promise(gtin, now.mono_us)
        if args.quantity > available:
            text = f"place_hold: quantity = {args.quantity}: expected at most {available}, what can be promised now"
            raise CommandRejected("not_enough_stock", text)
        expires_us = now.mono_us + round(args.expires_min * US_PER_MIN)
        placed = State.PLACED
        self._keep(Hold(args.hold, gtin, args.quantity, args.pickup, expires_us, placed, args.order, now.mono_us))
        return [
            HoldPlaced(
                at_us=now.mono_us,
                hold=args.hold,
                gtin=gtin,
                quantity=args.quantity,
                pickup=args.pickup.value,
                expires_us=now.wall_at(expires_us),
                order=args.order,
            )
        ]

    def _pick(self, command: Command, hold: Hold, _reason: str, now: Instant) -> list[Signal]:
        self._expect(command, hold, State.PLACED)
        self._become(hold, State.PICKED, now)
        told: list[Signal] = [
            HoldPicked(at_us=now.mono_us, hold=hold.id, gtin=hold.gtin, quantity=hold.quantity),
        ]
        return told + self._stock.fetched(hold.gtin, hold.quantity, now, hold.id)

    def _collect(self, command: Command, hold: Hold, _reason: str, now: Instant) -> list[Signal]:
        self._expect(command, hold, State.PICKED)
        self._become(hold, State.COLLECTED, now)
        return [HoldCollected(at_us=now.mono_us, hold=hold.id, gtin=hold.gtin, quantity=hold.quantity)]

    def _release(self, command: Command, hold: Hold, reason: str, now: Instant) -> list[Signal]:
        self._expect(command, hold, State.PLACED, State.PICKED)
        picked = hold.state is State.PICKED
        self._become(hold, State.RELEASED, now)
        self._ask_to_put_back(hold, picked, now)
        return [
            HoldReleased(
                at_us=now.mono_us,
                hold=hold.id,
                gtin=hold.gtin,
                quantity=hold.quantity,
                reason=reason or f"by {command.actor}",
                picked=picked,
            )
        ]

    @staticmethod
    def _expect(command: Command, hold: Hold, *states: State) -> None:
        if hold.state not in states:
            wanted = " or ".join(states)
            text = f"{command.name}: hold {hold.id} is {hold.state}: expected one that is {wanted}"
            raise CommandRejected("wrong_state", text)

    # --- the book of holds --------------------------------------------------------------------------------------------

    def _keep(self, hold: Hold) -> None:
        before = self._holds.get(hold.id)
        for one, sign in ((before, -1), (hold, 1)):
            if one is not None and one.state is State.PLACED:
                self._held[one.gtin] = self._held.get(one.gtin, 0) + sign * one.quantity
        self._holds[hold.id] = hold
        self._changed.add(f"h/{hold.id}")

    def _become(self, hold: Hold, state: State, now: Instant) -> None:
        self._keep(dataclasses.replace(hold, state=state, changed_us=now.mono_us))
        if state in (State.COLLECTED, State.RELEASED):
            self._stock.inbox.resolve(f"put-back-{hold.id}")

    def _ask_to_put_back(self, hold: Hold, picked: bool, now: Instant) -> None:
        if picked:
            text = f"hold {hold.id} is over: put {hold.quantity} of {hold.gtin} back on the shelf"
            self._stock.inbox.raise_(Entry(f"put-back-{hold.id}", "put_back", text, now.mono_us, hold.gtin))

    def tick(self, now: Instant) -> list[Signal]:
        """Let holds expire and forget what was closed long ago."""
        out: list[Signal] = []
        for hold in list(self._holds.values()):
            if hold.is_open and now.mono_us >= hold.expires_us:
                picked = hold.state is State.PICKED
                self._become(hold, State.EXPIRED, now)
                self._ask_to_put_back(hold, picked, now)
                out.append(
                    HoldExpired(at_us=now.mono_us, hold=hold.id, gtin=hold.gtin, quantity=hold.quantity, picked=picked)
                )
            elif not hold.is_open and now.mono_us >= hold.changed_us + REMEMBER_US:
                del self._holds[hold.id]
                self._changed.add(f"h/{hold.id}")
        for command_id in [key for key, at_us in self._done.items() if now.mono_us >= at_us + REMEMBER_US]:
            del self._done[command_id]
            self._changed.add(f"c/{command_id}")
        return out

    def next_deadline_us(self) -> int | None:
        """When the next hold expires or is forgotten."""
        return min(self._deadlines(), default=None)

    def _deadlines(self) -> Iterable[int]:
        for hold in self._holds.values():
            yield hold.expires_us if hold.is_open else hold.changed_us + REMEMBER_US

    # --- restarts -----------------------------------------------------------------------------------------------------

    def drain_said(self) -> Said:
        """Changed holds ``h/{id}`` and remembered commands ``c/{id}``."""
        out: Said = {}
        for key in sorted(self._changed):
            name = key[2:]
            if key.startswith("c/"):
                out[key] = self._done.get(name)
            else:
                hold = self._holds.get(name)
                out[key] = dataclasses.asdict(hold) if hold else None
        self._changed.clear()
        return out

    def restore(self, said: Mapping[str, JsonValue], now: Instant) -> None:
        """Take back all holds; one whose time passed meanwhile expires at the next tick."""
        for key, value in said.items():
            if key.startswith("c/") and isinstance(value, int):
                self._done[key[2:]] = value
            elif key.startswith("h/") and isinstance(value, dict):
                self._keep(build(Hold, value))
        self._changed.clear()

    def internals(self) -> JsonValue:
        """Holds have no filter internals."""
        return None

    def restore_internals(self, internals: JsonValue) -> None:
        """Holds have no filter internals."""
