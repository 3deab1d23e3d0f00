"""Byte streams by moniker: serial:, tcp:, tls:, sim:, replay:."""

from devices.transport.links import SimLinks, open_stream
from devices.transport.recording import Tap
from devices.transport.stream import ByteStream

__all__ = ["SCHEMES", "ByteStream", "SimLinks", "Tap", "open_stream"]
