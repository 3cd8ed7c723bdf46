"""However large the store is, a run's memory isn't."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from service.collector.records import Burial, Condemnation, list_holds
from service.collector.report import Kind
from storage.keys import HOLDS, RECORDS
from storage.port import Entry
from storage.spool import LIMIT
from tests.service.collector.memory_store import START, MemoryStore
from tests.service.collector.world import World, counts

HELD = 1_000_000


class Endless(MemoryStore):
    """A store that seems to have a million blobs, each with a hold."""

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """Made up as it is consumed."""
        del start_after
        for number in range(HELD):
            name = f"sha256/{number:064x}"
            key = f"holds/a/{name}/h" if prefix == HOLDS else f"{RECORDS}{name}"
            yield Entry(key, 300, "etag", START)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_holds_take_bounded_memory() -> None:
    """Both passes over a million holds and records take less than 200 MiB."""
    world = World(Endless())
    tracemalloc.start()
    try:
        with world.a_run(limit=LIMIT) as run:
            Burial(run)(Condemnation(run)(list_holds(run, count=True)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counts(run.report, Kind.RECORDS) == {"held": HELD}
    assert peak < 200 * 2**20
