"""Data objects that no record names.

    list data: only what is older than G is considered
    then read all records: each protects the data that it names, but a tombstone only
    until the read grace is over
    what is considered and not protected is deleted

The order matters: a commit that began before the listing has made its record before
the records are read, or is too old to make it. A record that can't be read may name
anything: while there is one, nothing is deleted. A corrupt record protects its data
too, so that a wrong verdict costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from holdfast.errors import DataLoss, FailedPrecondition, UnsupportedFormat
from service.collector.report import Fate, Kind
from service.collector.run import Run
from storage.keys import DATA, RECORDS, proper, record_digest
from storage.port import Entry
from storage.records import Seen, State
from storage.spool import Spool, halves, joined, line_of

PLAIN: Final = "n"
"""Protected by a record that is live, condemned or corrupt …"""
READ_GRACE: Final = "r"
"""… or by a tombstone that is too young."""


@dataclass(frozen=True, slots=True)
class Considered:
    """A data object that is older than G; size in bytes."""

    key: str
    size: int

    def encode(self) -> bytes:
        """A line that sorts by the key."""
        return line_of(self.key, self.size)

    @classmethod
    def decode(cls, line: bytes) -> Considered:
        """Reads what `encode` wrote."""
        key, size = halves(line)
        return cls(key, int(size))


class DataSweep:
    """The pass over data objects and all records."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(self, held: Spool | None) -> None:
        """Deletes data that no record names.

        Args:
            held: a listing of holds, to tell which of them have no content; or None.

        Raises:
            FailedPrecondition: a record can't be read, or a frontend has declared a
                longer life of ingests meanwhile; nothing is deleted.
        """
        run, considered = self._run, self._consider()
        if next(considered.sorted(), None) is None:
            return
        protected, unread = self._protect(held)
        garbage = self._garbage(considered, protected)
        if unread:
            run.do(lambda item: run.report.note(Kind.DATA, Fate.UNSURE, item.size), garbage)
            raise FailedPrecondition(
                f"{unread} records can't be read and may name any data, so none is deleted; "
                "'holdfast scrub' tells which, a newer version may read them, and a commit of "
                "the same content replaces a damaged one"
            )
        self._refuse_longer_lives()
        run.do(self._delete, garbage)

    def _consider(self) -> Spool:
        run, considered = self._run, self._run.spools.new()
        for entry in run.watched(run.store.list(DATA)):
            run.report.note(Kind.DATA, Fate.SEEN, entry.size)
            if not proper(entry.key):
                run.report.note(Kind.DATA, Fate.STRANGE, entry.size)
            elif run.store.now() - entry.last_modified > run.ages.data:
                considered.add(Considered(entry.key, entry.size).encode())
            else:
                run.report.note(Kind.DATA, Fate.YOUNG, entry.size)
        return considered

    def _protect(self, held: Spool | None) -> tuple[Spool, int]:
        """The data keys that records name, and how many records couldn't be read."""
        run, protected, unread = self._run, self._run.spools.new(), 0
        for read, line in run.each(self._read, self._all_records(held)):
            if not read:
                unread += 1
            elif line:
                protected.add(line)
        return protected, unread

    def _all_records(self, held: Spool | None) -> Iterator[tuple[Entry, bool]]:
        names = held.sorted() if held else iter(())
        entries = self._run.store.list(RECORDS)
        for entry, name in joined(entries, names, lambda e: e.key.encode(), bytes):
            if entry is not None:
                yield entry, name is not None

    def _read(self, found: tuple[Entry, bool]) -> tuple[bool, bytes]:
        """Whether a record could be read, and what it protects."""
        run, (entry, held) = self._run, found
        try:
            seen = run.records.read(record_digest(entry.key))
        except (DataLoss, UnsupportedFormat) as error:
            run.report.error("reading all records", error)
            return False, b""
        if seen is None:
            return True, b""
        if held and not seen.record.readable:
            run.report.note(Kind.HOLDS, Fate.WITHOUT_CONTENT)
        if not seen.record.data_key:
            run.report.error("reading all records", DataLoss(f"record {entry.key} is damaged"))
            return False, b""
        return True, self._line(seen)

    def _line(self, seen: Seen) -> bytes:
        """The data key that a record protects, and why."""
        run, record = self._run, seen.record
        why = PLAIN
        if record.state is State.TOMBSTONE:
            why = READ_GRACE
            if run.store.now() - seen.last_modified > run.ages.read_grace:
                return b""
        return line_of(record.data_key, why)

    def _garbage(self, considered: Spool, protected: Spool) -> Iterator[Considered]:
        """What nothing protects; the report is told of the rest."""
        run = self._run
        items = map(Considered.decode, considered.sorted())
        for item, line in joined(items, protected.sorted(), lambda i: i.key.encode(), _named):
            if item is None:
                continue
            if line is None:
                yield item
            else:
                _, why = halves(line)
                fate = Fate.READ_GRACE if why == READ_GRACE else Fate.NAMED
                run.report.note(Kind.DATA, fate, item.size)

    def _refuse_longer_lives(self) -> None:
        longest = self._run.declared_lifetime()
        if longest > self._run.ages.ingest_lifetime:
            raise FailedPrecondition(
                f"a frontend has declared meanwhile that ingests may live for {longest:g} s, and "
                f"this run assumed {self._run.ages.ingest_lifetime:g} s: no data is deleted; the "
                "next run knows"
            )

    def _delete(self, item: Considered) -> None:
        run = self._run
        if not run.dry:
            run.store.delete(item.key)
        run.report.note(Kind.DATA, Fate.DELETED, item.size)


def _named(line: bytes) -> bytes:
    return halves(line)[0].encode()
