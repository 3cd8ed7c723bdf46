"""Removes tombstones that nothing needs any more, if the store has conditional DELETEs.

A tombstone says that the data that it names is dead: if a commit with that data is carried out
again, it finds the tombstone and is refused. After G, no such commit may write its record any more,
so an absent record has the same effect on it. To a commit of new bytes, a tombstone and an absent
record are the same.

A tombstone is removed if two runs have read it as a tombstone, it is older than G, no hold names
it, and its data is gone. The DELETE is conditional on its ETag, because a concurrent commit changes
the record. Some stores ignore that condition (`storage.probe.deletes_conditionally`), and would
delete the new record; in these, tombstones stay.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.errors import OutcomeUnknown
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.service.collector.run import CollectorRun
from holdfast.service.collector.survey import Candidate, Survey, considered
from holdfast.storage.keys import record_digest
from holdfast.storage.port import ConditionFailed
from holdfast.storage.probe import deletes_conditionally
from holdfast.storage.spool import halves, joined


def removable(run: CollectorRun, survey: Survey) -> int:
    """Returns the number of tombstones that may go: none where no DELETE can be conditional."""
    found = sum(1 for _ in _without_data(survey))
    if found and not run.dry and not deletes_conditionally(run.store):
        return 0
    return found


def remove_tombstones(run: CollectorRun, survey: Survey) -> None:
    """Removes the tombstones that may go; `removable` has said that there are some."""

    def remove(candidate: Candidate) -> None:
        try:
            if not run.dry:
                run.store.delete_if(candidate.key, candidate.etag)
        except (ConditionFailed, OutcomeUnknown):
            run.report.note(CollectedKind.RECORDS, Fate.RACED)
        else:
            run.report.note(
                CollectedKind.RECORDS, Fate.REMOVED, name=str(record_digest(candidate.key))
            )

    run.do(remove, _without_data(survey))


def _without_data(survey: Survey) -> Iterator[Candidate]:
    # The data that a tombstone older than G names is older than G, too. If the data were
    # still there, it would be among the considered data.
    lines = survey.tombstones.sorted()
    keys = (doom.key for doom in considered(survey))
    for line, key in joined(lines, keys, lambda text: halves(text)[0].encode(), str.encode):
        if line is not None and key is None:
            yield Candidate.decode(halves(line)[1].encode())
