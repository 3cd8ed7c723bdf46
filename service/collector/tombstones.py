"""Tombstones that nothing needs any more, where a DELETE can be told which record it is for.

A tombstone says of the data that it names that it is dead: a commit that is carried out again
with that data finds it, and is refused. Past G no such commit may write its record any more,
so that "absent" says the same to it; and a commit of new bytes takes either for the same.

One is removed if two runs have read it as a tombstone, it is older than G, no hold names it
and its data is gone, by a DELETE of that very record: whoever commits meanwhile has changed
its ETag. Some stores ignore that condition (`storage.probe.deletes_conditionally`), and
would delete the new record: there tombstones stay.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.errors import OutcomeUnknown
from holdfast.service.collector.report import Fate, Kind
from holdfast.service.collector.run import Run
from holdfast.service.collector.survey import Candidate, Survey, considered
from holdfast.storage.keys import record_digest
from holdfast.storage.port import ConditionFailed
from holdfast.storage.probe import deletes_conditionally
from holdfast.storage.spool import halves, joined


def remove_tombstones(run: Run, survey: Survey) -> None:
    """Removes what the survey has found of them, if their data is gone."""
    gone = _without_data(survey)
    first = next(gone, None)
    if first is None or (not run.dry and not deletes_conditionally(run.store)):
        return

    def remove(candidate: Candidate) -> None:
        try:
            if not run.dry:
                run.store.delete_if(candidate.key, candidate.etag)
        except (ConditionFailed, OutcomeUnknown):
            run.report.note(Kind.RECORDS, Fate.RACED)
        else:
            run.report.note(Kind.RECORDS, Fate.REMOVED, name=str(record_digest(candidate.key)))

    run.do(remove, _without_data(survey))


def _without_data(survey: Survey) -> Iterator[Candidate]:
    # What a tombstone older than G names is older than G, too: if it were there, it
    # would be among what is considered.
    lines = survey.tombstones.sorted()
    keys = (doom.key for doom in considered(survey))
    for line, key in joined(lines, keys, lambda text: halves(text)[0].encode(), str.encode):
        if line is not None and key is None:
            yield Candidate.decode(halves(line)[1].encode())
