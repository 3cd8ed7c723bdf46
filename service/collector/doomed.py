"""What is doomed: data that some run has found unnamed, for another run to delete.

    collector/doomed/<run>/<n>         sealed lines: key, size, and since when
    collector/doomed/<run>/complete    how many of those there are: without it they are none
    collector/clock                    written by a run before it looks, for the store's time

A run deletes what it finds unnamed itself, and what an earlier run had found so at least
`Ages.doom` before. Both moments are Last-Modified of objects that the two runs wrote, the
first by its list, the second by `collector/clock`: stamps of the store, whatever a collector
takes for the time. So "since when" isn't in the list of the run that found it first; who
reads that list takes the list's own stamp, and carries it on.

The newest complete list counts, by its stamp. It is written after the deletes, and the
earlier ones are removed after that: where a run dies in between, the next goes on from
either. A line or a list that is damaged or lost dooms nothing: its wait begins again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from holdfast.errors import DataLoss, ResourceExhausted
from holdfast.service.collector.lines import chunks, sealed, unsealed
from holdfast.storage import documents
from holdfast.storage.keys import COLLECTOR
from holdfast.storage.port import Entry, NoSuchKey, ObjectStore
from holdfast.storage.spool import Spool

LISTS: Final = f"{COLLECTOR}doomed/"
CLOCK: Final = f"{COLLECTOR}clock"
COMPLETE: Final = "complete"
FORMAT: Final = 2
ATTEMPTS: Final = 3
"""How often the newest list is looked for while others replace it."""
NEW: Final = "new"
"""Since when, in the list of the run that found it first."""


@dataclass(frozen=True, slots=True)
class Doom:
    """A data object of `size` bytes; `since` is in s since 1970, or None: since this run."""

    key: str
    size: int
    since: float | None

    def encode(self) -> str:
        """A text that sorts by the key."""
        return f"{self.key} {self.size} {NEW if self.since is None else repr(self.since)}"

    @classmethod
    def decode(cls, text: str, listed: float | None = None) -> Doom:
        """Reads what `encode` wrote; in a list whose stamp is `listed`, that is since when."""
        key, size, since = text.split(" ")
        return cls(key, int(size), listed if since == NEW else float(since))


@dataclass(frozen=True, slots=True)
class Newest:
    """The list that counts.

    Attributes:
        dooms: lines as `Doom.encode` makes them, each with its time.
        objects: of all lists that a newer one replaces, this one among them.
        damaged: lines of it that nobody believes.
    """

    dooms: Spool
    objects: tuple[str, ...] = ()
    damaged: int = 0

    def __iter__(self) -> Iterator[Doom]:
        """What is doomed, by key."""
        for line in self.dooms.sorted():
            yield Doom.decode(line.decode())

    def __bool__(self) -> bool:
        """Whether anything is."""
        return next(self.dooms.sorted(), None) is not None


class Doomed:
    """The lists in one store."""

    def __init__(self, store: ObjectStore, new_spool: Callable[[], Spool]) -> None:
        self._store = store
        self._new_spool = new_spool

    def newest(self, landing: float) -> Newest:
        """The newest complete list; where there is none, nothing is doomed.

        Args:
            landing: age in s from which a list that isn't complete is a dead run's.

        Raises:
            DataLoss: the list is damaged as a whole.
            UnsupportedFormat: of a newer format version.
        """
        for last in reversed(range(ATTEMPTS)):
            complete, objects = self._listed(landing)
            if complete is None:
                return Newest(self._new_spool(), objects)
            try:
                dooms, damaged = self._read(complete)
            except NoSuchKey:
                if last:
                    continue  # another run has replaced it meanwhile
                raise DataLoss(f"a part of what {complete.key} lists as doomed is gone") from None
            return Newest(dooms, objects, damaged)
        raise AssertionError("unreachable")

    def _listed(self, landing: float) -> tuple[Entry | None, tuple[str, ...]]:
        newest: Entry | None = None
        objects: list[str] = []
        for _, group in groupby(self._store.list(LISTS), key=_list_of):
            entries = list(group)
            ends = [entry for entry in entries if entry.key.endswith(f"/{COMPLETE}")]
            youngest = max(entry.last_modified for entry in entries)
            if ends or self._store.now() - youngest > landing:
                objects += [entry.key for entry in entries]
            newest = max(
                [*ends, *([newest] if newest else [])],
                key=lambda entry: (entry.last_modified, entry.key),
                default=None,
            )
        return newest, tuple(objects)

    def _read(self, complete: Entry) -> tuple[Spool, int]:
        count, _ = documents.read(self._store, complete.key, _chunks)
        dooms, damaged = self._new_spool(), 0
        for number in range(count):
            chunk = self._store.get(_chunk(_list_of(complete), number)).body
            for line in chunk.split(b"\n"):
                text = unsealed(line)
                if text is None:
                    damaged += 1
                else:
                    dooms.add(Doom.decode(text, complete.last_modified).encode().encode())
        return dooms, damaged

    def save(self, name: str, dooms: Iterable[Doom]) -> None:
        """Writes a list of a run's own; it counts once this returns."""
        number = 0
        for body in chunks(sealed(doom.encode()) for doom in dooms):
            self._store.put(_chunk(name, number), body)
            number += 1
        document = {"format": FORMAT, "chunks": number, "nonce": secrets.token_hex(16)}
        self._store.put(f"{LISTS}{name}/{COMPLETE}", documents.encode(document))

    def remove(self, objects: Iterable[str]) -> None:
        """Removes lists that don't count any more."""
        for key in objects:
            self._store.delete(key)

    def store_time(self) -> float:
        """The store's time in s since 1970: what it stamps an object with that is written now.

        In a store that takes no more objects it is what its replies say.
        """
        try:
            self._store.put(CLOCK, secrets.token_hex(16).encode())
            return self._store.head(CLOCK).last_modified
        except (ResourceExhausted, NoSuchKey):
            return self._store.now()


def _chunks(key: str, body: bytes) -> int:
    return int(documents.field(key, documents.decode(key, body, FORMAT), "chunks", int))


def _list_of(entry: Entry) -> str:
    return entry.key.removeprefix(LISTS).partition("/")[0]


def _chunk(name: str, number: int) -> str:
    return f"{LISTS}{name}/{number:06}"
