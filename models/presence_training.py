"""Trains the scorer of RFID presence on generated stores (extra `train`): python -m models.presence_training OUT.npz.

The production filter runs on each generated store and its features are recorded; the network is then trained through
the filter's recursion (negative log likelihood of the true place at each step), so that its evidence comes out
tempered for correlated fading. Later rounds record with the network of the round before. The stores here are not those
that judge the result: links are budgets in dB with a common cause for level and read rate, in many random variants.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edge.core.gtin import check_digit
from edge.core.instant import US_PER_S, Instant
from edge.core.observation import TagReads
from edge.core.presence import Presence, Profile
from edge.core.presence.profiles import load_weights
from edge.core.presence.scorer import F32, F_SLOT, F_TAG, HOME, LearnedScorer, Scorer, Weights, WindowScorer
from edge.core.presence.tracks import K, Motion, Tracks
from edge.core.site import Site, load_site
from models.presence_stores import ABSENT, CARRIED, F64, Store

HIDDEN = 32
WINDOW = 64
BURN_IN = 8
NO_LOSS = -3
RATES_FASTER = 5  # the rates of motion are few and have far to go


@dataclass
class Recording:
    """Steps of all tags, sorted by tag and time; place −1 is an unused slot."""

    slots: NDArray[np.float16]  # (steps, K, F_SLOT)
    tags: NDArray[np.float16]  # (steps, F_TAG)
    places: NDArray[np.int16]  # (steps, K)
    alpha: NDArray[np.float32]  # (steps, K + 1), before the step
    dt_s: NDArray[np.float32]
    right: NDArray[np.bool_]  # (steps, K + 1), what was right to believe; nothing where there is no loss
    row: NDArray[np.int32]


class RecordingTracks(Tracks):
    """The production filter, keeping what the scorer saw."""

    def __init__(self, n_places: int, scorer: Scorer, motion: Motion) -> None:
        super().__init__(n_places, scorer, motion)
        self.steps: list[tuple[NDArray[np.generic], ...]] = []
        self.truth = np.zeros((3, 0), np.int64)  # by row: where it is; where it came from and goes, if carried

    def _width(self, around: NDArray[np.int32]) -> int:
        """All slots: the recording has a column for each."""
        return K

    def _advance(self, rows: NDArray[np.int64], places: NDArray[np.int32], evidence: F32, dt_s: F32, goals: F32) -> F32:
        truth, came_from, goal = self.truth[:, rows]
        carried = truth == CARRIED
        right = np.empty((len(rows), K + 1), bool)
        right[:, :K] = ((places == truth) | (carried & (places >= 0) & ((places == came_from) | (places == goal)))).T
        right[:, K] = (truth == ABSENT) | (carried & ((came_from == ABSENT) | (goal == ABSENT)))
        slots, tags = self.scorer.last  # type: ignore[attr-defined]
        self.steps.append(
            (
                slots.transpose(2, 1, 0).astype(np.float16),
                tags[:-1].T.astype(np.float16),
                places.T.astype(np.int16),
                self.alpha[rows].copy(),
                dt_s.copy(),
                right,
                rows.astype(np.int32),
            )
        )
        return super()._advance(rows, places, evidence, dt_s, goals)


class Seen:
    """A scorer that keeps its last input."""

    def __init__(self, inner: Scorer) -> None:
        self.inner = inner

    def score(self, slots: F32, tags: F32) -> F32:
        """As the inner scorer."""
        self.last = (slots, tags)
        return self.inner.score(slots, tags)


def record(seed: int, seconds: int, scorer: Scorer, motion: Motion) -> tuple[Recording, float]:
    """Run the presence part on one store; also the share of tag-seconds that it had right."""
    store = Store(np.random.default_rng([seed, 815]))
    site = _site(store)
    part = Presence(site, lambda epc: (_gtin(epc[1]), epc.hex()), Profile("training", scorer, motion))
    tracks = RecordingTracks(store.a, Seen(scorer), motion)
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
    """The set network with the filter's rates as parameters; the same arithmetic as LearnedScorer and Tracks."""

    def __init__(self) -> None:
        super().__init__()

        def weight(rows: int, columns: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.randn(rows, columns) * (1.4 / columns) ** 0.5)

        self.slot_1, self.tag_1 = weight(HIDDEN, F_SLOT), weight(HIDDEN, F_TAG + 1)
        self.slot_2, self.pool_2, self.tag_2 = weight(HIDDEN, HIDDEN), weight(HIDDEN, HIDDEN), weight(HIDDEN, F_TAG + 1)
        self.slot_out = weight(1, HIDDEN)
        self.absent_pool, self.absent_tag = weight(HIDDEN, HIDDEN), weight(HIDDEN, F_TAG + 1)
        self.absent_out = weight(1, HIDDEN + 1)
        self.log_hz = torch.nn.Parameter(torch.log(torch.tensor(_rates(Motion()))))

    def evidence(self, slots: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
        """(…, K, F_SLOT), (…, F_TAG) → (…, K + 1)."""
        tags = torch.cat((tags, torch.ones_like(tags[..., :1])), -1)
        one = torch.relu(slots @ self.slot_1.T + (tags @ self.tag_1.T).unsqueeze(-2))
        pooled = one.amax(-2)
        two = torch.relu(one @ self.slot_2.T + (pooled @ self.pool_2.T + tags @ self.tag_2.T).unsqueeze(-2))
        absent = torch.relu(two.amax(-2) @ self.absent_pool.T + tags @ self.absent_tag.T)
        absent = absent @ self.absent_out[:, :-1].T + self.absent_out[:, -1]
        return torch.cat(((two @ self.slot_out.T).squeeze(-1), absent), -1)

    def forward_filter(
        self, evidence: torch.Tensor, places: torch.Tensor, alpha: torch.Tensor, dt_s: torch.Tensor, home: torch.Tensor
    ) -> torch.Tensor:
        """Posteriors (batch, steps, K + 1) of evidence (batch, steps, K + 1) from the alpha before the first step."""
        move_hz, leave_hz, enter_hz, stray = torch.exp(self.log_hz)
        one = torch.ones_like(places[..., :1], dtype=torch.bool)
        used = torch.cat((places >= 0, one), -1)
        evidence = torch.where(used, evidence, -1e9)
        likelihood = torch.exp((evidence - evidence.amax(-1, keepdim=True)).clamp(min=-30)) * used
        goals = torch.where(home < 0, stray, torch.ones_like(home))
        dt = dt_s.unsqueeze(-1)
        enter, leave, move = (dt * enter_hz).clamp(max=0.5), dt * leave_hz, dt * move_hz
        same = torch.ones_like(used)
        same[:, 1:, :K] = places[:, 1:] == places[:, :-1]
        each = torch.ones(K)
        stay = torch.cat(((1 - move - leave) * each, 1 - enter), -1)
        from_shelves = torch.cat((move * goals, leave), -1)
        from_nowhere = torch.cat((enter * goals, torch.zeros_like(leave)), -1)
        out = []
        for step in range(evidence.shape[1]):
            alpha = alpha * same[:, step]
            gone = alpha[:, K:]
            alpha = alpha * stay[:, step] + (1 - gone) * from_shelves[:, step] + gone * from_nowhere[:, step]
            alpha = alpha * likelihood[:, step]
            alpha = alpha / alpha.sum(-1, keepdim=True).clamp(min=1e-30)
            out.append(alpha)
        return torch.stack(out, 1)

    def widen(self, weights: Weights, motion: Motion) -> None:
        """Begin as a network that may be narrower; what is new takes no part until it has learned to."""
        with torch.no_grad():
            for name in Weights.__dataclass_fields__:
                mine, shipped = getattr(self, name), torch.from_numpy(getattr(weights, name))
                rows, columns = shipped.shape
                if name in ("absent_out", "absent_tag", "tag_1", "tag_2"):  # the last column is the bias
                    mine[:rows, -1], shipped, columns = shipped[:, -1], shipped[:, :-1], columns - 1
                    mine[:rows, columns:-1] = 0
                else:
                    mine[:rows, columns:] = 0
                mine[:rows, :columns] = shipped
            self.log_hz.copy_(torch.log(torch.tensor(_rates(motion))))

    def exported(self) -> tuple[Weights, Motion]:
        """What production loads."""
        names = Weights.__dataclass_fields__
        weights = Weights(*(getattr(self, name).detach().numpy().astype(np.float32).copy() for name in names))
        return weights, Motion(*(float(hz) for hz in torch.exp(self.log_hz).tolist()))


def windows(recording: Recording) -> NDArray[np.int64]:
    """First indices of the stretches of WINDOW steps that belong to one tag."""
    first: NDArray[np.int64] = np.arange(0, len(recording.row) - WINDOW, WINDOW // 2)
    alike: NDArray[np.bool_] = recording.row[first] == recording.row[first + WINDOW - 1]
    return first[alike]


def _worth(recording: Recording) -> NDArray[np.float64]:
    """How often each window is to be drawn: most are of tags that nobody doubts and teach little."""
    first = windows(recording)
    wrong = np.where(recording.right.any(axis=1), 1 - (recording.alpha * recording.right).sum(axis=1), 0)
    doubt = np.array([wrong[at + BURN_IN : at + WINDOW].max() for at in first.tolist()])
    worth: NDArray[np.float64] = np.clip(doubt, 0.15, 1.0)
    return worth


def train(net: Net, recordings: list[Recording], iterations: int, rate: float) -> float:
    """Fit through the recursion; returns the mean loss of the last tenth."""
    starts = [(index, first) for index, recording in enumerate(recordings) for first in windows(recording)]
    share = np.concatenate([_worth(recording) for recording in recordings])
    share /= share.sum()
    rng = np.random.default_rng(7)
    others = [parameter for parameter in net.parameters() if parameter is not net.log_hz]
    optimiser = torch.optim.Adam([{"params": others}, {"params": [net.log_hz]}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [rate, RATES_FASTER * rate], total_steps=iterations)
    losses = []
    for _ in range(iterations):
        chosen = rng.choice(len(starts), 192, p=share)
        batch = [_window(recordings[index], first) for index, first in (starts[i] for i in chosen)]
        rareness = torch.from_numpy((1 / (len(starts) * share[chosen])).astype(np.float32))[:, None]
        slots, tags, places, alpha, dt_s, right = (
            torch.from_numpy(np.stack(column)) for column in zip(*batch, strict=True)
        )
        posterior = net.forward_filter(net.evidence(slots, tags), places, alpha[:, 0], dt_s, slots[..., HOME])
        valid = right.any(-1)
        valid[:, :BURN_IN] = False
        picked = (posterior * right).sum(-1)
        weight = dt_s.clamp(max=5) * valid * rareness
        loss = -(torch.log(picked + 1e-5) * weight).sum() / weight.sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses[-max(1, iterations // 10) :]))


def _window(recording: Recording, first: int) -> tuple[NDArray[np.generic], ...]:
    part = slice(first, first + WINDOW)
    return (
        recording.slots[part].astype(np.float32),
        recording.tags[part].astype(np.float32),
        recording.places[part],
        recording.alpha[part],
        recording.dt_s[part],
        recording.right[part],
    )


def main(argv: list[str]) -> None:
    """Rounds of recording and training; writes the weights. With ``--go-on`` from those that are shipped."""
    out, go_on = Path(argv[0]), "--go-on" in argv
    stores, seconds, iterations, rounds, first = (
        int(value) for value in ([a for a in argv[1:] if a != "--go-on"] or ("24", "600", "1500", "3", "0"))
    )
    torch.set_num_threads(1)
    torch.manual_seed(1)
    net = Net()
    scorer: Scorer = WindowScorer()
    motion = Motion()
    if go_on:
        scorer, motion = load_weights()
        net.widen(scorer.weights, motion)
        scorer = LearnedScorer(net.exported()[0])
    recordings: list[Recording] = []
    for turn in range(first, first + rounds):
        shares = []
        recordings = recordings[-2 * stores :]
        for seed in range(turn * stores, (turn + 1) * stores):
            recording, share = record(seed, seconds, scorer, motion)
            recordings.append(recording)
            shares.append(share)
        print(f"round {turn}: right {np.mean(shares):.4f} (worst {min(shares):.4f})", flush=True)  # noqa: T201
        loss = train(net, recordings, iterations, 4e-3 if turn == 0 and not go_on else 2e-3)
        weights, motion = net.exported()
        scorer = LearnedScorer(weights)
        print(f"round {turn}: loss {loss:.4f}, motion {motion}", flush=True)  # noqa: T201
        save(out, weights, motion)


def _rates(motion: Motion) -> list[float]:
    return [motion.move_hz, motion.leave_hz, motion.enter_hz, motion.stray]


def save(out: Path, weights: Weights, motion: Motion) -> None:
    """Write the file that `edge.core.presence.scorer.load_weights` reads."""
    columns = {name: getattr(weights, name) for name in Weights.__dataclass_fields__}
    np.savez(out, **columns, motion=np.array(_rates(motion), np.float32))


if __name__ == "__main__":
    main(sys.argv[1:])
