"""The reads of a recorded link of a serial UHF module, at the times they came."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from devices.rejected import Rejected
from devices.rfid_r200.codec import NOTICE, Decoder, Frame, TagNotice, read_notice
from devices.rfid_r200.driver import tag_reads
from devices.transport.recording import FROM_DEVICE, read_recording
from edge.core.observation import TagReads


def recorded_reads(path: Path, device_id: str, batch_ms: int = 100) -> Iterator[TagReads]:
    """Everything a tap has recorded of a module, as the driver would have emitted it; mono_us counts from its start.

    Raises PlainError where the file is no link recording; what cannot be decoded in it is left out as it was live.
    """
    decoder = Decoder()
    notices: list[tuple[TagNotice, int]] = []
    due_us = 0
    for record in read_recording(path):
        if record.direction != FROM_DEVICE:
            continue
        if notices and record.at_us >= due_us:
            yield from tag_reads(device_id, due_us, notices)
            notices = []
        if not notices:
            due_us = record.at_us + batch_ms * 1000
        for frame in decoder.feed(record.data):
            tag = read_notice(frame) if isinstance(frame, Frame) and frame.type == NOTICE else None
            if tag is not None and not isinstance(tag, Rejected) and tag.crc_ok:
                notices.append((tag, record.at_us))
    if notices:
        yield from tag_reads(device_id, due_us, notices)
