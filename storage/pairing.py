"""Which Redis a store is used with, kept in the store.

    fleet/redis    the store's own name, and what its Redis is known by

All frontends of a store must share one Redis: leases and the cache of holds are in it. The
document is made by the first frontend, changed when its Redis has lost everything or is
replaced, and written anew once a minute by one of those that use it. So whoever comes with
another Redis sees that somebody is there. The protocol is `service.pairing`'s.
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
        redis: what its Redis is known by, random: it doesn't survive the loss of its data.
        place: where that is, for people; no credentials.
        by: the frontend that wrote this last, for people.
    """

    store: str
    redis: str
    place: str
    by: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The document, as a look found it.

    Attributes:
        paired: what it says; None: it isn't there, or damaged, and can be made anew.
        etag: of the object; "" if it isn't there.
        last_modified: of the object, by the store's clock, in s since 1970.
    """

    paired: Paired | None
    etag: str = ""
    last_modified: float = 0.0

    @property
    def unchanged(self) -> Condition:
        """Under which it is written over only if nobody else has done so since."""
        return IfMatch(self.etag) if self.etag else IfAbsent()


def look(store: ObjectStore) -> Kept:
    """Which Redis a store is used with.

    Raises:
        DataLoss: the object itself is torn.
        UnsupportedFormat: of a newer format version.
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
    """Writes it over what a look found; False: it has changed, or the outcome isn't known."""
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
