"""How far a pass is, kept in the store, so that the next run goes on from there.

One object, written whole and without a condition: where several scrubs run at once,
the last one's counts. All that can be lost is that something is read twice, or that
this pass ends early and the next one reads it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

from holdfast.digests import Digest
from holdfast.errors import DataLoss, InvalidArgument, because
from holdfast.storage import documents
from holdfast.storage.port import NoSuchKey, ObjectStore

Key = TypeVar("Key")
CURSOR: Final = "scrub/cursor"
FORMAT: Final = 2


class Phase(StrEnum):
    """What is being walked."""

    RECORDS = "records"
    HOLDS = "holds"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a pass is.

    Attributes:
        started_at: of the pass, in s since 1970.
        after: the last digest that is done, with all before it; None: none is.
        phase: what is being walked.
        shallow: no data is read; such a pass is no beginning of one that reads it.
        seconds: that it took so far.
        caches_late: frontends may still remember what was quarantined.
        counts: what was looked at.
        found: findings by kind.
        marks: at which of the records looked at the last marks were made.
    """

    started_at: float
    after: Digest | None = None
    phase: Phase = Phase.RECORDS
    shallow: bool = False
    seconds: float = 0.0
    caches_late: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    marks: list[int] = field(default_factory=list)

    def encode(self) -> bytes:
        """The stored form."""
        after = str(self.after) if self.after else ""
        return documents.encode({**asdict(self), "after": after, "format": FORMAT})

    @classmethod
    def decode(cls, key: str, body: bytes) -> Cursor:
        """Reads the stored form.

        Raises:
            DataLoss: damaged.
            UnsupportedFormat: of a newer version.
        """
        document = documents.decode(key, body, FORMAT)

        def get(name: str, kind: type) -> Any:  # noqa: ANN401 -- of `kind`
            return documents.field(key, document, name, kind)

        after = get("after", str)
        try:
            return cls(
                started_at=_finite(get("started_at", float)),
                after=Digest.parse(after) if after else None,
                phase=Phase(get("phase", str)),
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
    """Where the last run stopped; None if it came to the end, or the cursor is damaged.

    Raises:
        UnsupportedFormat: of a newer version.
    """
    try:
        return documents.read(store, CURSOR, Cursor.decode)[0]
    except (NoSuchKey, DataLoss):
        return None


def save(store: ObjectStore, cursor: Cursor) -> None:
    """Notes how far a pass is."""
    store.put(CURSOR, cursor.encode())


def remove(store: ObjectStore) -> None:
    """The pass is through."""
    store.delete(CURSOR)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a time that isn't finite")
    return value


def _counts(values: dict[Key, Any]) -> dict[Key, int]:
    if any(not isinstance(value, int) or value < 0 for value in values.values()):
        raise ValueError("a count that is none")
    return values
