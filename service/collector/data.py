"""Data objects that no record names: one run dooms them, another deletes them.

An object that is older than G and not protected is garbage, as far as this run can see. It is
deleted only if an earlier run has found the same at least `Ages.doom` before; otherwise it is
listed as doomed, for a later run. So no error of a single run deletes anything: not a misread
record, not an incomplete listing, not a wrong clock.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.errors import FailedPrecondition
from holdfast.service.collector.doomed import Doom, Doomed
from holdfast.service.collector.reading import READ_GRACE
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.service.collector.run import CollectorRun
from holdfast.service.collector.survey import Survey, considered
from holdfast.storage.spool import halves, joined


class DataSweep:
    """The pass over data."""

    def __init__(self, run: CollectorRun) -> None:
        self._run = run
        self._doomed = Doomed(run.store, run.spools.new)

    def sort(self, survey: Survey) -> None:
        """Finds what is garbage, and which of it is due; call it after all records were read."""
        run = self._run
        for item, doom in joined(self._garbage(survey), survey.doomed, _key, _key):
            if item is None:
                continue  # it is named again, or gone, so it isn't doomed any more
            if survey.unreadable or survey.strangers:
                run.report.note(CollectedKind.DATA, Fate.UNSURE, item.size)
            elif doom and doom.since is not None and survey.began - doom.since >= run.ages.doom:
                survey.due.add(doom.encode().encode())
                survey.due_count += 1
                survey.due_bytes += item.size
            else:
                run.report.note(CollectedKind.DATA, Fate.DOOMED, item.size)
                survey.waiting.add((doom or item).encode().encode())

    def _garbage(self, survey: Survey) -> Iterator[Doom]:
        """Yields the data that nothing protects, and reports the rest."""
        protected = survey.protected.sorted()
        for item, line in joined(considered(survey), protected, _key, _named):
            if item is None:
                continue
            if line is None:
                yield item
            else:
                _, why = halves(line)
                fate = Fate.READ_GRACE if why == READ_GRACE else Fate.NAMED
                self._run.report.note(CollectedKind.DATA, fate, item.size)

    def __call__(self, survey: Survey) -> None:
        """Deletes the data that is due, and leaves a list of doomed data for the next run.

        Raises:
            FailedPrecondition: a record can't be read, or a frontend has meanwhile declared a
                longer life of ingests; nothing is deleted.
        """
        run = self._run
        unread = survey.unreadable + survey.strangers
        if unread and survey.old_data:
            raise FailedPrecondition(
                f"{unread} records can't be read and may name any data, so none is deleted; "
                "'holdfast scrub' names them, a newer version may read them, and a commit of "
                "the same content replaces a damaged one"
            )
        due = _decoded(survey.due.sorted())
        if survey.due_count:
            self._refuse_longer_lives()
            run.do(self._delete, due)
        if not run.dry and not unread:
            self._leave(survey)

    def _leave(self, survey: Survey) -> None:
        if next(survey.waiting.sorted(), None) is not None:
            self._doomed.save(self._run.name, _decoded(survey.waiting.sorted()))
        self._doomed.remove(survey.doomed.objects)

    def _refuse_longer_lives(self) -> None:
        longest = self._run.declared_lifetime()
        if longest > self._run.ages.ingest_lifetime:
            raise FailedPrecondition(
                f"a frontend has declared meanwhile that ingests may live for {longest:g} s, and "
                f"this run assumed {self._run.ages.ingest_lifetime:g} s: this run deletes no data; "
                "the next run uses the new time"
            )

    def _delete(self, item: Doom) -> None:
        run = self._run
        if not run.dry:
            run.store.delete(item.key)
        run.report.note(CollectedKind.DATA, Fate.DELETED, item.size, item.key)


def _decoded(lines: Iterator[bytes]) -> Iterator[Doom]:
    for line in lines:
        yield Doom.decode(line.decode())


def _key(doom: Doom) -> bytes:
    return doom.key.encode()


def _named(line: bytes) -> bytes:
    return halves(line)[0].encode()
