"""Which Redis a store is used with, kept in the store.

    fleet/redis    the store's own name, and the identity of its Redis

All frontends of a store must share one Redis, which has the leases and the cache of holds. The
first frontend writes the document. It is changed when that Redis has lost all its data or is
replaced, and rewritten once a minute by one of the frontends that use it. So a frontend that is
started with another Redis sees that the store is in use. The protocol is in `service.pairing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.errors import OutcomeUnknown
from holdfast.storage import documents
from holdfast.storage.keys import FLEET
from holdfast.storage.port import (
    Condition,
    ConditionFailed,
    IfAbsent,
    IfMatch,
    NoSuchKey,
    ObjectStore,
)

PAIRED: Final = f"{FLEET}redis"
FORMAT: Final = 2


@dataclass(frozen=True, slots=True)
class Paired:
    """Which Redis a store is used with.

    Attributes:
        store: the store's own name, random: one Redis may know several stores.
        redis: the random identity of its Redis; it is lost if Redis loses its data.
        place: where that Redis is, for people; no credentials.
        by: the frontend that wrote this last, for people.
    """

    store: str
    redis: str
    place: str
    by: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The document as it was read.

    Attributes:
        paired: what it says; None if it is absent or damaged, and can be written again.
        etag: of the object; "" if it is absent.
        last_modified: of the object, by the store's clock, in s since 1970.
    """

    paired: Paired | None
    etag: str = ""
    last_modified: float = 0.0

    @property
    def unchanged(self) -> Condition:
        """The condition for replacing the document only if nobody else has since."""
        return IfMatch(self.etag) if self.etag else IfAbsent()


def look(store: ObjectStore) -> Kept:
    """Which Redis a store is used with.

    Raises:
        DataLoss: the object itself is torn.
        UnsupportedFormat: it has a newer format version.
        Unavailable: the store can't be reached.
    """
    try:
        now, entry = documents.read(store, PAIRED, _decode)
    except NoSuchKey:
        return Kept(None)
    except documents.Damaged as error:
        if error.entry is None:
            raise
        return Kept(None, error.entry.etag, error.entry.last_modified)
    return Kept(now, entry.etag, entry.last_modified)


def pair(store: ObjectStore, now: Paired, nonce: str, before: Kept) -> bool:
    """Replaces the document that was read; False if it has changed or the outcome is unknown.

    Raises:
        Unavailable: the store can't be reached.
    """
    document = {
        "format": FORMAT,
        "store": now.store,
        "redis": now.redis,
        "place": now.place,
        "by": now.by,
        "nonce": nonce,
    }
    try:
        store.put(PAIRED, documents.encode(document), before.unchanged)
    except (ConditionFailed, OutcomeUnknown):
        return False
    return True


def _decode(key: str, body: bytes) -> Paired:
    document = documents.decode(key, body, FORMAT)
    names = ("store", "redis", "place", "by")
    return Paired(*(str(documents.field(key, document, name, str)) for name in names))
