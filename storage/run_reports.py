"""What the last run of each program did that works through the whole store, kept in the store.

    reports/collector, reports/scrub, reports/expiry    one document each

Such a program is often a job that nobody scrapes. It writes a report at the end of each run,
without a condition; frontends read the reports and show them as metrics. Nothing is decided by
them, and a report that is absent or damaged is written anew by the next run. Each report repeats
when a run succeeded last, when the first one ended, and what a run has counted last, if this one
hasn't. A run that was stopped before it found anything wrong repeats what was found before: it
hasn't looked at all.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final, Self

from holdfast.errors import DataLoss, UnsupportedFormat
from holdfast.storage import documents
from holdfast.storage.keys import REPORTS
from holdfast.storage.port import NoSuchKey, ObjectStore

FORMAT: Final = 2


class Reporter(StrEnum):
    """Who writes a report, by the last part of its key."""

    COLLECTOR = "collector"
    SCRUB = "scrub"
    EXPIRY = "expiry"


@dataclass(frozen=True, slots=True)
class FleetCensus:
    """What a collection has counted of the whole fleet.

    Attributes:
        at: when it began to look, in s since 1970, by the store's clock.
        tenants: that hold anything.
        holds: of all tenants.
        blobs: that anybody holds, each counted once …
        size: … and their bytes.
        tenant_size: the same bytes, counted for each tenant that holds them; None: not counted.
        retained: blobs that nobody holds and that are retained …
        retained_size: … and their bytes.
    """

    at: float
    tenants: int
    holds: int
    blobs: int
    size: int
    retained: int
    retained_size: int
    tenant_size: int | None = None


@dataclass(frozen=True, slots=True)
class RunReport:
    """What one run did.

    Attributes:
        seconds: how long it took.
        ok: whether it did everything, and found nothing wrong.
        found: how many things it looked at: data objects, records or tenants.
        freed: how many of them it removed …
        freed_bytes: … and their bytes.
        kept: how many of them it left, and found in order.
        errors: what went wrong, or was found to be wrong; none if the run was stopped before that.
        ended_at: when it ended, in s since 1970, by the store's clock; `write` sets it.
        succeeded_at: when a run was last `ok`, 0.0 for never; `write` sets it, too.
        first_at: when the first run ended of which is known; `write` sets it, too.
        census: what this run or an earlier one has counted; None: nothing.
    """

    seconds: float
    ok: bool
    found: int
    freed: int
    freed_bytes: int
    kept: int
    errors: int
    ended_at: float = 0.0
    succeeded_at: float = 0.0
    first_at: float = 0.0
    census: FleetCensus | None = None

    @property
    def outcome(self) -> dict[str, int | bool]:
        """What the run did, by name, for what tells of it besides metrics."""
        return {
            "ok": self.ok,
            "found": self.found,
            "freed": self.freed,
            "freed_bytes": self.freed_bytes,
            "kept": self.kept,
            "errors": self.errors,
        }

    @classmethod
    def read(cls, store: ObjectStore, reporter: Reporter) -> Self | None:
        """Reads what a program's last run has written; None if there is nothing.

        Raises:
            DataLoss: the report is damaged.
            UnsupportedFormat: it has a newer format version.
        """
        try:
            return documents.read(store, key_of(reporter), cls._decode)[0]
        except NoSuchKey:
            return None

    @classmethod
    def _decode(cls, key: str, body: bytes) -> Self:
        document = documents.decode(key, body, FORMAT)

        def whole(name: str) -> int:
            return documents.whole(key, document, name)

        ended_at = documents.field(key, document, "ended_at", float)
        # Earlier versions didn't write it.
        first = document.get("first_at")
        return cls(
            seconds=documents.field(key, document, "seconds", float),
            ok=documents.field(key, document, "ok", bool),
            found=whole("found"),
            freed=whole("freed"),
            freed_bytes=whole("freed_bytes"),
            kept=whole("kept"),
            errors=whole("errors"),
            ended_at=ended_at,
            succeeded_at=documents.field(key, document, "succeeded_at", float),
            first_at=ended_at
            if first is None
            else documents.field(key, document, "first_at", float),
            census=_census(key, document.get("census")),
        )

    def write(self, store: ObjectStore, reporter: Reporter) -> None:
        """Writes the report of a run that has just ended; what it lacks, the last one had.

        Raises:
            Unavailable: the store can't be reached.
        """
        before = None
        with suppress(DataLoss, UnsupportedFormat):
            before = RunReport.read(store, reporter)
        report = self._after(before, store.now())
        document = {"format": FORMAT, **asdict(report), "nonce": secrets.token_hex(16)}
        store.put(key_of(reporter), documents.encode(document))

    def _after(self, before: RunReport | None, now: float) -> RunReport:
        succeeded = before.succeeded_at if before else 0.0
        return replace(
            self,
            errors=self.errors or (before.errors if before and not self.ok else 0),
            ended_at=now,
            succeeded_at=now if self.ok else succeeded,
            first_at=before.first_at if before else now,
            census=self.census or (before.census if before else None),
        )


def _census(key: str, document: Any) -> FleetCensus | None:  # noqa: ANN401 -- of JSON
    if document is None:
        return None
    if not isinstance(document, dict):
        raise DataLoss(f"object {key} is damaged: its field 'census' is no object")
    names = ("tenants", "holds", "blobs", "size", "retained", "retained_size")
    at = documents.field(key, document, "at", float)
    counted = [documents.whole(key, document, name) for name in names]
    # Earlier versions didn't count it.
    if document.get("tenant_size") is not None:
        counted.append(documents.whole(key, document, "tenant_size"))
    return FleetCensus(at, *counted)


def key_of(reporter: Reporter) -> str:
    """Where a program's report is."""
    return f"{REPORTS}{reporter}"
