"""Bad wires: a stream that splits, drops, flips, duplicates, stalls and hangs up, repeatably for a seed.

Faults hit what passes in either direction; each direction has its own random numbers, so that the traffic of one
does not change the faults of the other.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

from firmware_sim.stream import ByteStream, Role


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Chances of each fault. Byte faults are by byte, the others by chunk (one read or write)."""

    split: float = 0.0
    """A chunk arrives in several pieces."""
    drop: float = 0.0
    """A byte is lost."""
    flip: float = 0.0
    """One bit of a byte is turned."""
    duplicate: float = 0.0
    """A chunk arrives twice."""
    stall: float = 0.0
    """A chunk waits for `stall_s`."""
    stall_s: tuple[float, float] = (0.1, 3.0)
    disconnect: float = 0.0
    """The link ends at this chunk."""

    def __post_init__(self) -> None:
        """Refuse what is no chance."""
        for name in ("split", "drop", "flip", "duplicate", "stall", "disconnect"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"fault {name}: {value}, expected 0 to 1")
        if not 0.0 <= self.stall_s[0] <= self.stall_s[1]:
            raise ValueError(f"fault stall_s: {self.stall_s}, expected (least, most) seconds")


GOOD = FaultPlan()
ROUGH = FaultPlan(split=0.5, drop=1e-4, flip=1e-4, duplicate=0.002, stall=0.002, disconnect=0.0005)
"""A bad cable near a motor."""


class FaultSwitch:
    """Turns faults on and off for any number of streams, and counts what happened."""

    def __init__(self, plan: FaultPlan = GOOD) -> None:
        self.plan = plan
        self.counters: Counter[str] = Counter()

    def off(self) -> None:
        """From now on the wires are good."""
        self.plan = GOOD


class _Lane:
    """The faults of one direction."""

    def __init__(self, switch: FaultSwitch, seed: str) -> None:
        self._switch = switch
        self._rng = random.Random(seed)

    async def pass_on(self, data: bytes) -> list[bytes]:
        """What arrives of `data`, in pieces; ConnectionResetError when the link ends here."""
        plan, rng, counters = self._switch.plan, self._rng, self._switch.counters
        if plan is GOOD:
            return [data]
        if rng.random() < plan.disconnect:
            counters["disconnect"] += 1
            raise ConnectionResetError("fault: the link was cut")
        if rng.random() < plan.stall:
            counters["stall"] += 1
            await asyncio.sleep(rng.uniform(*plan.stall_s))
        data = self._damage(data, plan)
        pieces = self._cut(data, plan)
        if rng.random() < plan.duplicate:
            counters["duplicate"] += 1
            pieces.append(data)
        return [piece for piece in pieces if piece]

    def _damage(self, data: bytes, plan: FaultPlan) -> bytes:
        out = bytearray(data)
        for at in reversed(self._hits(len(out), plan.flip)):
            self._switch.counters["flip"] += 1
            out[at] ^= 1 << self._rng.randrange(8)
        for at in reversed(self._hits(len(out), plan.drop)):
            self._switch.counters["drop"] += 1
            del out[at]
        return bytes(out)

    def _hits(self, n: int, chance: float) -> list[int]:
        """Positions of faults among `n` bytes, without drawing for every byte where faults are rare."""
        hits: list[int] = []
        if chance <= 0.0:
            return hits
        at = 0
        while True:
            at += int(self._rng.expovariate(chance)) if chance < 1.0 else 0
            if at >= n:
                return hits
            hits.append(at)
            at += 1

    def _cut(self, data: bytes, plan: FaultPlan) -> list[bytes]:
        if len(data) < 2 or self._rng.random() >= plan.split:
            return [data]
        self._switch.counters["split"] += 1
        edges = sorted(self._rng.sample(range(1, len(data)), min(len(data) - 1, self._rng.randint(1, 4))))
        return [data[a:b] for a, b in zip([0, *edges], [*edges, len(data)], strict=True)]


class FaultyStream:
    """A ByteStream whose traffic suffers. `switch.off()` heals it."""

    def __init__(self, inner: ByteStream, switch: FaultSwitch, seed: str) -> None:
        self._inner = inner
        self._in = _Lane(switch, f"{seed}:in")
        self._out = _Lane(switch, f"{seed}:out")
        self._waiting: list[bytes] = []

    async def read(self, n: int) -> bytes:
        """Between 1 and `n` bytes; b"" when the other side, or a fault, has ended the link."""
        while not self._waiting:
            data = await self._inner.read(n)
            if not data:
                return b""
            try:
                self._waiting = await self._in.pass_on(data)
            except ConnectionResetError:
                await self._inner.close()
                return b""
        piece = self._waiting[0][:n]
        rest = self._waiting[0][n:]
        self._waiting[:1] = [rest] if rest else []
        return piece

    async def write(self, data: bytes) -> None:
        """Send what the faults leave of `data`; ConnectionError when the link is gone."""
        try:
            pieces = await self._out.pass_on(data)
        except ConnectionResetError:
            await self._inner.close()
            raise
        for piece in pieces:
            await self._inner.write(piece)

    async def close(self) -> None:
        """Hang up."""
        await self._inner.close()


def faulty(role: Role, switch: FaultSwitch, seed: str) -> Role:
    """A role whose every connection runs over a bad wire."""
    connections = 0

    async def serve(stream: ByteStream) -> None:
        nonlocal connections
        connections += 1
        await role(FaultyStream(stream, switch, f"{seed}:{connections}"))

    return serve
