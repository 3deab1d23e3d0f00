"""What the tests of the device roles share: a plain SDP/1 host."""

import asyncio

from firmware_sim import sdp
from firmware_sim.stream import ByteStream


class Host:
    """Reads and writes SDP/1 frames at one end of a stream."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.receiver = sdp.Receiver()
        self.inbox: asyncio.Queue[sdp.Payload] = asyncio.Queue()
        self.reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        while data := await self.stream.read(4096):
            for frame in self.receiver.feed(data):
                self.inbox.put_nowait(frame)

    async def next(self, *kinds: int, within_s: float = 5.0) -> sdp.Payload:
        """The next frame of one of these types; others are skipped."""
        async with asyncio.timeout(within_s):
            while True:
                frame = await self.inbox.get()
                if frame.kind in kinds:
                    return frame

    async def collect(self, seconds: float) -> list[sdp.Payload]:
        """All frames of the next ``seconds``."""
        await asyncio.sleep(seconds)
        return [self.inbox.get_nowait() for _ in range(self.inbox.qsize())]

    async def ask(self, kind: int, seq: int, body: bytes = b"") -> int:
        """Send a request, wait for its ACK, return the result."""
        await self.stream.write(sdp.encode(kind, seq, 0, body))
        while True:
            ack = await self.next(sdp.ACK)
            if ack.body[:3] == sdp.ack_body(kind, seq, 0)[:3]:
                return ack.body[3]

    async def close(self) -> None:
        await self.stream.close()
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)
