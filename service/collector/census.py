"""The census: how much a run has listed, so that the next run can compare.

    collector/census    holds, records, data (objects), data_bytes

Only brakes depend on it. If it is absent or damaged, the next run has nothing to compare with.

It must never name more records than the next run can find, or that run, and all after it, would
stop. So it is written before a run removes records, without those, whatever becomes of them; and of
runs that overlap, the smallest counts stay.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final, Self

from holdfast.errors import Unavailable
from holdfast.storage import documents
from holdfast.storage.keys import COLLECTOR
from holdfast.storage.port import (
    Condition,
    ConditionFailed,
    IfAbsent,
    IfMatch,
    NoSuchKey,
    ObjectStore,
)

KEY: Final = f"{COLLECTOR}census"
FORMAT: Final = 2
ATTEMPTS: Final = 16
"""More than runs can overlap."""
_FIELDS: Final = ("holds", "records", "data", "data_bytes")


@dataclass(frozen=True, slots=True)
class Census:
    """How much a run has listed: holds, records, data objects and their bytes."""

    holds: int
    records: int
    data: int
    data_bytes: int

    @classmethod
    def read(cls, store: ObjectStore) -> tuple[Self | None, Condition]:
        """Reads what the last run has written.

        Returns:
            The census, or None if there is none; and the condition under which that is still so.

        Raises:
            DataLoss: the census is damaged.
            UnsupportedFormat: the census has a newer format version.
        """
        try:
            found, entry = documents.read(store, KEY, cls._decode)
        except NoSuchKey:
            return None, IfAbsent()
        return found, IfMatch(entry.etag)

    @classmethod
    def _decode(cls, key: str, body: bytes) -> Self:
        document = documents.decode(key, body, FORMAT)
        return cls(*(documents.field(key, document, name, int) for name in _FIELDS))

    def write(self, store: ObjectStore, condition: Condition | None) -> None:
        """Writes the census for the next run; of what another run wrote meanwhile, the smaller.

        Args:
            store: where it is.
            condition: under which the census is still the one that this run has read; None: it
                couldn't read any, and replaces whatever is there.

        Raises:
            Unavailable: other runs write all the time.
        """
        census = self
        for _ in range(ATTEMPTS):
            try:
                store.put(KEY, census._encoded(), condition)
            except ConditionFailed:
                other, condition = Census.read(store)
                census = census if other is None else census._least(other)
            else:
                return
        raise Unavailable(f"{KEY}: it was changed concurrently {ATTEMPTS} times; run again")

    def _least(self, other: Census) -> Census:
        return Census(*(min(getattr(self, name), getattr(other, name)) for name in _FIELDS))

    def _encoded(self) -> bytes:
        counts = {name: getattr(self, name) for name in _FIELDS}
        return documents.encode({"format": FORMAT, **counts, "nonce": secrets.token_hex(16)})
