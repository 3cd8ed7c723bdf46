"""Resolves Deletes that were interrupted after they had marked a hold.

    a mark whose hold is gone      the mark is removed, and nothing else
    a mark beside its hold         the tenant gets another hold; hold and mark are removed

In the second case the Delete isn't finished but taken back: its mark may have taken effect long
after the Delete was given up, and the tenant may have been told since that it holds the blob. If
nothing were done, the hold would stay for ever: its tenant no longer sees it, but collectors count
it. The tenant sees the new hold, and can delete it again if it wants to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from holdfast.errors import DataLoss, UnsupportedFormat
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.service.collector.run import CollectorRun
from holdfast.storage import documents
from holdfast.storage.holds import Hold, Holds
from holdfast.storage.keys import DELETING, hold_digest, hold_prefix
from holdfast.storage.port import NoSuchKey
from holdfast.storage.spool import Spool

TENANT: Final = 1
"""Which part of a hold's key names its tenant."""


class BrokenDeletes:
    """The pass over marks that are older than `Ages.landing`."""

    def __init__(self, run: CollectorRun) -> None:
        self._run = run
        self._holds = Holds(run.store, run.new_name, run.new_nonce)

    def __call__(self, marks: Spool) -> None:
        """Resolves the Deletes that made these marks."""
        self._run.do(self._end, marks.sorted())

    def _end(self, line: bytes) -> None:
        run, mark = self._run, line.decode()
        name = mark.removesuffix(DELETING)
        tenant = name.split("/")[TENANT]
        prefix = hold_prefix(tenant, hold_digest(name))
        keys = {entry.key for entry in run.store.list(prefix)}
        if mark not in keys:
            return  # somebody else was faster
        there = name in keys
        if there and not self._seen_without(name, keys, tenant):
            return
        if not run.dry:
            # A listing may omit the hold. Then it counts again, once its mark is gone.
            if there:
                run.store.delete(name)
            run.store.delete(mark)
        run.report.note(CollectedKind.HOLDS, Fate.TAKEN_BACK if there else Fate.UNMARKED)

    def _seen_without(self, name: str, keys: set[str], tenant: str) -> bool:
        """Makes sure that the tenant has a hold without a mark; False if that isn't possible."""
        run = self._run
        marked = {key.removesuffix(DELETING) for key in keys if key.endswith(DELETING)}
        others = {key for key in keys if not key.endswith(DELETING)} - marked
        if run.dry or any(map(self._there, sorted(others))):
            return True
        try:
            hold, _ = documents.read(run.store, name, Hold.decode)
        except NoSuchKey:
            return False
        except (DataLoss, UnsupportedFormat) as error:
            run.report.error("broken-off deletes", error)
            return False
        self._holds.make(tenant, replace(hold, nonce=run.new_nonce()))
        return True

    def _there(self, key: str) -> bool:
        """Whether a hold exists: a listing may show one that is gone."""
        try:
            self._run.store.head(key)
        except NoSuchKey:
            return False
        return True
