"""What is known of a blob and of a ref, as values. Times are s since 1970, sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from holdfast.digests import Digest
from holdfast.overview import Problem
from holdfast.values import Flight

GONE = "gone"
"""The state of what isn't there."""


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """A record.

    Attributes:
        state: as in storage-format.md; or `damaged`, or `unsupported` if a newer version wrote it.
        size: of the blob.
        created_at: when it was committed.
        written_at: when the record was written last.
        data: the key of the data object.
        inline: whether the record has the bytes itself.
        blocks: how many blocks have a sum.
        error: why it can't be read.
    """

    state: str
    size: int = 0
    created_at: float = 0.0
    written_at: float = 0.0
    data: str = ""
    inline: bool = False
    blocks: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """An object with bytes: what a record names, or what an ingest has sent.

    Attributes:
        key: its name in the store.
        there: whether the store has it.
        size: that it has.
        expected: that it should have; None if that isn't known.
        stored_at: its time.
        doomed_since: when a collection found that no record names it; None if it isn't doomed.
    """

    key: str
    there: bool
    size: int = 0
    expected: int | None = None
    stored_at: float = 0.0
    doomed_since: float | None = None


@dataclass(frozen=True, slots=True)
class MarkerFacts:
    """A marker of retention: since when a blob of that size has no hold.

    Attributes:
        size: of the blob.
        since: when the marker was made.
        until: when the time ends for which the blob is retained.
        dropped: whether it asks not to retain the blob any longer.
    """

    size: int
    since: float
    until: float
    dropped: bool


@dataclass(frozen=True, slots=True)
class HolderFacts:
    """What one tenant holds of a blob.

    Attributes:
        tenant: its name.
        holds: that count for it.
        deleting: holds and marks of Deletes that haven't ended.
        created_at: the oldest; so for `updated_at`. 0 if none can be read.
        labels: of the hold labelled last.
        error: why none can be read.
    """

    tenant: str
    holds: int
    deleting: int
    created_at: float = 0.0
    updated_at: float = 0.0
    labels: Mapping[str, str] | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class HoldersFacts:
    """Who holds a blob.

    Attributes:
        tenants: how many.
        holds: that count for their tenants, of all of them.
        deleting: holds and marks of Deletes that haven't ended.
        named: the first of these tenants.
    """

    tenants: int
    holds: int
    deleting: int
    named: tuple[HolderFacts, ...]


@dataclass(frozen=True, slots=True)
class LeaseFacts:
    """The right to write a ref.

    Attributes:
        owner: the frontend that has it, host and process id.
        since: when it was acquired.
        ttl: seconds until it expires unless it is renewed; None: never.
        alive: whether that frontend has announced itself lately; None if that isn't known.
    """

    owner: str
    since: float
    ttl: float | None
    alive: bool | None


@dataclass(frozen=True, slots=True)
class IngestFacts:
    """What is known of a ref.

    Attributes:
        tenant: whose ref it is.
        ref: its name.
        state: in a few words.
        lease: who writes it.
        offset: bytes that are durable.
        live: bytes that were received.
        total: bytes that are declared; 0 if unknown.
        expected: the digest that is declared, or that its frozen commit has.
        started_at: when it was first opened.
        updated_at: when it moved last.
        parts: stored parts.
        part_size: of a full one.
        upload: the multipart upload; "" if there is none.
        stored: what the store has of it: object, upload or tail, each by its key.
        done: the digest of a commit made lately, and its size.
        gc: what a collection would do with it, and why.
        error: why it can't be read.
    """

    tenant: str
    ref: str
    state: str
    lease: LeaseFacts | None = None
    offset: int = 0
    live: int = 0
    total: int = 0
    expected: str = ""
    started_at: float = 0.0
    updated_at: float = 0.0
    parts: int = 0
    part_size: int = 0
    upload: str = ""
    stored: tuple[ObjectFacts, ...] = ()
    done: tuple[str, int] | None = None
    gc: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class VerdictFacts:
    """What a collection would do, and why.

    Attributes:
        kind: of thing, as in the report of `gc`.
        fate: as in that report.
        says: both as a sentence.
    """

    kind: str
    fate: str
    says: str


@dataclass(frozen=True, slots=True)
class BlobExplanation:
    """All that is known of a digest.

    Attributes:
        digest: which.
        summary: one sentence.
        record: its record, if there is one.
        data: the data object that the record names, unless the record has the bytes.
        markers: of retention.
        holders: who holds it.
        ingests: who writes it.
        ingest_count: how many do.
        flight: for whom others wait.
        arrived: whether parts of it were committed within the last hour.
        gc: what a collection would do.
        problems: lines of frontends' logs about it, each with its frontend.
        missing: what couldn't be looked at, and why.
    """

    digest: Digest
    summary: str
    record: RecordFacts | None
    data: ObjectFacts | None
    markers: tuple[MarkerFacts, ...]
    holders: HoldersFacts
    ingests: tuple[IngestFacts, ...]
    ingest_count: int
    flight: Flight | None
    arrived: bool
    gc: tuple[VerdictFacts, ...]
    problems: tuple[tuple[str, Problem], ...]
    missing: tuple[str, ...]

    @property
    def known(self) -> bool:
        """Whether there is anything."""
        found = self.record, self.holders.tenants, self.ingest_count, self.markers, self.flight
        return any(found)

    def as_json(self) -> dict[str, Any]:
        """Returns all of it for JSON."""
        return _plain(self)


@dataclass(frozen=True, slots=True)
class RefExplanation:
    """All that is known of a ref.

    Attributes:
        ref: its name.
        ingests: what each tenant has under that name.
        problems: lines of frontends' logs about it, each with its frontend.
        missing: what couldn't be looked at, and why.
    """

    ref: str
    ingests: tuple[IngestFacts, ...]
    problems: tuple[tuple[str, Problem], ...]
    missing: tuple[str, ...]

    @property
    def known(self) -> bool:
        """Whether there is anything."""
        return bool(self.ingests)

    def as_json(self) -> dict[str, Any]:
        """Returns all of it for JSON."""
        return _plain(self)


def _plain(value: BlobExplanation | RefExplanation) -> dict[str, Any]:
    """Returns a value as JSON has it: digests are text, and problems name their frontends."""
    found = asdict(value)
    for name in ("digest", "flight"):
        if name == "digest" and name in found:
            found[name] = str(getattr(value, name))
    flight = getattr(value, "flight", None)
    if flight is not None:
        found["flight"] = {**asdict(flight), "digest": str(flight.digest)}
    found["problems"] = [
        {"frontend": frontend, **asdict(problem)} for frontend, problem in value.problems
    ]
    return found
