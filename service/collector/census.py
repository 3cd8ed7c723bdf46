"""The census: how much a run has listed, so that the next run can compare.

    collector/census    holds, records, data (objects), data_bytes

Only brakes depend on it. It is written without a condition, and if it is absent or damaged, the
next run has nothing to compare with.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final, Self

from holdfast.storage import documents
from holdfast.storage.keys import COLLECTOR
from holdfast.storage.port import NoSuchKey, ObjectStore

KEY: Final = f"{COLLECTOR}census"
FORMAT: Final = 2
_FIELDS: Final = ("holds", "records", "data", "data_bytes")


@dataclass(frozen=True, slots=True)
class Census:
    """How much a run has listed: holds, records, data objects and their bytes."""

    holds: int
    records: int
    data: int
    data_bytes: int

    @classmethod
    def read(cls, store: ObjectStore) -> Self | None:
        """Reads what the last run has written; None if there is nothing.

        Raises:
            DataLoss: the census is damaged.
            UnsupportedFormat: the census has a newer format version.
        """
        try:
            return documents.read(store, KEY, cls._decode)[0]
        except NoSuchKey:
            return None

    @classmethod
    def _decode(cls, key: str, body: bytes) -> Self:
        document = documents.decode(key, body, FORMAT)
        return cls(*(documents.field(key, document, name, int) for name in _FIELDS))

    def write(self, store: ObjectStore) -> None:
        """Writes the census for the next run."""
        counts = {name: getattr(self, name) for name in _FIELDS}
        document = {"format": FORMAT, **counts, "nonce": secrets.token_hex(16)}
        store.put(KEY, documents.encode(document))
