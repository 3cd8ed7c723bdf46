"""What a commit knows of its own data object, and for how long it may rely on that.

    seen complete ── at most SIGHT_LASTS ago ──▶ the record may be sent
          ▲                    │ longer ago, or not by this process
          └─────── HEAD ◀──────┘

A collector needs two runs, at least an hour apart, before it deletes data, however wrong
its clock is. So data that was complete at most a quarter of an hour ago is still there. If
it was seen longer ago, only another HEAD can show whether it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from holdfast.errors import Aborted, DataLoss, Unavailable, because
from holdfast.storage.port import NoSuchKey, ObjectStore
from holdfast.storage.records import Record

SIGHT_LASTS: Final = 900.0
"""Seconds for which data counts as present after it was seen complete. Together with the
15 minutes in which a request can still take effect, that is half of the time that a collector
waits between its two runs."""
LOOKS: Final = 3
"""How often a HEAD is repeated if its reply came too late."""


class StoreClock(Protocol):
    """Knows the time by the store's clock."""

    def now(self) -> float:
        """Seconds since 1970.

        Raises:
            Unavailable: it isn't known.
        """
        ...


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long an ingest may live before collectors may treat it as garbage.

    Attributes:
        begun: when its data key was first used, by the store's clock, in s.
        longest: the most time, in s, that may pass from then until its record is written.
    """

    begun: float
    longest: float

    def check(self, store: StoreClock) -> None:
        """Refuses to commit bytes that a collector may be deleting.

        Raises:
            Aborted: the ingest is too old.
        """
        age = store.now() - self.begun
        if age > self.longest:
            raise Aborted(
                f"the ingest began {age:.0f} s ago and may take at most {self.longest:.0f} s "
                "(HOLDFAST_INGEST_LIFETIME): send the bytes again"
            )


@dataclass(frozen=True, slots=True)
class Sight:
    """When and how a data object was seen complete, by the reply to its write or by a HEAD.

    Attributes:
        at: a time no later than the look at it, in s by the clock of `Blobs`; None if this
            process hasn't seen it.
        etag: what the object's ETag must be; "" if that isn't known.
    """

    at: float | None = None
    etag: str = ""


NEVER_SEEN: Final = Sight()


@dataclass(frozen=True, slots=True)
class OwnData:
    """The data object that a commit's record will name."""

    lifetime: Lifetime
    sight: Sight


class OwnDataWatch:
    """Checks one commit's data object until its record is sent. For one thread."""

    def __init__(
        self, store: ObjectStore, clock: Callable[[], float], record: Record, own: OwnData
    ) -> None:
        """Makes no requests yet.

        Args:
            store: where the object is.
            clock: in s, of which only differences count; it runs on while a machine is suspended.
            record: names the object and its size.
            own: what is known of it.
        """
        self._store = store
        self._clock = clock
        self._record = record
        self._own = own
        self._seen_at = own.sight.at

    def check(self) -> None:
        """Returns if the record may be sent now; called before every send of it.

        Raises:
            Aborted: the ingest is too old, or its bytes are gone or not what was stored.
            Unavailable: the store can't be reached, or its answer is too late to rely on.
        """
        for _ in range(LOOKS):
            self._own.lifetime.check(self._store)
            if self._fresh():
                return
            self._look()
        self._own.lifetime.check(self._store)
        if not self._fresh():
            raise Unavailable(
                f"the bytes of {self._record.digest} were there, but each reply came too late; "
                "try again"
            )

    def _fresh(self) -> bool:
        return self._seen_at is not None and self._clock() - self._seen_at <= SIGHT_LASTS

    def _look(self) -> None:
        key, digest, begun = self._record.data_key, self._record.digest, self._clock()
        try:
            entry = self._store.head(key)
        except (NoSuchKey, DataLoss) as error:
            raise Aborted(
                f"the bytes of {digest} are gone from the store ({because(error)})"
            ) from error
        expected = self._own.sight.etag
        if entry.size != self._record.size or expected not in {"", entry.etag}:
            raise Aborted(
                f"{key} has {entry.size} bytes and the ETag {entry.etag}; {digest} was stored "
                f"with {self._record.size} bytes and the ETag {expected or 'unknown'}"
            )
        self._seen_at = begun
