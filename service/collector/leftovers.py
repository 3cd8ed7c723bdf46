"""Removes what crashes leave in the store besides data: tails, uploads and snapshots of holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from holdfast.errors import Unavailable
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.service.collector.run import CollectorRun
from holdfast.storage.keys import DATA, SNAPSHOTS, TAILS, collected, tenant_prefix
from holdfast.storage.port import Entry, PendingUpload
from holdfast.storage.probe import PREFIX as PROBE
from holdfast.storage.snapshots import name_of, newest_of

UPLOADS_OF: Final = (DATA, PROBE)
OBJECTS_OF: Final = (TAILS, PROBE)


def sweep_tails(run: CollectorRun) -> None:
    """Deletes tails older than G, and objects that a probe of that age has left.

    What isn't ours by its name stays, here and below.

    An ingest that still names such a tail continues from its last part boundary.
    """
    for prefix in OBJECTS_OF:
        _sweep(run, CollectedKind.TAILS, _seen(run, CollectedKind.TAILS, run.store.list(prefix)))


def sweep_snapshots(run: CollectorRun) -> None:
    """Deletes snapshots older than G, except each tenant's newest complete one, which Lists read.

    Unfinished snapshots are deleted, too, and all snapshots of a tenant that holds nothing.
    """
    _sweep(run, CollectedKind.SNAPSHOTS, _unread_snapshots(run))


def _unread_snapshots(run: CollectorRun) -> Iterator[Entry]:
    entries = _seen(run, CollectedKind.SNAPSHOTS, run.store.list(SNAPSHOTS))
    for tenant, group in groupby(entries, key=lambda entry: entry.key.split("/")[1]):
        found = list(group)
        newest = newest_of(found)
        if newest and next(iter(run.store.list(tenant_prefix(tenant))), None) is None:
            newest = None
        for entry in found:
            if newest and name_of(entry) == newest:
                run.report.note(CollectedKind.SNAPSHOTS, Fate.IN_USE, entry.size)
            else:
                yield entry


def _seen(run: CollectorRun, kind: CollectedKind, entries: Iterable[Entry]) -> Iterator[Entry]:
    for entry in entries:
        run.report.note(kind, Fate.SEEN, entry.size)
        if collected(entry.key):
            yield entry
        else:
            run.report.note(kind, Fate.STRANGE, entry.size)


def _sweep(run: CollectorRun, kind: CollectedKind, entries: Iterable[Entry]) -> None:
    """Deletes the entries that are older than G."""

    def sweep(entry: Entry) -> None:
        if run.store.now() - entry.last_modified <= run.ages.data:
            run.report.note(kind, Fate.YOUNG, entry.size)
            return
        if not run.dry:
            run.store.delete(entry.key)
        run.report.note(kind, Fate.DELETED, entry.size, entry.key)

    run.do(sweep, entries)


def abort_uploads(run: CollectorRun) -> None:
    """Aborts uploads that are older than G, which no commit may complete any more.

    If an upload was completed meanwhile, its object is data, which an abort doesn't touch.
    """

    def abort(upload: PendingUpload) -> None:
        run.report.note(CollectedKind.UPLOADS, Fate.SEEN)
        if not collected(upload.key):
            run.report.note(CollectedKind.UPLOADS, Fate.STRANGE)
            return
        if run.store.now() - upload.initiated <= run.ages.data:
            run.report.note(CollectedKind.UPLOADS, Fate.YOUNG)
            return
        try:
            if not run.dry:
                run.store.abort_upload(upload.key, upload.id)
        except Unavailable as error:
            # Parts may keep arriving at this upload; the other uploads needn't wait for it.
            run.report.error(f"aborting the upload of {upload.key}", error)
        else:
            run.report.note(CollectedKind.UPLOADS, Fate.ABORTED, name=upload.key)

    for prefix in UPLOADS_OF:
        run.do(abort, run.store.list_uploads(prefix))
