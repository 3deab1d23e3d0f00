"""One LLRP connection as linear code: greet, request and answer, receive; keepalive is answered on the way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import cast

from devices.accounting import ByteAccount
from devices.driver import DriverContext
from devices.rejected import Rejected
from devices.rfid_llrp.framing import Framer, Message, frame
from devices.rfid_llrp.parameters import Parameter, Value, decode, encode
from devices.rfid_llrp.status import refusal
from devices.rfid_llrp.tables import MESSAGE_NUMBERS
from devices.transport.stream import ByteStream
from edge.core.errors import DeviceMisbehaved, DeviceRefused, DeviceTimeout, LinkLost

SILENCE_S = 15.0  # three keepalives of 5 s
ANSWER_S = 10.0
GREETING_S = 10.0
GOODBYE_S = 1.0
MAX_WAITING = 4096  # messages that came while we waited for an answer
READ_BYTES = 1 << 18
GOODBYE = MESSAGE_NUMBERS["CLOSE_CONNECTION_RESPONSE"]
KEEPALIVE_ACK = MESSAGE_NUMBERS["KEEPALIVE_ACK"]
KEEPALIVE = MESSAGE_NUMBERS["KEEPALIVE"]
EVENT = MESSAGE_NUMBERS["READER_EVENT_NOTIFICATION"]
REPORT = MESSAGE_NUMBERS["RO_ACCESS_REPORT"]
ERROR = MESSAGE_NUMBERS["ERROR_MESSAGE"]
# ConnectionAttemptEvent (LLRP 1.1, 15.1.15): why a reader does not want us
_ATTEMPT = {
    1: "it has called another client itself",
    2: "another client is connected; LLRP readers take one. Stop the other software or give this gateway the reader",
    3: "it gives no reason",
}


class LlrpLink:
    """The conversation with one reader over an open stream. Cancel-safe: a cancelled `receive` loses nothing."""

    def __init__(self, context: DriverContext, stream: ByteStream) -> None:
        self._context = context
        self._stream = stream
        self._framer = Framer()
        self._fed_bytes = 0
        self._bytes = ByteAccount(context.counters)
        self._inbox: deque[Message] = deque()
        self._next_id = 0
        self._heard_s = asyncio.get_running_loop().time()

    async def greet(self) -> None:
        """Wait for the reader's word on this connection (LLRP 1.1, 9.1.1). Raises DeviceRefused with its reason."""
        try:
            async with asyncio.timeout(GREETING_S):
                message = await self.receive()
        except TimeoutError:
            raise self._silent(f"no ConnectionAttemptEvent within {GREETING_S:g} s: is this an LLRP reader?") from None
        tree = self.tree(message)
        attempt = tree.find("ConnectionAttemptEvent")
        if message.type != EVENT or attempt is None:
            raise self._misbehaved(f"begins with {message.name}; expected READER_EVENT_NOTIFICATION")
        status = attempt.number("Status")
        if status:
            why = _ATTEMPT.get(status, f"status {status}")
            raise DeviceRefused(self._context.device_id, f"the reader refuses the connection: {why}")

    async def request(self, name: str, fields: Mapping[str, Value] | None = None, *children: Parameter) -> Parameter:
        """Send and wait for the answer. Raises DeviceRefused with the reader's own words, DeviceTimeout."""
        answer = await self.ask(name, fields, *children)
        why = refusal(name, answer)
        if why:
            raise DeviceRefused(self._context.device_id, why)
        return answer

    async def ask(self, name: str, fields: Mapping[str, Value] | None = None, *children: Parameter) -> Parameter:
        """As `request`, but whatever the answer's status is, it is the caller's."""
        self._next_id += 1
        message = encode(name, self._next_id, fields, *children)
        expected = MESSAGE_NUMBERS.get(f"{name}_RESPONSE", message.type)
        await self._stream.write(frame(message))
        passed: deque[Message] = deque()
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    answer = await self.receive()
                    if answer.type in (expected, ERROR) and answer.id == message.id:
                        return self.tree(answer)
                    if len(passed) >= MAX_WAITING:
                        passed.popleft()
                        self._context.count("messages_dropped")
                    passed.append(answer)
        except TimeoutError:
            raise self._silent(f"no answer to {name} within {ANSWER_S:g} s") from None
        finally:
            self._inbox.extendleft(reversed(passed))

    async def send(self, name: str) -> None:
        """A message that gets no answer."""
        self._next_id += 1
        await self._stream.write(frame(encode(name, self._next_id)))

    async def receive(self) -> Message:
        """The next message that is no keepalive. Raises LinkLost after 15 s of silence, DeviceMisbehaved on garbage."""
        while not self._inbox:
            await self._read_once()
        return self._inbox.popleft()

    async def receive_some(self) -> list[Message]:
        """What one read gives, perhaps nothing; keepalives are answered."""
        if not self._inbox:
            await self._read_once()
        waiting = list(self._inbox)
        self._inbox.clear()
        return waiting

    async def _read_once(self) -> None:
        try:
            async with asyncio.timeout_at(self._heard_s + SILENCE_S):
                data = await self._stream.read(READ_BYTES)
        except TimeoutError:
            raise LinkLost(self._context.device_id, f"the reader is silent for {SILENCE_S:g} s") from None
        framer = self._framer
        found = framer.feed(data)
        self._fed_bytes += len(data)
        self._bytes.tell(
            self._fed_bytes, framer.accepted_bytes, framer.rejected_bytes, framer.skipped_bytes, framer.buffered_bytes
        )
        if found:  # whole messages, not bytes: a length that lies would swallow the keepalives for ever
            self._heard_s = asyncio.get_running_loop().time()
        broken = found.pop() if found and isinstance(found[-1], Rejected) else None  # never followed by a message
        messages = cast("list[Message]", found)
        self._inbox.extend(message for message in messages if message.type != KEEPALIVE)
        if broken is not None:
            self._context.count("messages_rejected")
            raise self._misbehaved(f"{self._framer.broken}: the stream cannot be followed any more")
        for message in messages:  # last, so that being cancelled here loses nothing
            if message.type == KEEPALIVE:
                await self._stream.write(frame(Message(KEEPALIVE_ACK, message.id, b"")))

    def tree(self, message: Message) -> Parameter:
        """The message as a tree; an unreadable one is counted and comes back empty."""
        tree = decode(message)
        if isinstance(tree, Rejected):
            self._context.count("messages_rejected")
            return Parameter(message.name)
        return tree

    async def close_politely(self) -> None:
        """Say good-bye and wait at most 1 s for the reader's, so that it takes the next client; never raises."""
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self.send("CLOSE_CONNECTION")
                while (await self.receive()).type != GOODBYE:
                    pass
        except (TimeoutError, LinkLost, DeviceMisbehaved):
            pass  # it is gone already
        await self._stream.close()

    def _silent(self, what: str) -> DeviceTimeout:
        return DeviceTimeout(self._context.device_id, what)

    def _misbehaved(self, what: str) -> DeviceMisbehaved:
        return DeviceMisbehaved(self._context.device_id, what)
