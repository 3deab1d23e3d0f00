"""Counters of bytes are totals over all links of a device, and always add up."""

from __future__ import annotations

from devices.accounting import ByteAccount


def test_a_new_link_goes_on_where_the_last_one_ended() -> None:
    counters: dict[str, int] = {}
    first = ByteAccount(counters)
    first.tell(10, 4, 1, 2, 3)
    first.tell(30, 20, 1, 2, 7)
    assert counters == {
        "bytes_in": 30, "bytes_accepted": 20, "bytes_rejected": 1, "bytes_skipped": 2, "bytes_buffered": 7,
    }  # fmt: skip
    ByteAccount(counters).tell(5, 5, 0, 0, 0)
    assert counters == {
        "bytes_in": 35, "bytes_accepted": 25, "bytes_rejected": 1, "bytes_skipped": 9, "bytes_buffered": 0,
    }  # fmt: skip
