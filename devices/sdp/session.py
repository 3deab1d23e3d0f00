"""A conversation with one SDP/1 device: reads its frames, asks with the protocol's repeats, notices silence."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from typing import Final

from devices.accounting import ByteAccount
from devices.driver import DriverContext
from devices.sdp.codec import Decoder, Received, Rejected, encode
from devices.sdp.messages import (
    FIRMWARE_BLOCK_MAX,
    FIRMWARE_END,
    GET_HELLO,
    Ack,
    Boot,
    BootReason,
    Hello,
    Identity,
    Kind,
    Message,
    Request,
    Result,
    firmware_begin,
    firmware_block,
)
from devices.sdp.timeline import Timeline
from devices.transport.stream import ByteStream
from edge.core.errors import DeviceMisbehaved, DeviceRefused, DeviceTimeout

SILENCE_S: Final = 15.0  # a device that samples says something many times in this
LOOKED_FOR_S: Final = 0.5  # silence is looked for so often, and is to be told within `SILENCE_S`
COUNT_US: Final = 1_000_000
REPEAT_S: Final = 0.5
REPEATS: Final = 3
RESTART_S: Final = 30.0  # flash erase, copy and boot after FIRMWARE_END

_REFUSALS: Final = {
    Result.UNKNOWN_TYPE: "does not know this request: its firmware is too old",
    Result.BAD_ARGUMENT: "refuses the value",
    Result.BUSY: "is busy: try again",
    Result.BAD_SIGNATURE: "refuses the signature: the firmware is not from the maker of this device",
    Result.NOT_SUPPORTED: "cannot do this: its hardware lacks it",
}
_BOOT_ANSWERS: Final = {BootReason.COMMAND: Kind.REBOOT, BootReason.FIRMWARE: Kind.FIRMWARE_END}

Taken = tuple[Message, int]
"""A message and the engine time (µs) at which the device made it."""


class Session:
    """One link to one device. `batches` must be running for `ask` to get its answers."""

    def __init__(self, context: DriverContext, stream: ByteStream) -> None:
        self.identity: Identity | None = None
        self.timeline = Timeline()
        self._context = context
        self._stream = stream
        self._decoder = Decoder()
        self._bytes = ByteAccount(context.counters)
        self._seq = 0
        self._asking = asyncio.Lock()
        self._wanted: tuple[Kind, int] | None = None
        self._answer: asyncio.Future[Result] | None = None
        self._booted: asyncio.Future[Identity] | None = None
        self._heard_us = context.now_us()
        self._rejected = 0
        self._counted_us = 0

    @property
    def asking(self) -> bool:
        """Whether a request waits for its answer now."""
        return self._answer is not None

    def quiet_s(self) -> float:
        """Seconds since the last good frame."""
        return (self._context.now_us() - self._heard_us) / 1e6

    async def read(self) -> list[Taken]:
        """The messages of one read of the link, possibly none. Raises LinkLost once the link is gone."""
        return self._take(await self._stream.read())

    def silence(self) -> DeviceTimeout | DeviceMisbehaved | None:
        """The error to raise when the device has said nothing readable for too long; cheap, to be asked now and then.

        DeviceTimeout after 15 s of silence, DeviceMisbehaved after 15 s of bytes that are no frames.
        """
        if self.quiet_s() < SILENCE_S - LOOKED_FOR_S:
            return None
        garbage = self._decoder.ledger.rejected - self._rejected
        if garbage:
            why = f"{garbage} bytes in {SILENCE_S:.0f} s and no SDP/1 frame in them; expected 8N1 at the right rate"
            return DeviceMisbehaved(self._context.device_id, why)
        return DeviceTimeout(self._context.device_id, f"silent for {SILENCE_S:.0f} s")

    def _take(self, data: bytes) -> list[Taken]:
        now_us = self._context.now_us()
        taken: list[Taken] = []
        for item in self._decoder.feed(data):
            if isinstance(item, Rejected):
                continue
            if self.timeline.repeats(item.seq, item.uptime_ms):
                self._context.count("frames_repeated")
            else:
                taken.append(self._received(item, now_us))
        if taken:
            self._heard_us, self._rejected = now_us, self._decoder.ledger.rejected
        if now_us - self._counted_us >= COUNT_US:
            self._counted_us = now_us
            self.tell_counters()
        return taken

    def _received(self, item: Received, now_us: int) -> Taken:
        made_us = self.timeline.take(item.seq, item.uptime_ms, now_us)
        message = item.message
        if isinstance(message, Ack | Hello | Boot):
            self._answered(message)
        return message, made_us

    def tell_counters(self) -> None:
        """Bring the context's counters up to date; done once a second."""
        counters, ledger, timeline = self._context.counters, self._decoder.ledger, self.timeline
        self._bytes.tell(ledger.fed, ledger.accepted, ledger.rejected, ledger.skipped, ledger.buffered)
        counters["frames"] = ledger.frames
        counters["frames_rejected"] = sum(ledger.by_reason.values())
        counters["frames_lost"] = timeline.lost_frames
        counters["reboots"] = timeline.reboots

    def _answered(self, message: Ack | Hello | Boot) -> None:
        if isinstance(message, Hello | Boot):
            self.identity = message.identity
        if isinstance(message, Boot):
            if self._booted is not None and not self._booted.done():
                self._booted.set_result(message.identity)
            kind = _BOOT_ANSWERS.get(BootReason(message.reason)) if message.reason in set(BootReason) else None
            self._settle(kind, None, Result.DONE)
        elif isinstance(message, Hello):
            self._settle(Kind.GET_HELLO, None, Result.DONE)
        elif message.acked_type in set(Kind) and message.result in set(Result):
            self._settle(Kind(message.acked_type), message.acked_seq, Result(message.result))

    def _settle(self, kind: Kind | None, seq: int | None, result: Result) -> None:
        if self._wanted is None or self._answer is None or self._answer.done() or kind is not self._wanted[0]:
            return
        if seq is None or seq == self._wanted[1]:
            self._answer.set_result(result)

    async def ask(self, request: Request) -> Result:
        """Send a request, repeat it with the same seq every 500 ms, at most 3 times. DeviceTimeout without answer."""
        async with self._asking:
            seq, self._seq = self._seq, (self._seq + 1) & 0xFFFF
            frame = encode(request.kind, seq, request.body)
            self._wanted = (request.kind, seq)
            self._answer = asyncio.get_running_loop().create_future()
            try:
                for _ in range(1 + REPEATS):
                    await self._stream.write(frame)
                    done, _pending = await asyncio.wait({self._answer}, timeout=REPEAT_S)
                    if done:
                        return self._answer.result()
                    self._context.count("requests_repeated")
                detail = f"{request.kind.name} unanswered after {1 + REPEATS} attempts"
                raise DeviceTimeout(self._context.device_id, detail)
            finally:
                self._wanted = self._answer = None

    async def demand(self, request: Request) -> None:
        """`ask`, and DeviceRefused in words for every answer but done."""
        result = await self.ask(request)
        if result is not Result.DONE:
            raise DeviceRefused(self._context.device_id, f"{request.kind.name}: the device {_REFUSALS[result]}")

    async def hello(self) -> Identity:
        """The device's identity, asked for now."""
        await self.demand(GET_HELLO)
        if self.identity is None:
            raise DeviceMisbehaved(self._context.device_id, "answered GET_HELLO without an identity")
        return self.identity

    async def update(self, firmware: bytes, signature: bytes, progress: Callable[[float], None]) -> str:
        """Send signed firmware; the version that runs after the restart. The signature is over the SHA-256."""
        if len(signature) != 64:
            detail = f"firmware signature of {len(signature)} bytes: expected the 64 bytes of Ed25519"
            raise DeviceRefused(self._context.device_id, detail)
        await self.demand(firmware_begin(len(firmware), hashlib.sha256(firmware).digest(), signature))
        for offset, block in _blocks(firmware):
            await self.demand(firmware_block(offset, block))
            progress(min(0.99, (offset + len(block)) / len(firmware)))
        self._booted = asyncio.get_running_loop().create_future()
        try:
            await self.demand(FIRMWARE_END)
            async with asyncio.timeout(RESTART_S):
                identity = await self._booted
        except TimeoutError as error:
            if isinstance(error, DeviceTimeout):
                raise
            detail = f"did not come back within {RESTART_S:.0f} s after the update"
            raise DeviceTimeout(self._context.device_id, detail) from None
        finally:
            self._booted = None
        progress(1.0)
        return identity.firmware


def _blocks(firmware: bytes) -> Iterator[tuple[int, bytes]]:
    for offset in range(0, len(firmware), FIRMWARE_BLOCK_MAX):
        yield offset, firmware[offset : offset + FIRMWARE_BLOCK_MAX]
