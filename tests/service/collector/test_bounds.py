"""However large the store is, a run's memory isn't."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from uuid import UUID

import pytest

from holdfast.service.collector.report import CollectedKind
from holdfast.storage.keys import DATA, HOLDS, RECORDS, record_digest
from holdfast.storage.port import Entry, Fetched
from holdfast.storage.records import Record, State
from holdfast.storage.spool import LIMIT
from tests.service.collector.world import OLD, World, counts
from tests.stores.memory import START, MemoryStore

HELD = 300_000
"""Three times what a spool keeps in memory."""


def made_up(number: int) -> str:
    """The key of some data."""
    return f"{DATA}{UUID(int=number)}"


class Endless(MemoryStore):
    """A store that seems to have many blobs, each with a hold and with data."""

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """Made up as it is consumed."""
        if prefix not in {HOLDS, RECORDS, DATA}:
            yield from super().list(prefix, start_after)
            return
        for number in range(HELD):
            name = f"sha256/{number:064x}"
            keys = {HOLDS: f"holds/a/{name}/h", RECORDS: RECORDS + name}
            yield Entry(keys.get(prefix, made_up(number)), 300, "etag", START - OLD)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """As the port says; records are made up."""
        if not key.startswith(RECORDS):
            return super().get(key, offset, length)
        digest = record_digest(key)
        data = made_up(int(digest.hex, 16))
        body = Record(digest, State.LIVE, 1, 0, data, bytes(4), "nonce").encode()
        return Fetched(Entry(key, len(body), "etag", START - OLD), body, START)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("known", [False, True])
def test_many_blobs_take_bounded_memory(known: bool) -> None:
    """A run over a store far larger than a spool takes less than 200 MiB, known or not."""
    world = World(Endless())
    if known:
        world.collect_twice(limit=LIMIT)
    tracemalloc.start()
    try:
        report = world.collect(limit=LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.ok, report.errors
    assert counts(report, CollectedKind.RECORDS) == {"held": HELD}
    assert counts(report, CollectedKind.DATA) == {"named": HELD}
    assert peak < 200 * 2**20
