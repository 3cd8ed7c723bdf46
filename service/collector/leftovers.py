"""What a crash leaves in the store beside data: tails and uploads."""

from __future__ import annotations

from typing import Final

from holdfast.errors import Unavailable
from service.collector.report import Fate, Kind
from service.collector.run import Run
from storage.keys import DATA, TAILS
from storage.port import Entry, PendingUpload
from storage.probe import PREFIX as PROBE

UPLOADS_OF: Final = (DATA, PROBE)
OBJECTS_OF: Final = (TAILS, PROBE)


def sweep_tails(run: Run) -> None:
    """Deletes tails older than G, and what a probe of that age left.

    An ingest that still names such a tail goes back to its last part boundary.
    """

    def sweep(entry: Entry) -> None:
        run.report.note(Kind.TAILS, Fate.SEEN, entry.size)
        if run.store.now() - entry.last_modified <= run.ages.data:
            run.report.note(Kind.TAILS, Fate.YOUNG, entry.size)
            return
        if not run.dry:
            run.store.delete(entry.key)
        run.report.note(Kind.TAILS, Fate.DELETED, entry.size)

    for prefix in OBJECTS_OF:
        run.do(sweep, run.store.list(prefix))


def abort_uploads(run: Run) -> None:
    """Aborts uploads that were begun before G: no commit may complete them any more.

    What they were completed to meanwhile is data, and not touched by an abort.
    """

    def abort(upload: PendingUpload) -> None:
        run.report.note(Kind.UPLOADS, Fate.SEEN)
        if run.store.now() - upload.initiated <= run.ages.data:
            run.report.note(Kind.UPLOADS, Fate.YOUNG)
            return
        try:
            if not run.dry:
                run.store.abort_upload(upload.key, upload.id)
        except Unavailable as error:
            # Parts may keep arriving at one; the others needn't wait for it.
            run.report.error(f"aborting the upload of {upload.key}", error)
        else:
            run.report.note(Kind.UPLOADS, Fate.ABORTED)

    for prefix in UPLOADS_OF:
        run.do(abort, run.store.list_uploads(prefix))
