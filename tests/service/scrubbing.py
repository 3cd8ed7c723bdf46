"""A scrub in this process, with a clock of its own, and ways to damage a store."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from holdfast.digests import Digest
from holdfast.programs import Program
from holdfast.service.scrub.passes import Means, Pass, ScrubOptions
from holdfast.service.scrub.report import ScrubReport
from holdfast.storage.blobs import Blobs
from holdfast.storage.blocks import sums_of
from holdfast.storage.holds import Hold, Holds
from holdfast.storage.keys import data_key, record_key, uuid7
from holdfast.storage.own_data import Lifetime, OwnData, Sight
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import INLINE_LIMIT, Record, Records, State, new_nonce
from tests.service.rights import under
from tests.storage.edited import edited

Damage = Callable[[ObjectStore, Digest], None]

YEARS = 10**9
"""Seconds: a hold of such an age is nobody's commit under way."""


@dataclass
class Clock:
    """A monotonic clock that only moves when it is told to, or waited on."""

    time: float = 1000.0
    waits: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds


def nothing() -> None:
    """Nobody remembers anything."""


def means(
    store: ObjectStore, *, forget: Callable[[], None] = nothing, clock: Clock | None = None
) -> Means:
    """What a scrub works with."""
    clock = clock or Clock()
    return Means(
        store=under(Program.SCRUB, store),
        forget=forget,
        clock=clock,
        now=lambda: 1_800_000_000.0,
        wait=clock.wait,
        stop=threading.Event(),
        new_name=uuid7,
        new_nonce=new_nonce,
    )


def scrub(
    store: ObjectStore,
    *,
    forget: Callable[[], None] = nothing,
    clock: Clock | None = None,
    **orders: Any,
) -> ScrubReport:
    """One pass."""
    return Pass(ordered(**orders), means(store, forget=forget, clock=clock)).run()


def ordered(**orders: Any) -> ScrubOptions:
    """Orders without a limit of the rate; holds may be without content for ever."""
    return ScrubOptions(**{"rate": 0, "workers": 2, "hold_age": YEARS, **orders})


def found(report: ScrubReport) -> dict[str, str]:
    """Kinds of findings by digest."""
    return {finding.digest: finding.kind.value for finding in report.findings}


def commit(store: ObjectStore, body: bytes, tenant: str = "a", algorithm: str = "sha256") -> Digest:
    """A blob with a hold, as a frontend commits it."""
    records, holds = Records(store), Holds(store, uuid7, new_nonce)
    blobs = Blobs(store, records, holds, new_nonce, lambda: 0.0)
    digest, key = Digest.of(body, algorithm), data_key(uuid7())
    inline = body if len(body) <= INLINE_LIMIT else None
    if inline is None:
        store.put(key, body)
    hold = Hold(digest, len(body), 1, 1, {}, 0, new_nonce())
    hold_key = blobs.make_hold(tenant, hold)
    record = Record(digest, State.LIVE, len(body), 1, key, sums_of(body), new_nonce(), inline)
    own = OwnData(Lifetime(store.now(), 3600.0), Sight(0.0))
    blobs.publish(tenant, record, own, hold, hold_key)
    return digest


def record_of(store: ObjectStore, digest: Digest | str) -> Record:
    """What the store says of a digest."""
    seen = Records(store).read(digest if isinstance(digest, Digest) else Digest.parse(digest))
    assert seen is not None
    return seen.record


def edit_record(store: ObjectStore, digest: Digest | str, **fields: Any) -> None:
    """Changes fields of a record, as no program of ours would."""
    key = record_key(digest if isinstance(digest, Digest) else Digest.parse(digest))
    store.put(key, edited(store.get(key).body, **fields))


def flip(store: ObjectStore, key: str, at: int) -> None:
    """Flips a bit of an object."""
    body = bytearray(store.get(key).body)
    body[at] ^= 1
    store.put(key, bytes(body))


def delete_data(store: ObjectStore, digest: Digest) -> None:
    store.delete(record_of(store, digest).data_key)


def truncate_data(store: ObjectStore, digest: Digest) -> None:
    key = record_of(store, digest).data_key
    store.put(key, store.get(key).body[:-1])


def lengthen_data(store: ObjectStore, digest: Digest) -> None:
    key = record_of(store, digest).data_key
    store.put(key, store.get(key).body + b"x")


def edit_data(store: ObjectStore, digest: Digest) -> None:
    flip(store, record_of(store, digest).data_key, 50_000)


def edit_sums(store: ObjectStore, digest: Digest) -> None:
    record = record_of(store, digest)
    wrong = bytes(len(record.block_sums))
    edit_record(store, digest, crc32c=base64.b64encode(wrong).decode())


def forge(store: ObjectStore, digest: Digest) -> None:
    """Other bytes of the same size, with sums that fit them."""
    record = record_of(store, digest)
    other = bytes(record.size)
    store.put(record.data_key, other)
    edit_record(store, digest, crc32c=base64.b64encode(sums_of(other)).decode())


def lone_hold(store: ObjectStore, body: bytes, tenant: str) -> tuple[Digest, str]:
    digest = Digest.of(body)
    holds = Holds(store, uuid7, new_nonce)
    return digest, holds.make(tenant, Hold(digest, len(body), 1, 1, {}, 0, new_nonce()))
