"""What all frontends of one store and its collectors must agree on, kept in the store.

    fleet/ingest-lifetime    the longest life of an ingest that any frontend allows, in s

A frontend raises this value before it serves. A collector treats data as garbage only if the
data is older than that, whatever the collector's own settings say. The value is never lowered
automatically, because ingests that began under the longer life may still exist.

No frontend may declare more than LONGEST, so something else has written a larger value: a frontend
that was broken into could otherwise have collectors never remove anything. It counts as LONGEST.

A value that is damaged may have been any. Collectors don't go by it, and the next frontend that
starts replaces it by LONGEST.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from holdfast.errors import DataLoss, OutcomeUnknown, Unavailable, because
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

LIFETIME: Final = f"{FLEET}ingest-lifetime"
FORMAT: Final = 2
LONGEST: Final = 30 * 24 * 3600.0
"""The longest life of an ingest that the settings allow, in s."""
ATTEMPTS: Final = 16
"""How often a raise is tried while others raise the value concurrently."""


def longest_lifetime(store: ObjectStore) -> float:
    """The longest life of an ingest, in s, that any frontend has declared; 0 if none has.

    It is LONGEST at most, whatever is stored.

    Raises:
        DataLoss: the stored value is damaged.
        UnsupportedFormat: the stored value has a newer format version.
    """
    try:
        return _read(store)[0]
    except documents.Damaged as error:
        raise DataLoss(
            f"{because(error)}; start a frontend again, which replaces it, and see "
            "docs/collector.md"
        ) from error


def declare_lifetime(
    store: ObjectStore, seconds: float, replaced: Callable[[DataLoss], None] = lambda _: None
) -> float:
    """Declares that ingests may live for `seconds`; returns the longest life declared.

    A damaged value is replaced by LONGEST, since ingests may live for as long as any frontend
    declared.

    Args:
        store: where it is declared.
        seconds: the longest life that this frontend allows.
        replaced: called with what was wrong with a damaged value once it is replaced.

    Raises:
        UnsupportedFormat: the stored value has a newer format version.
        Unavailable: the declaration couldn't be confirmed.
    """
    wanted, damage = seconds, None
    for _ in range(ATTEMPTS):
        try:
            longest, condition = _read(store)
        except documents.Damaged as error:
            # An object of a folder that is torn has no ETag.
            longest, condition = 0.0, IfMatch(error.entry.etag if error.entry else "")
            wanted, damage = LONGEST, error
        if longest >= wanted or _raised(store, wanted, condition):
            if damage:
                replaced(damage)
            return max(longest, wanted)
    raise Unavailable(
        f"{LIFETIME}: the store confirmed none of {ATTEMPTS} writes; start the frontend again"
    )


def _raised(store: ObjectStore, seconds: float, condition: Condition) -> bool:
    document = {"format": FORMAT, "seconds": float(seconds), "nonce": secrets.token_hex(16)}
    try:
        store.put(LIFETIME, documents.encode(document), condition)
    except (ConditionFailed, OutcomeUnknown):
        return False
    return True


def _read(store: ObjectStore) -> tuple[float, Condition]:
    try:
        seconds, entry = documents.read(store, LIFETIME, _decode)
    except NoSuchKey:
        return 0.0, IfAbsent()
    return seconds, IfMatch(entry.etag)


def _decode(key: str, body: bytes) -> float:
    document = documents.decode(key, body, FORMAT)
    seconds: float = documents.field(key, document, "seconds", float)
    if not seconds >= 0:  # NaN is a float of JSON's, too
        raise DataLoss(f"object {key} is damaged: a life of {seconds} s")
    return min(seconds, LONGEST)
