"""The lists of doomed data: data that one run has found unnamed, and another may delete.

    collector/doomed/<run>/<n>         sealed lines: key, size, and since when it is doomed
    collector/doomed/<run>/complete    how many such objects there are; without it, none counts
    collector/clock                    a run writes it before it looks, to learn the store's time

A run deletes data that it finds unnamed itself, and that an earlier run found unnamed at least
`Ages.doom` before. Both moments are the Last-Modified of an object that the run wrote: of its list
for the earlier run, of `collector/clock` for the later one. So both are timestamps of the store,
whatever a collector's clock says. That is why the list of the run that first found the data doesn't
say since when it is doomed; the next run reads the list's own timestamp, and copies it into its
list.

The complete list with the newest timestamp counts. A run writes it after its deletes, and removes
the earlier lists after that; if it dies in between, the next run continues from either list. A
damaged or lost line or list dooms nothing: the wait of its data begins again.
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
"""How often to look for the newest list while other runs replace it."""
NEW: Final = "new"
"""The time in the list of the run that found the data first."""


@dataclass(frozen=True, slots=True)
class Doom:
    """A doomed object of `size` bytes; `since` is in s since 1970, or None: since this run."""

    key: str
    size: int
    since: float | None

    def encode(self) -> str:
        """Returns a text that sorts by the key."""
        return f"{self.key} {self.size} {NEW if self.since is None else repr(self.since)}"

    @classmethod
    def decode(cls, text: str, listed: float | None = None) -> Doom:
        """Parses the text of `encode`; `listed` is its list's timestamp, used for `NEW`."""
        key, size, since = text.split(" ")
        return cls(key, int(size), listed if since == NEW else float(since))

    @classmethod
    def of_line(cls, line: bytes, listed: float) -> Doom | None:
        """Parses a sealed line of a list; None if it is damaged, or isn't one of ours."""
        text = unsealed(line)
        try:
            return None if text is None else cls.decode(text, listed)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Newest:
    """The list that counts.

    Attributes:
        dooms: lines of `Doom.encode`, each with its time.
        objects: keys of all lists that the next list replaces, including this one.
        damaged: how many of its lines are damaged and ignored.
    """

    dooms: Spool
    objects: tuple[str, ...] = ()
    damaged: int = 0

    def __iter__(self) -> Iterator[Doom]:
        """Yields what is doomed, in order of key."""
        for line in self.dooms.sorted():
            yield Doom.decode(line.decode())

    def __bool__(self) -> bool:
        """Whether anything is doomed."""
        return next(self.dooms.sorted(), None) is not None


class Doomed:
    """The lists in one store."""

    def __init__(self, store: ObjectStore, new_spool: Callable[[], Spool]) -> None:
        self._store = store
        self._new_spool = new_spool

    def newest(self, landing: float) -> Newest:
        """Returns the newest complete list; if there is none, nothing is doomed.

        Args:
            landing: age in s from which an incomplete list must be a dead run's.

        Raises:
            DataLoss: the list is damaged as a whole.
            UnsupportedFormat: the list has a newer format version.
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
                raise DataLoss(
                    f"{complete.key} lists a part of the doomed that doesn't exist"
                ) from None
            return Newest(dooms, objects, damaged)
        raise AssertionError("unreachable")

    def replaced(self, landing: float) -> tuple[str, ...]:
        """Returns the keys of all lists that the next one replaces, readable or not.

        Args:
            landing: age in s from which an incomplete list must be a dead run's.
        """
        return self._listed(landing)[1]

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
                doom = Doom.of_line(line, complete.last_modified)
                if doom is None:
                    damaged += 1
                else:
                    dooms.add(doom.encode().encode())
        return dooms, damaged

    def save(self, name: str, dooms: Iterable[Doom]) -> None:
        """Writes the list of the run `name`; it counts once this returns."""
        number = 0
        for body in chunks(sealed(doom.encode()) for doom in dooms):
            self._store.put(_chunk(name, number), body)
            number += 1
        document = {"format": FORMAT, "chunks": number, "nonce": secrets.token_hex(16)}
        self._store.put(f"{LISTS}{name}/{COMPLETE}", documents.encode(document))

    def remove(self, objects: Iterable[str]) -> None:
        """Removes the objects of lists that don't count any more."""
        for key in objects:
            self._store.delete(key)

    def store_time(self) -> float:
        """Returns the store's time in s since 1970: the timestamp of an object written now.

        If the store is full, the time is taken from its replies.
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
