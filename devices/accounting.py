"""Where the bytes of a device's links went: bytes in = accepted + rejected + skipped + buffered, whatever came."""

from __future__ import annotations


class ByteAccount:
    """Brings one link's sums into the device's counters, which are totals over all its links."""

    __slots__ = ("_counters", "_told")

    def __init__(self, counters: dict[str, int]) -> None:
        """For a new link: what an earlier one held back of an unfinished message is skipped for good."""
        self._counters, self._told = counters, (0, 0, 0, 0)
        counters["bytes_skipped"] = counters.get("bytes_skipped", 0) + counters.get("bytes_buffered", 0)
        counters["bytes_buffered"] = 0

    def tell(self, fed: int, accepted: int, rejected: int, skipped: int, buffered: int) -> None:
        """What this link and its codec have counted so far, in bytes; `buffered` is what waits now for its rest."""
        counters, told = self._counters, self._told
        self._told = (fed, accepted, rejected, skipped)
        counters["bytes_in"] = counters.get("bytes_in", 0) + fed - told[0]
        counters["bytes_accepted"] = counters.get("bytes_accepted", 0) + accepted - told[1]
        counters["bytes_rejected"] = counters.get("bytes_rejected", 0) + rejected - told[2]
        counters["bytes_skipped"] += skipped - told[3]
        counters["bytes_buffered"] = buffered
