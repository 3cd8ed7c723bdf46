"""Records, holds and blobs on one store, and documents to put into them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from holdfast.digests import Digest
from holdfast.storage.blobs import Blobs
from holdfast.storage.blocks import sums_of
from holdfast.storage.holds import Hold, Holds
from holdfast.storage.keys import data_key, uuid7
from holdfast.storage.own_data import Lifetime, OwnData, Sight
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import Record, Records, State, new_nonce

BODY = b"the bytes of a blob"
DIGEST = Digest.of(BODY)
NOW = 1_800_000_000_000_000_000
JUST_STORED = OwnData(Lifetime(0.0, float("inf")), Sight(0.0))


@dataclass(frozen=True)
class Shop:
    """What a frontend has of one store."""

    store: ObjectStore
    records: Records
    holds: Holds
    blobs: Blobs


def shop_on(store: ObjectStore, clock: Callable[[], float] = lambda: 0.0) -> Shop:
    records, holds = Records(store), Holds(store, uuid7, new_nonce)
    return Shop(store, records, holds, Blobs(store, records, holds, new_nonce, clock))


def live(data: str | None = None, *, inline: bool = False, nonce: str | None = None) -> Record:
    return Record(
        digest=DIGEST,
        state=State.LIVE,
        size=len(BODY),
        created_at_ns=NOW,
        data_key=data or data_key(uuid7()),
        block_sums=sums_of(BODY),
        nonce=nonce or new_nonce(),
        inline=BODY if inline else None,
    )


def stored(store: ObjectStore) -> Record:
    """A live record whose data is in the store."""
    record = live()
    store.put(record.data_key, BODY)
    return record


def hold(labels: dict[str, str] | None = None, at: int = NOW) -> Hold:
    return Hold(DIGEST, len(BODY), at, at, labels or {}, at if labels else 0, new_nonce())
