"""A store that tells a collector something wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from holdfast.storage.keys import RECORDS, data_key, uuid7
from holdfast.storage.port import Entry, Fetched
from holdfast.storage.records import Record
from tests.service.collector.world import World
from tests.stores.memory import MemoryStore, SteppingStore


class Liar(MemoryStore):
    """A store that shows some objects and listings wrongly, and holds all of them rightly."""

    flips = False
    hides: Callable[[str, Entry], bool] | None = None
    shows: Sequence[str] = ()

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """As the port says, but for a record's data key: as if its bit was flipped early on."""
        fetched = super().get(key, offset, length)
        if not self.flips or not key.startswith(RECORDS):
            return fetched
        record = Record.decode(key, fetched.body)
        wrong = replace(record, data_key=data_key(uuid7()))
        return replace(fetched, body=wrong.encode())

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """As the port says, but for what it hides, and what it shows though it is gone."""
        found = [*super().list(prefix, start_after)]
        found += [Entry(key, 0, "", 0.0) for key in self.shows if key.startswith(prefix)]
        for entry in sorted(found, key=lambda one: one.key):
            if self.hides is None or not self.hides(prefix, entry):
                yield entry


def lying(world: World, **lies: Any) -> World:
    """The same store, as a liar shows it."""
    liar = Liar()
    liar.__dict__.update(world.memory.__dict__)
    for name, lie in lies.items():
        setattr(liar, name, lie)
    return World(SteppingStore(liar, 1000), world.ages)
