"""What every SDP/1 device does: boot, greet, answer requests, take firmware, sample at its rate.

The parts that differ (shelf, door, scanner) are subclasses that say what one sample is. A device lives on when its host
hangs up: `serve` may be called again with the next connection, and only the first start sends BOOT.
"""

import asyncio
import random
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from firmware_sim import sdp
from firmware_sim.bootloader import Bootloader
from firmware_sim.stream import ByteStream

_REMEMBERED: Final = 32  # answers kept for repeats
_REPEATED_WITHIN_S: Final = 5.0  # a host repeats 3 times, 500 ms apart; later the same seq is a new host's request
_FREE_KINDS: Final = {sdp.GET_HELLO}  # may be asked again without harm


@dataclass(frozen=True, slots=True)
class Manners:
    """How the hardware behaves: boot times, crystal error, the highest rate, the maker's key.

    ``first_uptime_ms`` lets the 32-bit uptime wrap in a test; ``ack_loss`` is the share of answers that a bad cable
    swallows. Without ``firmware_key`` no image is ever accepted.
    """

    boot_s: float = 0.25
    update_s: float = 1.5
    clock_ppm: float = 20.0
    rate_max_tenths_hz: int = 800
    rate_min_tenths_hz: int = 1
    first_uptime_ms: int = 0
    ack_loss: float = 0.0
    firmware_key: bytes | None = None


class Due(NamedTuple):
    """One frame that a sample gives: ``t_us`` (the running loop's clock) becomes its uptime."""

    kind: int
    body: bytes
    t_us: int


class _Answered(NamedTuple):
    request: sdp.Payload
    at_s: float
    ack: bytes


