"""Memory across restarts and planograms: filter internals in a compact, versioned form, and renumbered places."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from edge.core.fact import JsonValue
from edge.core.presence.activity import Activity
from edge.core.presence.own import N_SUMS
from edge.core.presence.places import NOWHERE, Places
from edge.core.presence.table import TagTable
from edge.core.presence.tracks import C, K, Tracks

VERSION = 3
MAX_SAVED = 50_000  # tags; about 400 bytes each, every 10 minutes
STEPS = 127  # the scorer's memory lies between -1 and 1; steps of a hundredth do


def renumber(old: Places, new: Places) -> NDArray[np.int32]:
    """New index of each old place (old places + 1,), NOWHERE where it is no more; the last entry maps NOWHERE."""
    return np.array([new.find(place.id, place.role.value) for place in old.all] + [NOWHERE], np.int32)


def carry_over(old: Activity, new: Activity, old_places: Places, new_places: Places) -> None:
    """What is known of antennas that stay."""
    index = {(a.device, a.port): i for i, a in enumerate(old_places.antennas)}
    for i, antenna in enumerate(new_places.antennas):
        was = index.get((antenna.device, antenna.port))
        if was is not None:
            for name in ("short", "long", "heard_s", "last_read_us", "connected", "reader_up", "silent"):
                getattr(new, name)[i] = getattr(old, name)[was]
    new.find_blind()


def _text(column: NDArray[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(column).tobytes()).decode()


def _column(text: object, dtype: str, *shape: int) -> NDArray[np.generic]:
    return np.frombuffer(base64.b64decode(str(text)), dtype).reshape(shape)


def save(places: Places, table: TagTable, tracks: Tracks, activity: Activity) -> JsonValue:
    """Places by id and role, antennas' usual read rates, and for each tag its slots with running rates, levels and
    the scorer's memory, and what is usual of itself."""
    rows = np.flatnonzero(tracks.tracked[: table.n_rows] & (tracks.said[: table.n_rows] >= 0))[:MAX_SAVED]
    return {
        "version": VERSION,
        "places": [[place.id, place.role.value] for place in places.all],
        "antennas": [[a.device, a.port, float(activity.long[i])] for i, a in enumerate(places.antennas)],
        "usual": [
            [float(v) for v in column] for column in (tracks.usual.seconds, tracks.usual.reads, tracks.usual.levels)
        ],
        "all": [tracks.usual.all_reads, tracks.usual.all_levels],
        "tags": [table.epc(row).hex() for row in rows.tolist()],
        "slots": _text(tracks.slot_place[rows].astype("<i2")),
        "stat": _text(tracks.stat[rows].astype("<f2")),
        "memory": _text(np.round(tracks.memory[rows].astype(np.float32) * STEPS).astype("i1")),
        "alpha": _text(tracks.alpha[rows].astype("<f2")),
        "own": _text(tracks.own.sums[rows].astype("<f4")),
    }


def load(saved: JsonValue, places: Places, table: TagTable, tracks: Tracks, activity: Activity) -> None:
    """Take back what `save` gave, for tags that were restored at the same place; foreign content is ignored."""
    if not isinstance(saved, dict) or saved.get("version") != VERSION:
        return
    try:
        _load(saved, places, table, tracks, activity)
    except (KeyError, TypeError, ValueError, IndexError):  # another release's content: relearned instead
        return


def _load(saved: dict[str, JsonValue], places: Places, table: TagTable, tracks: Tracks, activity: Activity) -> None:
    numbers = np.array([places.find(str(i), str(role)) for i, role in _pairs(saved["places"])] + [NOWHERE], np.int32)
    tags = [bytes.fromhex(str(tag)) for tag in _list(saved["tags"])]
    slots = numbers[_column(saved["slots"], "<i2", len(tags), -1).astype(np.int64)]
    stat = _column(saved["stat"], "<f2", len(tags), C * K).astype(np.float32)
    memory = _column(saved["memory"], "i1", len(tags), *tracks.memory.shape[1:]).astype(np.float32) / STEPS
    for columns in (stat.reshape(len(tags), C, K), memory):  # what is known of places that are no more
        columns.transpose(0, 2, 1)[slots == NOWHERE] = 0
    alpha = _column(saved["alpha"], "<f2", len(tags), K + 1).astype(np.float32)
    own = _column(saved["own"], "<f4", len(tags), N_SUMS).astype(np.float32)
    usual = np.array([_list(column) for column in _list(saved["usual"])], np.float64)
    totals = [float(str(value)) for value in _list(saved["all"])]
    long_hz = {
        (str(device), int(str(port))): float(str(hz)) for device, port, hz in map(_list, _list(saved["antennas"]))
    }
    if not all(np.isfinite(column).all() for column in (stat, alpha, usual, own)):
        raise ValueError("expected finite numbers")
    kept = numbers[:-1] >= 0
    for column, values in zip((tracks.usual.seconds, tracks.usual.reads, tracks.usual.levels), usual, strict=True):
        column[numbers[:-1][kept]] = values[:-1][kept]
    tracks.usual.all_reads, tracks.usual.all_levels = totals
    tracks.usual.settle(0.0)
    for index, antenna in enumerate(places.antennas):
        activity.long[index] = long_hz.get((antenna.device, antenna.port), 0.0)
    for index, tag in enumerate(tags):
        row = int(table.find(np.frombuffer(tag, np.uint8)[None])[0])
        best = int(alpha[index, :K].argmax())
        if row >= 0 and tracks.tracked[row]:
            tracks.own.sums[row] = own[index]
        if row >= 0 and tracks.said[row] >= 0 and slots[index, best] == tracks.said[row]:
            tracks.slot_place[row] = slots[index]
            tracks.stat[row] = stat[index]
            tracks.memory[row] = memory[index]
            tracks.alpha[row] = alpha[index] / alpha[index].sum()


def _list(value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        raise TypeError("expected a list")
    return value


def _pairs(value: JsonValue) -> list[list[JsonValue]]:
    return [_list(pair) for pair in _list(value)]
