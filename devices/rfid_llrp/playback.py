"""The reads of a recorded LLRP link, at the times they came: for trying other settings on a store's own past."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from devices.driver import DriverContext
from devices.rejected import Rejected
from devices.rfid_llrp.batch import ReportBatch
from devices.rfid_llrp.framing import Framer
from devices.rfid_llrp.link import REPORT
from devices.transport.recording import FROM_DEVICE, read_recording
from devices.transport.stream import ByteStream
from edge.core.errors import LinkLost
from edge.core.observation import TagReads


def recorded_reads(path: Path, device_id: str, batch_ms: int = 100) -> Iterator[TagReads]:
    """Everything a tap has recorded of a reader, as the driver would have emitted it; mono_us counts from its start.

    Raises PlainError where the file is no link recording; what cannot be decoded in it is left out as it was live.
    """
    at_us = 0
    context = DriverContext(device_id, lambda: at_us, _no_link)
    framer, batch = Framer(), ReportBatch(context)
    due_us = 0
    for record in read_recording(path):
        if record.direction != FROM_DEVICE:
            continue
        if batch and record.at_us >= due_us:
            at_us = due_us
            yield from batch.take()
        at_us = record.at_us
        messages = [message for message in framer.feed(record.data) if not isinstance(message, Rejected)]
        if not batch:
            due_us = at_us + batch_ms * 1000
        batch.add([message.body for message in messages if message.type == REPORT], at_us)
    if batch:
        yield from batch.take()


async def _no_link(moniker: str) -> ByteStream:
    raise LinkLost(moniker, "a playback opens no link")
