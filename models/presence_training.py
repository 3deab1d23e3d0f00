"""Trains the scorer of RFID presence on generated stores (extra `train`): python -m models.presence_training OUT.npz.

The production part runs on each generated store and what its scorer sees is recorded; the recurrent network is then
trained through time on the tags' whole histories (negative log likelihood of the true place at each step), so that its
posteriors are tempered for fading that is correlated. The first round records with the plain formula in the scorer's
place, later ones with the network of the round before. What is written is the running average of the weights. The
stores here are not those that judge the result: links are budgets in dB with a common cause for level and read rate, in
many random variants.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edge.core.gtin import check_digit
from edge.core.instant import US_PER_S, Instant
from edge.core.observation import TagReads
from edge.core.presence import Presence, Profile
from edge.core.presence.scorer import BLIND, F32, F_SLOT, F_TAG, STEP, LearnedScorer, Scorer, Weights, WindowScorer
from edge.core.presence.tracks import K, Motion, Tracks
from edge.core.site import Site, load_site
from models.presence_stores import ABSENT, CARRIED, F64, Store

HIDDEN = 24
LANES = 256  # tags at a time
WINDOW = 64  # steps from one update of the weights to the next; the memory goes on
FIRST_STEPS = 8  # of a tag, which nobody can judge
NO_LOSS = -3
MOST_LOSS = 12.0  # nats a step: a generated store may be as wrong as a real one
RATE = 4e-3
AVERAGED = 0.998  # of the running average kept, an update


@dataclass
class Recording:
    """Steps of all tags, sorted by tag and time; place −1 is an unused slot."""

    slots: NDArray[np.float16]  # (steps, K, F_SLOT)
    tags: NDArray[np.float16]  # (steps, F_TAG)
    places: NDArray[np.int16]  # (steps, K)
    right: NDArray[np.bool_]  # (steps, K + 1), what was right to believe; nothing where there is no loss
    row: NDArray[np.int32]


class RecordingTracks(Tracks):
    """The production tracks, keeping what the scorer saw."""

    def __init__(self, n_places: int, scorer: Scorer) -> None:
        super().__init__(n_places, scorer, Motion())
        self.steps: list[tuple[NDArray[np.generic], ...]] = []
        self.truth = np.zeros((3, 0), np.int64)  # by row: where it is; where it came from and goes, if carried

    def _width(self, around: NDArray[np.int32]) -> int:
        """All slots: the recording has a column for each."""
        return K

    def _scored(self, rows: NDArray[np.int64], slots: F32, tags: F32) -> F32:
        truth, came_from, goal = self.truth[:, rows, None]
        places = self.slot_place[rows]
        carried = truth == CARRIED
        right = np.empty((len(rows), K + 1), bool)
        right[:, :K] = (places == truth) | (carried & (places >= 0) & ((places == came_from) | (places == goal)))
        right[:, K:] = (truth == ABSENT) | (carried & ((came_from == ABSENT) | (goal == ABSENT)))
        kept = slots.transpose(2, 1, 0).astype(np.float16), tags[:-1].T.astype(np.float16)
        self.steps.append((*kept, places.astype(np.int16), right, rows.astype(np.int32)))
        return super()._scored(rows, slots, tags)


def record(seed: int, seconds: int, scorer: Scorer) -> tuple[Recording, float]:
    """Run the presence part on one store; also the share of tag-seconds that it had right."""
    store = Store(np.random.default_rng([seed, 815]))
    site = _site(store)
    part = Presence(site, lambda epc: (_gtin(epc[1]), epc.hex()), Profile("training", scorer))
    tracks = RecordingTracks(store.a, scorer)
    tracks.homes = part._tracks.homes
    part._tracks = tracks
    order = np.array([part._places.find(f"s{shelf}", "shelf") for shelf in range(store.a)] + [CARRIED, ABSENT])
    names = b"".join(bytes((0x30, store.product[tag])) + tag.to_bytes(10, "big") for tag in range(store.n))
    epcs = np.frombuffer(names, np.uint8).reshape(-1, 12)
    tag_of_row = np.zeros(0, np.int64)
    right = total = 0
    for t_s in range(1, seconds + 1):
        now = Instant(t_s * US_PER_S, t_s * US_PER_S)
        tag, antenna, dbm, count = store.second()
        for device in range(-(-store.a // 4)):
            mine = antenna // 4 == device
            if mine.any():
                part.observe(_reads(f"r{device}", epcs[tag[mine]], antenna[mine] % 4 + 1, dbm[mine], count[mine]), now)
        tracks.truth = np.full((3, part._table.capacity), NO_LOSS)
        for row, column in enumerate((store.truth, store.came_from, store.goal)):
            tracks.truth[row, : len(tag_of_row)] = order[column[tag_of_row]]
        part.tick(now)
        n_rows = part._table.n_rows
        tag_of_row = (
            np.array([int.from_bytes(part._table.epc(row)[2:], "big") for row in range(n_rows)])
            if (len(tag_of_row) < n_rows)
            else tag_of_row
        )
        if t_s > 60:
            truth = order[store.truth[tag_of_row]]
            scored = truth != CARRIED
            right += int((tracks.said[:n_rows] == truth)[scored].sum())
            total += int(scored.sum())
    columns = [np.concatenate(column) for column in zip(*tracks.steps, strict=True)]
    by_tag = np.argsort(columns[-1], kind="stable")
    return Recording(*(column[by_tag] for column in columns)), right / total


def _gtin(product: int) -> str:
    body = f"0401234{product:06d}"
    return f"{body}{check_digit(body)}"


def _site(store: Store) -> Site:
    antennas = [{"port": shelf % 4 + 1, "shelf": f"s{shelf}"} for shelf in range(store.a)]
    planned: list[list[str]] = [[] for _ in range(store.a)]
    for product, homes in enumerate(store.homes if store.planned else ()):
        for shelf in homes.tolist():
            planned[shelf].append(_gtin(product))
    return load_site(
        {
            "store": {
                "id": "s",
                "tenant": "t",
                "name": "",
                "sgln": "urn:epc:id:sgln:4012345.00001.0",
                "timezone": "UTC",
                "hours": [["00:00", "24:00"]] * 7,
            },
            "zones": [{"id": "z"}],
            "products": [{"gtin": _gtin(product)} for product in range(store.products)],
            "shelves": [{"id": f"s{i}", "zone": "z", "products": gtins} for i, gtins in enumerate(planned)],
            "readers": [{"device": f"r{i // 4}", "antennas": antennas[i : i + 4]} for i in range(0, store.a, 4)],
        }
    )


def _reads(device: str, epc: NDArray[np.uint8], port: NDArray[np.intp], dbm: F64, count: F64) -> TagReads:
    n = len(port)
    return TagReads(
        device,
        0,
        epc,
        port.astype(np.uint16),
        np.round(dbm * 100).astype(np.int16),
        np.full(n, 1 << 60, np.int64),
        count.astype(np.uint16),
    )


class Net(torch.nn.Module):
    """The recurrent set network; the same arithmetic as LearnedScorer and Tracks."""

    def __init__(self) -> None:
        super().__init__()

        def weight(rows: int, columns: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.randn(rows, columns) * (1.0 / columns) ** 0.5)

        self.slot_1, self.tag_1 = weight(HIDDEN, F_SLOT), weight(HIDDEN, F_TAG + 1)
        self.gate_new = weight(3 * HIDDEN, HIDDEN + 1)
        self.gate_memory, self.gate_pool = weight(3 * HIDDEN, HIDDEN), weight(3 * HIDDEN, HIDDEN)
        self.slot_2, self.pool_2, self.tag_2 = weight(HIDDEN, HIDDEN), weight(HIDDEN, HIDDEN), weight(HIDDEN, F_TAG + 1)
        self.slot_out = weight(1, HIDDEN)
        self.absent_pool, self.absent_tag = weight(HIDDEN, HIDDEN), weight(HIDDEN, F_TAG + 1)
        self.absent_out = weight(1, HIDDEN + 1)
        with torch.no_grad():
            self.gate_pool *= 0.3
            self.gate_new[:HIDDEN, -1] = torch.linspace(-4.0, 0.0, HIDDEN)  # units that remember long, and short ones

    def remember(
        self, slots: torch.Tensor, tags: torch.Tensor, same: torch.Tensor, memory: torch.Tensor
    ) -> torch.Tensor:
        """Memory after each step (lanes, steps, K, HIDDEN); same (lanes, steps, K): the slot kept its place."""
        one = torch.relu(slots @ self.slot_1.T + (tags @ self.tag_1.T).unsqueeze(-2))
        new = one @ self.gate_new[:, :-1].T + self.gate_new[:, -1]
        heard = 1 - slots[..., BLIND, None]
        steps = []
        for step in range(slots.shape[1]):
            memory = memory * same[:, step, :, None]
            gates = new[:, step] + (memory.amax(-2) @ self.gate_pool.T).unsqueeze(-2)
            held = memory @ self.gate_memory.T
            update, reset = torch.sigmoid(gates[..., : 2 * HIDDEN] + held[..., : 2 * HIDDEN]).chunk(2, -1)
            candidate = torch.tanh(gates[..., 2 * HIDDEN :] + reset * held[..., 2 * HIDDEN :])
            memory = memory + update * heard[:, step] * (candidate - memory)
            steps.append(memory)
        return torch.stack(steps, 1)

    def judge(self, memory: torch.Tensor, tags: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
        """Log posteriors (…, K + 1) of memory (…, K, HIDDEN), tag features (…, F_TAG + 1) and slots in use (…, K)."""
        both = (memory.amax(-2) @ self.pool_2.T + tags @ self.tag_2.T).unsqueeze(-2)
        two = torch.relu(memory @ self.slot_2.T + both)
        absent = torch.relu(two.amax(-2) @ self.absent_pool.T + tags @ self.absent_tag.T)
        absent = absent @ self.absent_out[:, :-1].T + self.absent_out[:, -1]
        places = torch.where(used, (two @ self.slot_out.T).squeeze(-1), -1e9)
        return torch.log_softmax(torch.cat((places, absent), -1), -1)

    def exported(self) -> Weights:
        """What production loads."""
        names = Weights.__dataclass_fields__
        return Weights(*(getattr(self, name).detach().numpy().astype(np.float32).copy() for name in names))


class Lanes:
    """Tags walked through side by side, WINDOW steps at a time; a lane whose tag has ended takes another.

    Tags that were moved teach more than those that lie: they are drawn more often, and weigh less for it.
    """

    def __init__(self, recordings: Sequence[Recording], rng: np.random.Generator) -> None:
        self.rng = rng
        self.slots, self.tags, self.places, self.right = (
            np.concatenate([getattr(recording, name) for recording in recordings])
            for name in ("slots", "tags", "places", "right")
        )
        owner = np.concatenate([recording.row + (index << 20) for index, recording in enumerate(recordings)])
        self.first = np.concatenate(([0], (owner[1:] != owner[:-1]).nonzero()[0] + 1))
        self.last = np.append(self.first[1:], len(owner))
        changed = np.zeros(len(owner))
        changed[1:] = (self.right[1:] != self.right[:-1]).any(axis=1)
        worth = np.minimum(0.1 + 0.15 * np.add.reduceat(changed, self.first), 0.7) * (self.last - self.first)
        self.share = worth / worth.sum()
        self.weight = ((self.last - self.first) / worth).astype(np.float32)
        self.tag = np.zeros(LANES, np.int64)
        self.at = np.zeros(LANES, np.int64)
        self.memory = torch.zeros(LANES, K, HIDDEN)
        for lane in range(LANES):
            self._take(lane)
            self.at[lane] += rng.integers(0, max(1, self.last[self.tag[lane]] - self.at[lane]))

    def _take(self, lane: int) -> None:
        self.tag[lane] = self.rng.choice(len(self.share), p=self.share)
        self.at[lane] = self.first[self.tag[lane]]
        self.memory[lane] = 0

    def next(self) -> tuple[torch.Tensor, ...]:
        """(slots, tags, same, used, right, weight) of the next window."""
        for lane in np.flatnonzero(self.at >= self.last[self.tag]).tolist():
            self._take(lane)
        steps = self.at[:, None] + np.arange(WINDOW)
        inside = steps < self.last[self.tag, None]
        steps = np.minimum(steps, self.last[self.tag, None] - 1)
        places = self.places[steps]
        same = places == self.places[np.maximum(steps - 1, self.first[self.tag, None])]
        tags = np.ones((LANES, WINDOW, F_TAG + 1), np.float32)
        tags[..., :-1] = self.tags[steps]
        right = self.right[steps]
        counted = inside & right.any(axis=-1) & (steps >= self.first[self.tag, None] + FIRST_STEPS)
        seconds = np.minimum(np.exp(tags[..., STEP]), 5)
        self.at += WINDOW
        columns = self.slots[steps].astype(np.float32), tags, same, places >= 0, right
        weight = (seconds * counted * self.weight[self.tag, None]).astype(np.float32)
        return tuple(torch.from_numpy(column) for column in (*columns, weight))


def train(net: Net, recordings: Sequence[Recording], iterations: int, rate: float, seed: int) -> tuple[Net, float]:
    """Fit through time; returns the average network and the mean loss of the last tenth."""
    lanes = Lanes(recordings, np.random.default_rng(seed))
    optimiser = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=iterations, pct_start=0.1)
    average = copy.deepcopy(net)
    losses = []
    for turn in range(iterations):
        slots, tags, same, used, right, weight = lanes.next()
        memory = net.remember(slots, tags, same, lanes.memory)
        lanes.memory = memory[:, -1].detach()
        posterior = net.judge(memory, tags, used)
        picked = torch.logsumexp(torch.where(right, posterior, -1e9), -1).clamp(min=-MOST_LOSS)
        loss = -(picked * weight).sum() / weight.sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        kept = min(AVERAGED, turn / (turn + 10))
        with torch.no_grad():
            for mine, new in zip(average.parameters(), net.parameters(), strict=True):
                mine.lerp_(new, 1 - kept)
        losses.append(float(loss.detach()))
        if turn % 200 == 199:
            print(f"  {turn + 1}: loss {np.mean(losses[-200:]):.5f}", flush=True)  # noqa: T201
    return average, float(np.mean(losses[-max(1, iterations // 10) :]))


def main(argv: Sequence[str] | None = None) -> None:
    """Rounds of recording and training; writes the weights after each of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--stores", type=int, nargs="+", default=[12, 40, 70, 70], help="new stores, by round")
    parser.add_argument("--iterations", type=int, nargs="+", default=[300, 1200, 6000, 5000], help="by round")
    parser.add_argument("--seconds", type=int, default=1200, help="of each store")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--first", type=int, default=0, help="number of the first store")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    net = Net()
    scorer: Scorer = WindowScorer()
    if options.start:
        with np.load(options.start) as saved, torch.no_grad():
            for name in Weights.__dataclass_fields__:
                getattr(net, name).copy_(torch.from_numpy(saved[name]))
        scorer = LearnedScorer(net.exported())
    seed = options.first
    recordings: list[Recording] = []
    for turn, (stores, iterations) in enumerate(zip(options.stores, options.iterations, strict=True)):
        shares = []
        recordings = recordings[-stores // 2 :]
        for _ in range(stores):
            recording, share = record(seed, options.seconds, scorer)
            seed += 1
            recordings.append(recording)
            shares.append(share)
        print(f"round {turn}: right {np.mean(shares):.4f} (worst {min(shares):.4f})", flush=True)  # noqa: T201
        net, loss = train(net, recordings, iterations, RATE if seed == stores else RATE / 2, turn)
        scorer = LearnedScorer(net.exported())
        print(f"round {turn}: loss {loss:.5f}", flush=True)  # noqa: T201
        save(options.out, net.exported())


def save(out: Path, weights: Weights) -> None:
    """Write the file that `edge.core.presence.profiles.load_weights` reads."""
    np.savez(out, **{name: getattr(weights, name) for name in Weights.__dataclass_fields__})  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
