"""A store in memory that looks as a fleet of many tenants leaves it, and counts.

Blobs and their data are there; holds are made up as they are asked for, so that a
million of them take no memory of this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from bench.capacity.counted import CountedStore
from bench.capacity.formulas import Size
from holdfast.digests import Digest
from holdfast.storage.blocks import sums_of
from holdfast.storage.holds import Hold
from holdfast.storage.keys import HOLDS, data_key, hold_digest, hold_prefix, record_key
from holdfast.storage.port import Entry, Fetched, NoSuchKey
from holdfast.storage.records import Record, State
from tests.stores.memory import START

INLINE_EVERY: Final = 4
"""One blob of so many is in its record: a manifest or a config."""
AGE: Final = 10 * 24 * 3600.0
"""Seconds: all that is there is so old."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many there are of what; each tenant has as many holds as any other."""

    tenants: int
    holds: int
    blobs: int

    @property
    def stride(self) -> int:
        """From one blob that a tenant holds to its next one."""
        return self.blobs // self.holds

    @property
    def named(self) -> int:
        """Blobs that some tenant holds."""
        return self.holds * min(self.tenants, self._shared)

    @property
    def _shared(self) -> int:
        # One blob in 50 is left to nobody, where there are that many.
        return max(1, self.stride * 49 // 50)

    def blobs_of(self, tenant: int) -> range:
        """The numbers of the blobs that a tenant holds."""
        first = tenant % self._shared
        return range(first, first + self.holds * self.stride, self.stride)

    @property
    def size(self) -> Size:
        """As the formulas take it: each data object is one block."""
        inline = -(-self.blobs // INLINE_EVERY)
        objects = self.blobs - inline
        return Size(
            holds=self.tenants * self.holds,
            records=self.blobs,
            unheld=self.blobs - self.named,
            objects=objects,
            blocks=objects,
        )


class FleetStore(CountedStore):
    """What such a fleet has, at the port of the object store."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__()
        self.fleet = fleet
        bodies = {Digest.of(b"blob %d" % number): number for number in range(fleet.blobs)}
        self._digests = sorted(bodies, key=str)
        self._places = {digest: place for place, digest in enumerate(self._digests)}
        self._hold_size = len(_hold_body(self._digests[0]))
        for place, digest in enumerate(self._digests):
            self._commit(digest, b"blob %d" % bodies[digest], inline=place % INLINE_EVERY == 0)
        self.time += AGE
        self.start_over()

    def _commit(self, digest: Digest, body: bytes, *, inline: bool) -> None:
        key = data_key(f"{len(self._objects):032x}")
        record = Record(
            digest=digest,
            state=State.LIVE,
            size=len(body),
            created_at_ns=int(START * 1e9),
            data_key=key,
            block_sums=sums_of(body),
            nonce=f"{len(self._objects):032x}",
            inline=body if inline else None,
        )
        if not inline:
            super().put(key, body)
        super().put(record_key(digest), record.encode())

    def listed(self, prefix: str) -> Iterable[Entry]:
        """As is there, but for holds."""
        return self._holds(prefix) if prefix.startswith(HOLDS) else super().listed(prefix)

    def fetched(self, key: str, offset: int, length: int | None) -> Fetched:
        """As is there, but for holds."""
        if key.startswith(HOLDS):
            return self._hold(key)
        return super().fetched(key, offset, length)

    # -- holds, made up

    def tenant(self, number: int) -> str:
        """A tenant's name."""
        return f"node-{number:05}"

    def _numbers(self, prefix: str) -> range:
        """The tenants that a prefix is about."""
        name = prefix.removeprefix(HOLDS).partition("/")[0]
        if not name:
            return range(self.fleet.tenants)
        number = int(name.removeprefix("node-"))
        return range(number, number + 1)

    def _holds(self, prefix: str) -> Iterator[Entry]:
        for number in self._numbers(prefix):
            for place in self.fleet.blobs_of(number):
                key = hold_prefix(self.tenant(number), self._digests[place]) + f"{number:032x}"
                if key.startswith(prefix):
                    yield Entry(key, self._hold_size, key, START)

    def _hold(self, key: str) -> Fetched:
        (number,) = self._numbers(key)
        if self._places.get(hold_digest(key), -1) not in self.fleet.blobs_of(number):
            raise NoSuchKey(key)
        body = _hold_body(hold_digest(key))
        return Fetched(Entry(key, len(body), key, START), body, self.time)


def _hold_body(digest: Digest) -> bytes:
    at = int(START * 1e9)
    return Hold(
        digest=digest,
        size=20 * 2**20,
        created_at_ns=at,
        updated_at_ns=at,
        labels={},
        labelled_at_ns=0,
        nonce="0" * 32,
    ).encode()