class SdpDevice:
    """Base of the SDP/1 roles. Subclasses give `sample`, the frames due at one sampling instant.

    ``counters`` tells what happened: frames_sent, requests, repeats, boots, dropped_* by reason.
    """

    def __init__(self, identity: sdp.Identity, seed: int, manners: Manners | None = None) -> None:
        self.identity = identity
        self.manners = manners or Manners()
        self.counters: Counter[str] = Counter()
        self.identify_until_s = 0.0
        self.rng = random.Random(f"{seed}/{identity.serial}")
        self._stream: ByteStream | None = None
        self._receiver = sdp.Receiver()
        self._seq = 0
        self._booted_s: float | None = None  # loop time of the last start; None: never had power
        self._down_until_s = 0.0
        self._reason = sdp.BY_POWER
        self._answers: deque[_Answered] = deque(maxlen=_REMEMBERED)
        self._bootloader = Bootloader(self.manners.firmware_key)
        self._line = asyncio.Lock()  # frames of the sampler and answers go out whole, in the order of their seq
        self._pause: asyncio.Future[bool] | None = None  # the sampler's sleep; True: interrupted

    # -- what a subclass says -----------------------------------------------------------------------------------

    def sample(self, t_us: int) -> list[Due]:
        """The frames due at ``t_us`` (the running loop's clock)."""
        raise NotImplementedError

    def period_s(self) -> float:
        """Seconds between two samples."""
        return 10.0 / self.identity.rate_tenths_hz

    def started(self) -> None:
        """Called after each boot, before the first sample."""

    # -- life ------------------------------------------------------------------------------------------------------

    async def serve(self, stream: ByteStream) -> None:
        """Play the device over one connection; returns when the host hangs up."""
        loop = asyncio.get_running_loop()
        self._stream = stream
        self._receiver = sdp.Receiver()
        self._answers.clear()  # another host may count its requests from 0
        if self._booted_s is None:
            self._down_until_s = loop.time() + self.manners.boot_s
        tasks = {loop.create_task(self._listening(stream)), loop.create_task(self._sampling())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except ConnectionError:
            self.counters["hung_up"] += 1
        finally:
            self._stream = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listening(self, stream: ByteStream) -> None:
        while data := await stream.read(4096):
            await self._take(data)

    def restart(self, reason: int, down_s: float | None = None) -> None:
        """Fall over now (watchdog, brown-out, command …) and boot again after ``down_s``."""
        loop = asyncio.get_running_loop()
        self._booted_s = None
        self._reason = reason
        self._bootloader.forget()
        self._answers.clear()
        self._down_until_s = loop.time() + (self.manners.boot_s if down_s is None else down_s)
        self._interrupt()

    def uptime_ms(self, t_us: int | None = None) -> int:
        """Milliseconds since boot by the device's own crystal; wraps on the wire only."""
        now_s = asyncio.get_running_loop().time() if t_us is None else t_us / 1e6
        since_s = now_s - (now_s if self._booted_s is None else self._booted_s)
        return self.manners.first_uptime_ms + max(0, int(since_s * 1e3 * (1 + self.manners.clock_ppm * 1e-6)))

    async def send(self, kind: int, body: bytes, t_us: int | None = None) -> None:
        """Send one frame, stamped with the uptime at ``t_us``, now by default. Without a host it is counted only."""
        stream = self._stream
        if stream is None:
            self.counters["unheard"] += 1
            return
        async with self._line:
            frame = sdp.encode(kind, self._seq, self.uptime_ms(t_us), body)
            self._seq += 1
            self.counters["frames_sent"] += 1
            await stream.write(frame)

    async def _sampling(self) -> None:
        """Boot when due, then sample on a fixed grid: a late wake-up never shifts the next sample."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            if self._booted_s is None:
                if await self._paused(self._down_until_s - loop.time()):
                    continue
                await self._boot()
                due_s = loop.time()
            due_s += self.period_s() * (1 - self.manners.clock_ppm * 1e-6)
            if loop.time() - due_s > 1.0:  # a paused host or machine: skip, do not send a burst of old samples
                due_s = loop.time()
            if await self._paused(due_s - loop.time()):
                due_s = loop.time()
            elif self._booted_s is not None:
                for kind, body, t_us in self.sample(int(due_s * 1e6)):
                    await self.send(kind, body, t_us)

    async def _paused(self, delay_s: float) -> bool:
        """Sleep; True when a new rate or a restart interrupted it."""
        loop = asyncio.get_running_loop()
        pause: asyncio.Future[bool] = loop.create_future()
        self._pause = pause
        timer = loop.call_later(max(0.0, delay_s), _end, pause)
        try:
            return await pause
        finally:
            timer.cancel()
            self._pause = None

    def _interrupt(self) -> None:
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(True)

    async def _boot(self) -> None:
        self._booted_s = asyncio.get_running_loop().time()
        self._seq = 0
        self.counters["boots"] += 1
        self.started()
        await self.send(sdp.BOOT, self.identity.packed() + bytes((self._reason,)))

    # -- requests ----------------------------------------------------------------------------------------------

    async def _take(self, data: bytes) -> None:
        before = Counter(self._receiver.dropped)
        frames = self._receiver.feed(data)
        for reason, n in (self._receiver.dropped - before).items():
            self.counters[f"dropped_{reason}"] += n
        for frame in frames:
            if self._booted_s is None:
                self.counters["dropped_down"] += 1  # still booting: nobody listens
            else:
                await self._answer(frame)

    async def _answer(self, frame: sdp.Payload) -> None:
        self.counters["requests"] += 1
        if frame.kind in _FREE_KINDS:
            await self._reply(sdp.HELLO, self.identity.packed())
            return
        now_s = asyncio.get_running_loop().time()
        for earlier in self._answers:
            if earlier.request == frame and now_s - earlier.at_s < _REPEATED_WITHIN_S:
                self.counters["repeats"] += 1
                await self._reply(sdp.ACK, earlier.ack)
                return
        result = self._obey(frame)
        ack = sdp.ack_body(frame.kind, frame.seq, result)
        self._answers.append(_Answered(frame, now_s, ack))
        await self._reply(sdp.ACK, ack)
        if result == sdp.DONE:
            self._after(frame.kind)

    async def _reply(self, kind: int, body: bytes) -> None:
        if self.rng.random() >= self.manners.ack_loss:
            await self.send(kind, body)

    def _obey(self, frame: sdp.Payload) -> int:
        """Do what the frame asks; the ACK's result."""
        match frame.kind:
            case sdp.SET_RATE:
                return self.set_rate(int.from_bytes(frame.body, "little"))
            case sdp.IDENTIFY:
                if not self.identity.features & sdp.FEATURE_IDENTIFY:
                    return sdp.NOT_SUPPORTED
                self.identify_until_s = asyncio.get_running_loop().time() + frame.body[0]
                return sdp.DONE
            case sdp.FIRMWARE_BEGIN | sdp.FIRMWARE_BLOCK | sdp.FIRMWARE_END:
                return self._firmware(frame)
            case sdp.REBOOT:
                return sdp.DONE
        return sdp.UNKNOWN_TYPE

    def _after(self, kind: int) -> None:
        """What happens once the ACK is on the wire."""
        if kind == sdp.SET_RATE:
            self._interrupt()
        elif kind == sdp.REBOOT:
            self.restart(sdp.BY_COMMAND)
        elif kind == sdp.FIRMWARE_END:
            self.identity = replace(self.identity, firmware=self._bootloader.version())
            self.restart(sdp.BY_FIRMWARE, self.manners.update_s)

    def set_rate(self, rate_tenths_hz: int) -> int:
        """Take a new sample rate; the ACK's result."""
        if not self.manners.rate_min_tenths_hz <= rate_tenths_hz <= self.manners.rate_max_tenths_hz:
            return sdp.BAD_ARGUMENT
        self.identity = replace(self.identity, rate_tenths_hz=rate_tenths_hz)
        return sdp.DONE

    def _firmware(self, frame: sdp.Payload) -> int:
        if not self.identity.features & sdp.FEATURE_FIRMWARE:
            return sdp.NOT_SUPPORTED
        if frame.kind == sdp.FIRMWARE_BEGIN:
            return self._bootloader.begin(frame.body)
        return self._bootloader.end() if frame.kind == sdp.FIRMWARE_END else self._bootloader.block(frame.body)


def _end(pause: asyncio.Future[bool]) -> None:
    if not pause.done():
        pause.set_result(False)
