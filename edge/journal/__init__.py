"""The journal: one append-only fact table with an integer seq, which is log, outbox and memory in one."""

from edge.journal.log import Journal, JournalSettings, Kept
from edge.journal.store import Store
from edge.journal.writer import InlineWriter, ThreadWriter

__all__ = ["InlineWriter", "Journal", "JournalSettings", "Kept", "Store", "ThreadWriter"]
