"""What all tenants together hold, as the last collection has found it.

    fleet/held    bytes (of held blobs, each once), blobs, at (s), counter, mark

Collectors write it, without a condition; frontends with a bound for the fleet read it. `counter`
and `mark` say how far the fleet's growth was counted when that collection began to look: what was
added since is added to `bytes`. If it is absent or damaged, only that growth is known.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final, Self

from holdfast.storage import documents
from holdfast.storage.keys import FLEET
from holdfast.storage.port import NoSuchKey, ObjectStore

KEY: Final = f"{FLEET}held"
FORMAT: Final = 2


@dataclass(frozen=True, slots=True)
class FleetHeld:
    """What the fleet held when a collection looked.

    Attributes:
        size: bytes of all blobs that anybody held, each counted once.
        blobs: how many these were.
        at: when the collection began to look, in s since 1970, by the store's clock.
        counter: the name of the counter of growth at that time.
        mark: the bytes that it had counted.
    """

    size: int
    blobs: int
    at: float
    counter: str
    mark: int

    @classmethod
    def read(cls, store: ObjectStore) -> Self | None:
        """Reads what the last collection has written; None if there was none.

        Raises:
            DataLoss: the document is damaged.
            UnsupportedFormat: it has a newer format version.
        """
        try:
            return documents.read(store, KEY, cls.decode)[0]
        except NoSuchKey:
            return None

    @classmethod
    def decode(cls, key: str, body: bytes) -> Self:
        """Reads what `write` wrote.

        Raises:
            DataLoss: it isn't such a document.
            UnsupportedFormat: it has a newer format version.
        """
        document = documents.decode(key, body, FORMAT)
        return cls(
            size=documents.whole(key, document, "bytes"),
            blobs=documents.whole(key, document, "blobs"),
            at=documents.field(key, document, "at", float),
            counter=documents.field(key, document, "counter", str),
            mark=documents.whole(key, document, "mark"),
        )

    def write(self, store: ObjectStore) -> None:
        """Writes it for frontends."""
        document = {
            "format": FORMAT,
            "bytes": self.size,
            "blobs": self.blobs,
            "at": self.at,
            "counter": self.counter,
            "mark": self.mark,
            "nonce": secrets.token_hex(16),
        }
        store.put(KEY, documents.encode(document))
