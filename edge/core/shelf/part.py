"""The weight part of the engine: cell samples in, `LaneStep`, `LaneLevel`, `PlaceHealth` and picks and put-backs out.

A change is told once a lane rests again. What is laid on needs a little longer than what is taken, because hands lean;
what matches nothing is held back until it goes away (a hand) or has stayed for 20 s (something foreign).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import CommandRejected
from edge.core.fact import JsonValue
from edge.core.instant import US_PER_HOUR, US_PER_MIN, US_PER_S, Instant
from edge.core.observation import CellSamples, DeviceState, DeviceStatus
from edge.core.part import Said, Signal
from edge.core.ports import Command
from edge.core.shelf.calibration import Calibration, CellKey, given, spanned, tared
from edge.core.shelf.controller import Controller, Plateau, Wiring
from edge.core.shelf.decode import FOREIGN, Decoded, Items, Verdict
from edge.core.shelf.diagnostics import CellFault, CellReport, CellWatch
from edge.core.shelf.hands import Hands
from edge.core.shelf.lane import FACT_CONFIDENCE, LaneState, make_lane
from edge.core.shelf.places import Places
from edge.core.shelf.thermal import Thermal
from edge.core.site import Lane, Site

SILENT_US: Final = 15 * US_PER_S  # as the drivers' own patience
PUT_REST_US: Final = 750_000
ODD_REST_US: Final = 1_100_000  # several units at once that nobody carries, a doubtful mixture taken: rather a hand
DOUBTFUL_PUT_REST_US: Final = 2_000_000
DOUBTFUL: Final = 0.95
UNSURE_REST_US: Final = 2_500_000  # no fact comes of it, so it may wait until the hand is surely gone
FOREIGN_REST_US: Final = 20 * US_PER_S
LEVEL_US: Final = US_PER_HOUR
NOISE_SHARE: Final = 0.3  # of the lightest unit: beyond, its steps drown


@dataclass(slots=True)
class _Device:
    """One controller with the lanes it carries."""

    controller: Controller
    lanes: list[LaneState]
    watch: CellWatch
    last_us: int = 0
    silent: bool = False
    temperature_c: float | None = None
    thermal: list[Thermal] = field(default_factory=list)
    noise_limits_g: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    verdict: tuple[tuple[CellFault, ...], tuple[int, ...]] = ((), ())
    slow_due_us: int = 0


@dataclass(frozen=True, slots=True)
class _Rested:
    """A lane's level before a restart, waiting for its device's first samples."""

    level_g: float
    at_us: int
    temperature_c: float | None = None
    thermal: Thermal | None = None


class Shelves:
    """Part of the engine. Calibrations come from the settings, from commands, or from what was said before."""

    COMMANDS: ClassVar[frozenset[str]] = frozenset({"tare_lane", "span_lane", "set_calibrations"})

    def __init__(self, site: Site, calibrations: Mapping[CellKey, Calibration]) -> None:
        self._site = site
        self._calibrations = dict(calibrations)
        self._devices: dict[str, _Device] = {}
        self._hands = Hands()
        self._places = Places()
        self._rested: dict[str, _Rested] = {}
        self._dirty: Said = {}
        self._plan(site)

    def _plan(self, site: Site) -> None:
        self._lanes = {lane.id: self._make(lane, site) for lane in site.lanes}
        self._by_device: dict[str, list[Lane]] = {}
        for lane in site.lanes:
            for device in {cell.device for cell in lane.cells}:
                self._by_device.setdefault(device, []).append(lane)
        self._places.plan(site.lanes)

    def _make(self, lane: Lane, site: Site) -> LaneState:
        return make_lane(lane, site.product_by_gtin)

    # --- for people ---------------------------------------------------------------------------------------------------

    def count(self, lane_id: str) -> int | None:
        """Believed units of a one-product lane; None for others and before it was weighed."""
        return self._lanes[lane_id].count

    def level_g(self, lane_id: str) -> float | None:
        """Settled grams on a lane above its zero, None before it has rested."""
        for device in self._devices.values():
            for index, state in enumerate(device.lanes):
                level_g = float(device.controller.level_g[index])
                if state.lane.id == lane_id and not math.isnan(level_g):
                    return level_g - state.zero_drift_g - device.controller.drifted_g(index)
        return None

    def cells(self, device_id: str) -> tuple[CellReport, ...]:
        """How the cells of a device are; () before its first sample."""
        device = self._devices.get(device_id)
        return device.watch.report() if device else ()

    def calibrations(self) -> Mapping[CellKey, Calibration]:
        """All calibrations as they are now."""
        return self._calibrations

    # --- samples ------------------------------------------------------------------------------------------------------

    def observe(self, samples: CellSamples, now: Instant) -> list[Signal]:
        """Take samples of one device; what they say, in the order in which it happened."""
        if not len(samples.t_us):
            return []
        device = self._devices.get(samples.device_id)
        if device is None or device.controller.n_cells != samples.counts.shape[1]:
            if samples.device_id not in self._by_device:
                return []
            device = self._devices[samples.device_id] = self._open(samples)
        device.last_us = now.mono_us
        if device.silent:
            self._heard_again(samples.device_id, device)
        if samples.temperature_c is not None:
            device.temperature_c = samples.temperature_c
        signals: list[Signal] = []
        device.controller.feed(samples, lambda plateau: signals.extend(self._rest(device, plateau)))
        if device.watch.take(samples):
            signals += self._judge(samples.device_id, device)
        if self._places.dirty:
            signals += self._places.tell(now.mono_us)
        return signals

    def _heard_again(self, device_id: str, device: _Device) -> None:
        device.silent = False
        for lane in self._by_device[device_id]:
            self._places.mark(lane.id, "silent", "")

    def _open(self, samples: CellSamples) -> _Device:
        """Wire up a device at its first samples: only they tell how many cells it has."""
        device_id, n_cells = samples.device_id, samples.counts.shape[1]
        states: list[LaneState] = []
        wirings: list[Wiring] = []
        for lane in self._by_device[device_id]:
            cause = self._unusable(lane, n_cells)
            self._places.mark(lane.id, "calibration", cause)
            if cause:
                continue
            known = [self._calibrations[cell.device, cell.cell] for cell in lane.cells]
            cells = tuple(cell.cell for cell in lane.cells)
            zeros = tuple(c.zero_counts for c in known)
            wirings.append(Wiring(cells, zeros, tuple(1.0 / c.counts_per_g for c in known)))
            states.append(self._lanes[lane.id])
        device = _Device(Controller(wirings, n_cells), states, CellWatch(n_cells))
        device.noise_limits_g = np.array([NOISE_SHARE * (state.lightest_g or math.inf) for state in states])
        for index, state in enumerate(states):
            state.release()
            rested = self._rested.pop(state.lane.id, None)
            device.thermal.append((rested.thermal if rested else None) or Thermal())
            if rested is not None:
                shift_g, _ = device.thermal[index].shift(rested.temperature_c, samples.temperature_c)
                state.zero_drift_g += shift_g
                device.controller.assume(index, rested.level_g + shift_g, rested.at_us)
        return device

    def _unusable(self, lane: Lane, n_cells: int) -> str:
        """Why a lane cannot be weighed, in words, or ""."""
        if len({cell.device for cell in lane.cells}) > 1:
            return "its cells hang on several controllers: one lane, one controller"
        for cell in lane.cells:
            calibration = self._calibrations.get((cell.device, cell.cell))
            if cell.cell >= n_cells:
                return f"cell {cell.cell} of {cell.device} does not exist: the controller has {n_cells}"
            if calibration is None:
                return f"cell {cell.cell} of {cell.device} is not calibrated: tare and span its lane"
            if not calibration.complete:
                return f"cell {cell.cell} of {cell.device} has a zero and no span: span its lane"
        return ""

    def _judge(self, device_id: str, device: _Device) -> list[Signal]:
        """Every two seconds: which lanes can be believed, by the faults of their cells and their noise."""
        verdict = (device.watch.faults, device.controller.noisy(device.noise_limits_g))
        if verdict != device.verdict:
            device.verdict = verdict
            self._mark(device_id, device, *verdict)
        if device.last_us < device.slow_due_us:
            return []
        device.slow_due_us = device.last_us + US_PER_MIN
        return self._slowly(device)

    def _mark(self, device_id: str, device: _Device, faults: tuple[CellFault, ...], noisy: tuple[int, ...]) -> None:
        for index, state in enumerate(device.lanes):
            cause = ""
            if index in noisy:
                noise_g = device.controller.noise_sd_g(index)
                cause = f"noise of {noise_g:.1f} g drowns units of {state.lightest_g:.1f} g"
            for cell in device.controller.wirings[index].cells:
                if faults[cell] is not CellFault.NONE:
                    cause = f"cell {cell} of {device_id}: {faults[cell].value}"
            self._places.mark(state.lane.id, "cells", cause)

    def _slowly(self, device: _Device) -> list[Signal]:
        """Once a minute: what the temperature does to the zeros; absolute weights that are due."""
        signals: list[Signal] = []
        for index, state in enumerate(device.lanes):
            if device.controller.moving(index):
                continue
            drifted_g = device.controller.drifted_g(index)
            device.thermal[index].rest(device.last_us, device.temperature_c, state.zero_drift_g + drifted_g)
            if state.told_level_us and device.last_us - state.told_level_us >= LEVEL_US:
                level = state.level(float(device.controller.level_g[index]) - drifted_g, device.last_us)
                signals += [] if level is None else [level]
        return signals

    # --- rest ---------------------------------------------------------------------------------------------------------

    def _rest(self, device: _Device, plateau: Plateau) -> list[Signal]:
        """A lane rests: decide what happened since its last rest."""
        state = device.lanes[plateau.lane]
        if math.isnan(plateau.delta_g):
            return self._first(device, state, plateau)
        rested_us = state.hold(plateau)
        in_hands = self._hands.candidates(state.lane.gtins, plateau.until_us) if plateau.delta_g > 0 else ()
        controller = device.controller
        decoded = state.decode(
            plateau, in_hands, lambda: controller.passed(plateau), lambda: controller.reach_g(plateau)
        )
        verdict = decoded.verdict
        if verdict is Verdict.NOTHING:
            # The old level and the new are two measurements of the same load: under vibration neither is exact.
            gain = 1.0 - plateau.var_g2 / plateau.delta_var_g2
            state.zero_drift_g += device.controller.drifted_g(plateau.lane) + gain * plateau.delta_g
            level_g = plateau.level_g - (1.0 - gain) * plateau.delta_g
            self._calm(device, state, replace(plateau, level_g=level_g, var_g2=gain * plateau.var_g2))
            return []
        if rested_us < self._patience_us(decoded, verdict, plateau.delta_g):
            return []
        state.zero_drift_g += device.controller.drifted_g(plateau.lane)
        return self._accept(device, state, plateau, decoded)

    def _patience_us(self, decoded: Decoded, verdict: Verdict, delta_g: float) -> int:
        if verdict is Verdict.ELSE:
            return FOREIGN_REST_US
        items, probability = decoded.best
        doubtful = probability < DOUBTFUL
        if probability < FACT_CONFIDENCE:
            return UNSURE_REST_US
        if delta_g < 0:
            return ODD_REST_US if doubtful and len(items) > 1 else 0
        units = sum(quantity for _, quantity in items)
        if units == 1 or self._hands.carries(items):
            return PUT_REST_US
        return DOUBTFUL_PUT_REST_US if doubtful else ODD_REST_US

    def _first(self, device: _Device, state: LaneState, plateau: Plateau) -> list[Signal]:
        self._calm(device, state, plateau)
        level = state.anchor(plateau.level_g, plateau.until_us)
        self._say(state, plateau)
        return [] if level is None else [level]

    def _accept(self, device: _Device, state: LaneState, plateau: Plateau, decoded: Decoded) -> list[Signal]:
        """Book a change and tell it."""
        sure = decoded.verdict is Verdict.ITEMS
        items: Items = decoded.best[0] if sure else ()
        if not sure and not state.tidied(plateau.level_g) and plateau.delta_g > 0:
            items = ((FOREIGN, 1),)
        signals = state.tell(decoded, plateau, sure=sure)
        state.apply(items, plateau.delta_g)
        self._hand_over(state, items, plateau)
        self._calm(device, state, plateau)
        level = state.anchor(plateau.level_g, plateau.until_us)
        self._say(state, plateau)
        return signals if level is None else [*signals, level]

    def _hand_over(self, state: LaneState, items: Items, plateau: Plateau) -> None:
        """What was taken is carried with its own mass; what was put down is carried no longer."""
        sd_g = plateau.delta_var_g2**0.5
        for gtin, quantity in items:
            if gtin == FOREIGN:
                continue
            if quantity > 0:
                self._hands.put(((gtin, quantity),), plateau.delta_g if len(items) == 1 else 0.0)
            elif len(items) == 1:
                self._hands.picked(gtin, -quantity, -plateau.delta_g, sd_g, plateau.until_us)
            elif (unit := state.unit_of(gtin)) is not None:
                spread_g = sd_g + unit.sd_g * (-quantity) ** 0.5
                self._hands.picked(gtin, -quantity, -quantity * unit.mass_g, spread_g, plateau.until_us)

    def _calm(self, device: _Device, state: LaneState, plateau: Plateau) -> None:
        state.release()
        device.controller.calm(plateau)
        self._places.rested(state.lane.id)

    def _say(self, state: LaneState, plateau: Plateau) -> None:
        self._dirty[f"lane:{state.lane.id}"] = state.said(plateau.level_g, plateau.until_us)

    def device_status(self, status: DeviceStatus, now: Instant) -> list[Signal]:
        """The supervisor lost or found a device: its shelves cannot be believed meanwhile."""
        cause = f"{status.device_id} is offline: {status.cause}" if status.state is DeviceState.OFFLINE else ""
        for lane in self._by_device.get(status.device_id, ()):
            self._places.mark(lane.id, "offline", cause)
        return self._places.tell(now.mono_us)

    # --- Part ---------------------------------------------------------------------------------------------------------

    def tick(self, now: Instant) -> list[Signal]:
        """Notice devices that fell silent."""
        for device_id, device in self._devices.items():
            if not device.silent and now.mono_us - device.last_us >= SILENT_US:
                device.silent = True
                for lane in self._by_device[device_id]:
                    self._places.mark(lane.id, "silent", f"no samples of {device_id} for {SILENT_US // US_PER_S} s")
        return self._places.tell(now.mono_us) if self._places.dirty else []

    def next_deadline_us(self) -> int | None:
        """When the next device would be silent for too long."""
        talking = [device.last_us for device in self._devices.values() if not device.silent]
        return min(talking) + SILENT_US if talking else None

    def drain_said(self) -> Said:
        """Changed entries: ``lane:ID`` and ``cal:DEVICE:CELL``."""
        dirty, self._dirty = self._dirty, {}
        return dirty

    def restore(self, said: Mapping[str, JsonValue], now: Instant) -> None:
        """Take back calibrations made by command, settled grams and counts."""
        del now
        for key, value in said.items():
            row: Any = value
            kind, _, name = key.partition(":")
            if kind == "cal":
                device, _, cell = name.rpartition(":")
                self._calibrations[device, int(cell)] = Calibration(*row)
            elif kind == "lane" and name in self._lanes:
                rested = self._lanes[name].take_back(row)
                self._rested[name] = _Rested(*rested)

    def internals(self) -> JsonValue:
        """Levels as followed since they were last said, with temperature and what was learned of it."""
        lanes: dict[str, JsonValue] = {}
        for device in self._devices.values():
            for index, state in enumerate(device.lanes):
                level_g, thermal = float(device.controller.level_g[index]), device.thermal[index]
                if not math.isnan(level_g) and not device.controller.moving(index):
                    drift_g = state.zero_drift_g + device.controller.drifted_g(index)
                    learned: list[JsonValue] = [thermal.g_per_k, thermal.var]
                    lanes[state.lane.id] = [level_g, device.last_us, device.temperature_c, drift_g, learned]
        return {"lanes": lanes}

    def restore_internals(self, internals: JsonValue) -> None:
        """Take back what `internals` gave, for lanes whose state was said and is not newer."""
        content: Any = internals
        lanes = content.get("lanes", {}) if isinstance(content, dict) else {}
        for name, row in lanes.items():
            rested = self._rested.get(name)
            if rested is None or not isinstance(row, list) or len(row) != 5 or row[1] < rested.at_us:
                continue
            level_g, at_us, temperature_c, drift_g, (g_per_k, var) = row
            self._lanes[name].zero_drift_g = drift_g
            self._rested[name] = _Rested(level_g, at_us, temperature_c, Thermal(g_per_k, var))

    def replan(self, site: Site, now: Instant) -> list[Signal]:
        """Use the new planogram: a lane on the same cells keeps its grams; its products are decoded by the new list."""
        for device_id in list(self._devices):
            self._close(device_id)
        old, self._site = self._lanes, site
        self._plan(site)
        for name, state in self._lanes.items():
            before = old.get(name)
            if before is None or before.lane.cells != state.lane.cells:
                self._rested.pop(name, None)
                continue
            state.zero_drift_g, state.guests = before.zero_drift_g, before.guests
            if before.lane.gtins == state.lane.gtins:
                state.count = before.count
        for name in old.keys() - self._lanes.keys():
            self._dirty[f"lane:{name}"] = None
        return self._places.tell(now.mono_us)

    def _close(self, device_id: str) -> None:
        """Let go of a device, to be wired anew at its next samples; its lanes' levels are kept."""
        device = self._devices.pop(device_id)
        for index, state in enumerate(device.lanes):
            level_g = float(device.controller.level_g[index])
            if not math.isnan(level_g):
                state.zero_drift_g += device.controller.drifted_g(index)
                rest = _Rested(level_g, device.last_us, device.temperature_c, device.thermal[index])
                self._rested[state.lane.id] = rest

    # --- commands -----------------------------------------------------------------------------------------------------

    def execute(self, command: Command, now: Instant) -> list[Signal]:
        """``tare_lane {lane}`` with the lane empty; ``span_lane {lane, mass_g}`` or ``{lane, units}`` with that on it;
        ``set_calibrations {cells}`` with what another gateway measured.

        The lane is weighed anew afterwards. Raises CommandRejected where the load moves or an argument cannot be.
        """
        if command.name == "set_calibrations":
            self._use(given(command.args))
            return self._places.tell(now.mono_us)
        state = self._lanes.get(str(command.args.get("lane")))
        if state is None:
            known = ", ".join(self._lanes) or "none"
            raise CommandRejected("arguments", f"lane = {command.args.get('lane')!r}: expected one of {known}")
        lane = state.lane
        cells = [(cell.device, cell.cell) for cell in lane.cells]
        device_id = cells[0][0]
        counts = self._steady(device_id, [cell for _, cell in cells])
        if command.name == "tare_lane":
            made = tared(cells, counts, self._calibrations, self._devices[device_id].temperature_c)
        else:
            made = spanned(cells, counts, self._calibrations, _load_g(command, state))
        self._use(made)
        return self._places.tell(now.mono_us)

    def _use(self, made: Mapping[CellKey, Calibration]) -> None:
        """Weigh with these from now on; the lanes of their cells begin anew."""
        changed = {key: row for key, row in made.items() if self._calibrations.get(key) != row}
        for device_id in {device for device, _ in changed} & self._devices.keys():
            self._close(device_id)
        self._calibrations.update(changed)
        for (device, cell), row in changed.items():
            self._dirty[f"cal:{device}:{cell}"] = [row.zero_counts, row.counts_per_g, row.temperature_c]
        for lane in self._site.lanes:
            if any((cell.device, cell.cell) in changed for cell in lane.cells):
                self._rested.pop(lane.id, None)
                self._lanes[lane.id] = self._make(lane, self._site)
                self._places.unrest(lane.id)

    def _steady(self, device_id: str, cells: list[int]) -> NDArray[np.float64]:
        device = self._devices.get(device_id)
        if device is None or device.silent:
            raise CommandRejected("no_samples", f"{device_id} sends no samples: connect it first")
        if max(cells) >= device.controller.n_cells:
            detail = f"cell {max(cells)} of {device_id} does not exist: it has {device.controller.n_cells}"
            raise CommandRejected("no_such_cell", detail)
        counts = device.controller.steady_counts(cells)
        if counts is None:
            raise CommandRejected("load_moves", f"the load on {device_id} moves or a cell does not answer: wait")
        return counts


def _load_g(command: Command, state: LaneState) -> float:
    """The mass on the lane that a span_lane names, directly or as a number of units."""
    mass_g, units = command.args.get("mass_g"), command.args.get("units")
    if units is not None:
        if state.single is None:
            raise CommandRejected("arguments", f"units = {units!r}: lane {state.lane.id} has no single unit mass")
        if isinstance(units, bool) or not isinstance(units, int) or units < 1:
            raise CommandRejected("arguments", f"units = {units!r}: expected a whole number from 1")
        return units * state.single.mass_g
    if isinstance(mass_g, bool) or not isinstance(mass_g, int | float):
        raise CommandRejected("arguments", f"mass_g = {mass_g!r}: expected a mass in grams, or units")
    return float(mass_g)
