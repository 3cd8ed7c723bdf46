"""The progress of a pass, kept in the store, so that the next run continues from there.

The cursor is one object, which is written whole and without a condition: if several scrubs run
concurrently, the last write counts. At worst, something is read twice, or this pass ends early and
the next pass reads the rest.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

from holdfast.digests import Digest
from holdfast.errors import DataLoss, InvalidArgument, UnsupportedFormat, because
from holdfast.storage import documents
from holdfast.storage.port import NoSuchKey, ObjectStore

Key = TypeVar("Key")
CURSOR: Final = "scrub/cursor"
FORMAT: Final = 2


class ScrubPhase(StrEnum):
    """What the pass is walking over."""

    RECORDS = "records"
    HOLDS = "holds"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The progress of a pass.

    Attributes:
        started_at: when the pass began, in s since 1970.
        after: the last digest that is done, with all before it; None: none is done.
        phase: what the pass is walking over.
        shallow: whether the pass reads no data; a pass that does can't continue such a pass.
        seconds: how long the pass took so far.
        caches_late: whether frontends may still remember quarantined content.
        counts: how much was looked at.
        found: the number of findings by kind.
        marks: how many records had been looked at, at each of the last marks.
    """

    started_at: float
    after: Digest | None = None
    phase: ScrubPhase = ScrubPhase.RECORDS
    shallow: bool = False
    seconds: float = 0.0
    caches_late: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    marks: list[int] = field(default_factory=list)

    def encode(self) -> bytes:
        """Returns the stored form."""
        after = str(self.after) if self.after else ""
        return documents.encode({**asdict(self), "after": after, "format": FORMAT})

    @classmethod
    def decode(cls, key: str, body: bytes) -> Cursor:
        """Parses the stored form.

        Raises:
            DataLoss: the cursor is damaged.
            UnsupportedFormat: the cursor has a newer format version.
        """
        document = documents.decode(key, body, FORMAT)

        def get(name: str, kind: type) -> Any:  # noqa: ANN401 -- of `kind`
            return documents.field(key, document, name, kind)

        after = get("after", str)
        try:
            return cls(
                started_at=_finite(get("started_at", float)),
                after=Digest.parse(after) if after else None,
                phase=ScrubPhase(get("phase", str)),
                shallow=get("shallow", bool),
                seconds=_finite(get("seconds", float)),
                caches_late=get("caches_late", bool),
                counts=_counts(get("counts", dict)),
                found=_counts(get("found", dict)),
                marks=list(_counts(dict(enumerate(get("marks", list)))).values()),
            )
        except (ValueError, InvalidArgument) as error:
            raise DataLoss(f"object {key} is damaged: {because(error)}") from error


def load(store: ObjectStore) -> Cursor | None:
    """Reads where the last run stopped; None if it ended its pass, or the cursor can't be read.

    A cursor that a newer version has left costs a second reading, and must not keep those from
    scrubbing who went back to this version.
    """
    try:
        return documents.read(store, CURSOR, Cursor.decode)[0]
    except (NoSuchKey, DataLoss, UnsupportedFormat):
        return None


def save(store: ObjectStore, cursor: Cursor) -> None:
    """Writes the progress of a pass."""
    store.put(CURSOR, cursor.encode())


def remove(store: ObjectStore) -> None:
    """Removes the cursor, at the end of a pass."""
    store.delete(CURSOR)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a time that isn't finite")
    return value


def _counts(values: dict[Key, Any]) -> dict[Key, int]:
    if any(not isinstance(value, int) or value < 0 for value in values.values()):
        raise ValueError("a count that is none")
    return values
