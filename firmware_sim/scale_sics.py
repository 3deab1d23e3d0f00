"""A bench scale that speaks MT-SICS levels 0 and 1 (Mettler-Toledo Standard Interface Command Set).

Source: "Reference Manual MT-SICS" 11780711: ASCII lines ended by CR LF; a weight is ten characters, right-aligned,
with its unit; answers begin with the command's name; ES syntax, ET transmission, EL logical error.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from firmware_sim.platform import Indication, Platform, Range
from firmware_sim.stream import ByteStream

LINE_MAX: Final = 80
STABLE_WITHIN_S: Final = 3.0  # the terminal gives up waiting for stability: "I"
REPEAT_S: Final = 0.1  # SIR sends ten values a second
_LOOK_S: Final = 0.05
_LEVEL_0: Final = ("I0", "I1", "I2", "I3", "I4", "S", "SI", "SIR", "Z", "ZI", "@")
_LEVEL_1: Final = ("SR", "T", "TA", "TAC", "TI")
_SIGN: Final = {Range.OVER: "+", Range.UNDER: "-"}


class SicsScale:
    """One scale; `serve` plays it over one connection after another. ``mute`` is a fault: it hears, but says nothing.

    ``counters``: commands, errors, lines_sent.
    """

    def __init__(self, platform: Platform, serial: str, model: str = "ICS425-6SM", *, decimals: int = 0) -> None:
        self.platform = platform
        self.serial = serial
        self.model = model
        self.mute = False
        self.counters: Counter[str] = Counter()
        self._decimals = decimals
        self._stream: ByteStream | None = None
        self._waiting: asyncio.Task[None] | None = None  # S, Z, T: until the load is stable
        self._repeating: asyncio.Task[None] | None = None  # SIR, SR
        self._on: dict[str, Callable[[list[str]], Awaitable[None]]] = {
            "S": self._stable(self._weigh),
            "SI": self._weigh_now,
            "SIR": self._repeat,
            "SR": self._repeat_changes,
            "Z": self._stable(self._zero),
            "ZI": self._zero_now,
            "T": self._stable(self._tare),
            "TI": self._tare_now,
            "TA": self._tare_value,
            "TAC": self._tare_clear,
            "@": self._reset,
            "I0": self._commands,
            "I1": lambda _: self._say('I1 A "01" "2.30" "2.20" "" ""'),
            "I2": lambda _: self._say(f'I2 A "{self.model} Standard {self.platform.traits.capacity_g:.2f} g"'),
            "I3": lambda _: self._say('I3 A "1.10 18.6.100.1361.772"'),
            "I4": lambda _: self._say(f'I4 A "{self.serial}"'),
        }

    async def serve(self, stream: ByteStream) -> None:
        """Play the scale until the host hangs up; it introduces itself first, as after power-on."""
        self._stream = stream
        buffer = bytearray()
        try:
            await self._say(f'I4 A "{self.serial}"')
            while data := await stream.read(256):
                buffer += data
                *lines, rest = bytes(buffer).split(b"\n")
                buffer = bytearray(rest)
                for line in lines:
                    await self._command(line.removesuffix(b"\r"))
                if len(buffer) > LINE_MAX:
                    buffer.clear()
                    await self._complain("ET")
        except ConnectionError:
            self.counters["hung_up"] += 1
        finally:
            self._stream = None
            self._stop()

    # -- lines -----------------------------------------------------------------------------------------------------

    async def _command(self, line: bytes) -> None:
        try:
            words = line.decode("ascii").split(" ")
        except UnicodeDecodeError:
            await self._complain("ET")
            return
        handler = self._on.get(words[0])
        if handler is None or (len(words) > 1 and words[0] != "TA"):
            await self._complain("ES")
            return
        self.counters["commands"] += 1
        await handler(words)

    async def _complain(self, what: str) -> None:
        self.counters["errors"] += 1
        await self._say(what)

    async def _say(self, line: str) -> None:
        if self._stream is not None and not self.mute:
            self.counters["lines_sent"] += 1
            await self._stream.write(line.encode("ascii") + b"\r\n")

    def _weight(self, grams: float) -> str:
        return f"{grams:.{self._decimals}f}".rjust(10) + " g"

    def _now(self) -> Indication:
        return self.platform.read(self._t_us())

    @staticmethod
    def _t_us() -> int:
        return int(asyncio.get_running_loop().time() * 1e6)

    def _stop(self) -> None:
        for task in (self._waiting, self._repeating):
            if task is not None:
                task.cancel()
        self._waiting = self._repeating = None

    # -- weighing --------------------------------------------------------------------------------------------------

    def _stable(self, act: Callable[[str], Awaitable[None]]) -> Callable[[list[str]], Awaitable[None]]:
        """A handler that waits for a stable load, then acts; "I" when one waits already or stability never comes."""

        async def wait(name: str) -> None:
            deadline_s = asyncio.get_running_loop().time() + STABLE_WITHIN_S
            while not self._now().stable and self._now().range is Range.INSIDE:
                if asyncio.get_running_loop().time() > deadline_s:
                    await self._say(f"{name} I")
                    return
                await asyncio.sleep(_LOOK_S)
            await act(name)

        async def handler(words: list[str]) -> None:
            if self._waiting is not None and not self._waiting.done():
                await self._say(f"{words[0]} I")
                return
            if words[0] == "S":
                self._stop()  # S ends SIR and SR
            self._waiting = asyncio.ensure_future(wait(words[0]))

        return handler

    async def _weigh(self, _name: str) -> None:
        now = self._now()
        await self._say(f"S {_SIGN[now.range]}" if now.range in _SIGN else f"S S {self._weight(now.net_g)}")

    async def _weigh_now(self, _words: list[str]) -> None:
        self._stop()
        await self._say_weight(self._now())

    async def _say_weight(self, now: Indication) -> None:
        if now.range in _SIGN:
            await self._say(f"S {_SIGN[now.range]}")
        else:
            await self._say(f"S {'S' if now.stable else 'D'} {self._weight(now.net_g)}")

    async def _repeat(self, _words: list[str]) -> None:
        async def repeat() -> None:
            while True:
                await self._say_weight(self._now())
                await asyncio.sleep(REPEAT_S)

        self._stop()
        self._repeating = asyncio.ensure_future(repeat())

    async def _repeat_changes(self, _words: list[str]) -> None:
        """SR: the next stable value, then at each change one dynamic value and the next stable one."""

        async def repeat() -> None:
            said_g: float | None = None
            moving = False
            least_g = 30 * self.platform.traits.division_g
            while True:
                now = self._now()
                changed = said_g is None or abs(now.net_g - said_g) >= max(least_g, 0.125 * abs(said_g))
                if now.stable and (said_g is None or moving):
                    said_g, moving = now.net_g, False
                    await self._say_weight(now)
                elif not now.stable and changed and not moving and said_g is not None:
                    moving = True
                    await self._say_weight(now)
                await asyncio.sleep(_LOOK_S)

        self._stop()
        self._repeating = asyncio.ensure_future(repeat())

    # -- zero and tare ---------------------------------------------------------------------------------------------

    async def _zero(self, name: str) -> None:
        await self._say(f"{name} {_SIGN.get(self.platform.zero(self._t_us()), 'A')}")

    async def _zero_now(self, words: list[str]) -> None:
        stable = "S" if self._now().stable else "D"
        await self._say(f"{words[0]} {_SIGN.get(self.platform.zero(self._t_us()), stable)}")

    async def _tare(self, name: str) -> None:
        await self._tared(name, "S")

    async def _tare_now(self, words: list[str]) -> None:
        await self._tared(words[0], "S" if self._now().stable else "D")

    async def _tared(self, name: str, status: str) -> None:
        sign = _SIGN.get(self.platform.tare(self._t_us()))
        await self._say(f"{name} {sign}" if sign else f"{name} {status} {self._weight(self._now().tare_g)}")

    async def _tare_value(self, words: list[str]) -> None:
        if len(words) > 1:
            try:
                grams = float(words[1]) if words[2:] == ["g"] else None
            except ValueError:
                grams = None
            if grams is None or not self.platform.preset_tare(grams):
                await self._say("TA L")
                return
        await self._say(f"TA A {self._weight(self._now().tare_g)}")

    async def _tare_clear(self, _words: list[str]) -> None:
        self.platform.preset_tare(0.0)
        await self._say("TAC A")

    # -- identity --------------------------------------------------------------------------------------------------

    async def _reset(self, _words: list[str]) -> None:
        self._stop()
        await self._say(f'I4 A "{self.serial}"')

    async def _commands(self, _words: list[str]) -> None:
        named = [(0, c) for c in _LEVEL_0] + [(1, c) for c in _LEVEL_1]
        for i, (level, command) in enumerate(named):
            await self._say(f'I0 {"A" if i == len(named) - 1 else "B"} {level} "{command}"')
