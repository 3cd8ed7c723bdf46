"""Marks a record as corrupt because its bytes were found damaged, as one operation.

The record is read again first, and the swap is conditional on the ETag of that reading, so it
can't hit a newer record.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from holdfast.storage.keys import NewName
from holdfast.storage.records import LostRace, Record, Records, State

ATTEMPTS: Final = 3
"""Attempts to mark a record that changes meanwhile."""


class Mark(StrEnum):
    """What became of a mark."""

    MARKED = "marked"
    MARKED_BEFORE = "marked_before"
    """A scrub or another frontend has marked the record a moment ago."""
    CHANGED = "changed"
    """The record now names other bytes, or is gone."""
    FAILED = "failed"
    """The record has changed at each attempt."""


def mark_damaged(records: Records, record: Record, new_nonce: NewName) -> Mark:
    """Marks the record of a digest as corrupt if it still names the bytes that `record` names.

    Args:
        records: the records of the store.
        record: names the bytes that are damaged.
        new_nonce: makes the nonces of what is written.

    Raises:
        Unavailable: the store can't be reached, or the outcome stayed unknown.
    """
    seen = records.read(record.digest)
    for _ in range(ATTEMPTS):
        if seen is None or not seen.record.same_bytes(record):
            return Mark.CHANGED
        if seen.record.state is State.CORRUPT:
            return Mark.MARKED_BEFORE
        if not seen.record.readable:
            return Mark.CHANGED
        try:
            records.mark_corrupt(seen, new_nonce())
        except LostRace as race:
            seen = race.current
        else:
            return Mark.MARKED
    return Mark.FAILED
