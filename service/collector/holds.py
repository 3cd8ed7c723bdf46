"""One listing of all holds: the records that they name, and the marks of Deletes."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.digests import Digest
from holdfast.errors import DataLoss
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.service.collector.run import CollectorRun
from holdfast.storage.keys import DELETING, HOLDS, hold_digest, proper, record_key
from holdfast.storage.spool import Spool, TallySpool


@dataclass(frozen=True, slots=True)
class ListedHolds:
    """What a listing of all holds has found.

    Attributes:
        names: keys of the records that holds name, each with how many tenants hold it.
        listed: how many holds and marks there are.
        tenants: how many tenants they are of.
    """

    names: TallySpool
    listed: int
    tenants: int


def list_holds(run: CollectorRun, marks: Spool | None = None, *, count: bool) -> ListedHolds:
    """Returns the keys of all records that holds name, by one listing of all holds.

    A mark counts as a hold, because its Delete may not have deleted the hold yet.

    Args:
        run: the run that this is part of.
        marks: receives the marks that are older than `Ages.landing`.
        count: whether the report counts what is listed.
    """
    names, listed = run.spools.tallies(), 0
    tenants, last, held = 0, "", ""
    for entry in run.listed(HOLDS):
        digest = _digest_of(entry.key)
        if digest is None:
            if count:
                run.report.note(CollectedKind.HOLDS, Fate.STRANGE)
            continue
        listed += 1
        tenant = entry.key.split("/", 2)[1]
        tenants, last = tenants + (tenant != last), tenant
        # All that a tenant has of a digest, several holds or a mark, is listed together.
        claim = entry.key.rpartition("/")[0]
        if claim != held:
            names.add(record_key(digest).encode())
        held = claim
        marked = entry.key.endswith(DELETING)
        if count:
            run.report.note(CollectedKind.HOLDS, Fate.MARKED if marked else Fate.SEEN)
        if marks is not None and marked:
            if run.store.now() - entry.last_modified > run.ages.landing:
                marks.add(entry.key.encode())
            elif count:
                run.report.note(CollectedKind.HOLDS, Fate.YOUNG)
    return ListedHolds(names, listed, tenants)


def _digest_of(key: str) -> Digest | None:
    try:
        return hold_digest(key) if proper(key) else None
    except DataLoss:
        return None
