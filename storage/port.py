"""What Holdfast asks of an object store: a dozen blocking operations.

Implementations are safe to use from many threads. Keys are `/`-separated ASCII
(`[A-Za-z0-9._=-]` in each part, which isn't `.` or `..`), and no key is the folder
of another one: some stores lose objects below an object. Bodies are bytes, sizes and
offsets are bytes, times are seconds since 1970 by the *store's* clock.

Every operation raises, besides what its own docstring names:

    Unavailable        the store can't be reached, or is throttling, after retries
    OutcomeUnknown     a conditional put or delete, or a complete, got no definite reply: it
                       may have taken effect, now or later; look before acting
    ResourceExhausted  bucket, disk or quota is full
    PermissionDenied   the credentials don't allow it (a 403 is never absence)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from holdfast.errors import HoldfastError, NotFound

MIN_PART_SIZE: Final = 5 * 2**20
"""S3's smallest part, other than the last of an upload."""

MAX_PARTS: Final = 10_000
"""S3's most parts of one upload."""


Buffer = bytes | bytearray | memoryview
Body = bytes | Sequence[Buffer]
"""Bytes in one piece, or in several, which nobody changes while they are sent."""


def pieces(body: Body) -> Sequence[Buffer]:
    """A body's pieces."""
    return (body,) if isinstance(body, bytes) else body


class NoSuchKey(NotFound):
    """There is no object of that name."""


class NoSuchUpload(NotFound):
    """There is no such multipart upload: finished, aborted, or never made."""


class ConditionFailed(HoldfastError):  # noqa: N818 -- reads as the fact it is
    """A conditional put or delete found another state than it asked for, and did nothing."""


class InvalidPart(HoldfastError):  # noqa: N818 -- S3's own term
    """An upload can't be completed from these parts: one is absent or has another ETag."""


@dataclass(frozen=True, slots=True)
class IfMatch:
    """Only if the object's ETag is this one; an absent object fails too."""

    etag: str


@dataclass(frozen=True, slots=True)
class IfAbsent:
    """Only if there is no object of that name."""


Condition = IfMatch | IfAbsent


@dataclass(frozen=True, slots=True)
class Written:
    """What a write tells: the new ETag, and the store's time of its reply."""

    etag: str
    date: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing, or the answer to a head."""

    key: str
    size: int
    etag: str
    last_modified: float


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object, or a range of one. `entry.size` is the whole object's."""

    entry: Entry
    body: bytes
    date: float


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload; `date` is the store's time of its creation."""

    id: str
    date: float


@dataclass(frozen=True, slots=True)
class Part:
    """A stored part of an upload, numbered from 1.

    `sums` are those of its blocks, as a record has them; b"" where nobody said.
    """

    number: int
    etag: str
    size: int
    sums: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload that is neither completed nor aborted.

    It is known by its key: the id is good for aborting it, but `create_upload` may have
    given it another one.
    """

    key: str
    id: str
    initiated: float


class ObjectStore(Protocol):
    """An object store: strongly consistent, with atomic conditional puts."""

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """Writes a whole object. With a condition it is sent once, never retried.

        Raises:
            ConditionFailed: the condition didn't hold (IfMatch on an absent key too).
            OutcomeUnknown: conditional, and no definite reply came.
        """
        ...

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """Reads an object, or `length` bytes of it from `offset` (both within it).

        Raises:
            NoSuchKey: there is none.
            DataLoss: the object ends before the range does.
        """
        ...

    def head(self, key: str) -> Entry:
        """Size, ETag and time of an object.

        Raises:
            NoSuchKey: there is none.
        """
        ...

    def delete(self, key: str) -> None:
        """Removes an object; an absent one is no error."""
        ...

    def delete_if(self, key: str, etag: str) -> None:
        """Removes an object if its ETag is this one; sent once, never retried.

        Some servers ignore the condition and delete whatever is there: ask
        `storage.probe.deletes_conditionally` before anything rests on it.

        Raises:
            ConditionFailed: there is another object, or none.
            OutcomeUnknown: no definite reply came.
        """
        ...

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """Objects whose keys begin with `prefix` and sort after `start_after`.

        In UTF-8 order of the whole key, fetched page by page as it is consumed.
        """
        ...

    def create_upload(self, key: str) -> Upload:
        """Begins a multipart upload. A lost reply leaves one that nobody knows."""
        ...

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        """Stores part `number` (from 1), replacing an earlier one of that number.

        Args:
            key: of the object to be.
            upload_id: of the upload.
            number: of the part.
            body: the bytes.
            sums: of the blocks of `body`, where they are known already: bytes that aren't
                theirs any more are refused, if the store can.

        Raises:
            NoSuchUpload: completed, aborted or unknown.
        """
        ...

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """The parts stored so far, by number.

        Raises:
            NoSuchUpload: completed, aborted or unknown.
        """
        ...

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        """Makes the object of exactly these parts, atomically. Sent once.

        A store that was given sums with the parts may want them again here.

        Raises:
            NoSuchUpload: completed (perhaps by a lost request of ours), aborted or unknown.
            InvalidPart: a part is absent or has another ETag.
            OutcomeUnknown: no definite reply came.
        """
        ...

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Drops an upload and its parts, those still in flight included; idempotent."""
        ...

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """Uploads under way below `prefix`, as far as the store tells.

        MinIO forgets them in its listings when it restarts, and drops them itself
        after a day.
        """
        ...

    @property
    def up(self) -> bool:
        """Whether the store answers, as far as is known without asking it."""
        ...

    def throttled(self) -> int:
        """How often the store has asked for less, so far."""
        ...

    def composite_etag(self, parts: Sequence[Part]) -> str | None:
        """The ETag that completing these parts gives, where it can be computed."""
        ...

    def refuses_changed(self, key: str) -> bool | None:
        """Finds out, with an object `key`, whether bytes that change on the way are refused.

        None: nothing goes with bytes by which the store could notice.
        """
        ...

    def now(self) -> float:
        """The store's clock: its last reply's date plus the time since.

        Raises:
            Unavailable: its replies disagree about the time.
        """
        ...

    def check_access(self) -> None:
        """Finds out whether the store is there and answers.

        Raises:
            ConfigurationError: the bucket is missing, or the folder can't be used.
        """
        ...

    def close(self) -> None:
        """Gives back connections; nothing may be in flight."""
        ...
