"""What Holdfast requires of an object store: a set of blocking operations.

Implementations are safe to use from many threads. Keys are `/`-separated ASCII
(`[A-Za-z0-9._=-]` in each part, which isn't `.` or `..`), and no key is the folder
of another one: some stores lose objects below an object. Bodies are bytes, sizes and
offsets are bytes, times are seconds since 1970 by the *store's* clock.

Every operation may also raise, besides the errors in its own docstring:

    Unavailable        the store can't be reached, or is throttling, after retries
    OutcomeUnknown     a conditional put or delete, or a complete, got no definite reply: it
                       may have taken effect, or may do so later; look before you act
    ResourceExhausted  bucket, disk or quota is full
    PermissionDenied   the credentials don't allow it (a 403 never means absence)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from holdfast.errors import DataLoss, HoldfastError, NotFound
from holdfast.request_counts import RequestCounts

MIN_PART_SIZE: Final = 5 * 2**20
"""S3's smallest part in bytes, except for the last of an upload."""

MAX_PARTS: Final = 10_000
"""The most parts that S3 allows in one upload."""


LARGEST_WHOLE: Final = 64 * 2**20
"""Most bytes of an object that is read without saying how many bytes are wanted.

The largest of ours are a hold with all the labels that it may have, each character escaped
(25 MiB), and the record of 5 TiB (8 MiB). Without a bound, whoever may write to the bucket could
fill the memory of all frontends by one object."""

Buffer = bytes | bytearray | memoryview
Body = bytes | Sequence[Buffer]
"""Bytes in one piece or in several, which must not change while they are sent."""


def pieces(body: Body) -> Sequence[Buffer]:
    """The pieces of a body."""
    return (body,) if isinstance(body, bytes) else body


class NoSuchKey(NotFound):
    """No object has that name."""


class NoSuchUpload(NotFound):
    """No such multipart upload exists: it is completed or aborted, or never existed."""


class ConditionFailed(HoldfastError):  # noqa: N818 -- reads as the fact it is
    """The condition of a put or delete didn't hold, so nothing was changed."""


class InvalidPart(HoldfastError):  # noqa: N818 -- S3's own term
    """An upload can't be completed from these parts: one is absent or has another ETag."""


@dataclass(frozen=True, slots=True)
class IfMatch:
    """Only if the object has this ETag; fails on an absent object too."""

    etag: str


@dataclass(frozen=True, slots=True)
class IfAbsent:
    """Only if no object has that name."""


Condition = IfMatch | IfAbsent


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a write: the new ETag, and the time of the reply by the store's clock."""

    etag: str
    date: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One object in a listing, or the answer to a HEAD."""

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

    `sums` are those of its blocks, in the form that a record has; b"" if unknown.
    """

    number: int
    etag: str
    size: int
    sums: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload that is neither completed nor aborted.

    Its key identifies it. The id can be used to abort it, but may differ from the one that
    `create_upload` returned.
    """

    key: str
    id: str
    initiated: float


class TooLarge(DataLoss):
    """An object that is none of ours, since it has more than `LARGEST_WHOLE` bytes."""

    def __init__(self, entry: Entry) -> None:
        """Says which object it is; its bytes weren't read."""
        super().__init__(
            f"object {entry.key} is damaged: it has {entry.size} bytes, "
            f"and none that is read at once has more than {LARGEST_WHOLE}"
        )
        self.entry = entry


class ObjectStore(Protocol):
    """An object store: strongly consistent, with atomic conditional puts."""

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        """Writes a whole object. With a condition it is sent once and never retried.

        Raises:
            ConditionFailed: the condition didn't hold (IfMatch on an absent key too).
            OutcomeUnknown: it was conditional, and no definite reply arrived.
        """
        ...

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        """Reads an object, or `length` bytes of it from `offset` (both within it).

        Raises:
            NoSuchKey: no object has that name.
            TooLarge: no length is given, and more than `LARGEST_WHOLE` bytes would be read.
            DataLoss: the object ends before the range does.
        """
        ...

    def head(self, key: str) -> Entry:
        """Size, ETag and time of an object.

        Raises:
            NoSuchKey: no object has that name.
        """
        ...

    def delete(self, key: str) -> None:
        """Removes an object; succeeds if it is absent."""
        ...

    def delete_if(self, key: str, etag: str) -> None:
        """Removes an object if it has this ETag; sent once and never retried.

        Some servers ignore the condition and delete any object: call
        `storage.probe.deletes_conditionally` before you rely on it.

        Raises:
            ConditionFailed: the object has another ETag, or is absent.
            OutcomeUnknown: no definite reply arrived.
        """
        ...

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        """Objects whose keys begin with `prefix` and sort after `start_after`.

        They are in UTF-8 order of the whole key, and fetched page by page as they are consumed.
        """
        ...

    def create_upload(self, key: str) -> Upload:
        """Begins a multipart upload. If the reply is lost, an upload stays that nobody knows."""
        ...

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, sums: bytes = b""
    ) -> Part:
        """Stores part `number` (from 1), replacing an earlier one of that number.

        Args:
            key: of the future object.
            upload_id: of the upload.
            number: of the part.
            body: the bytes.
            sums: of the blocks of `body`, if they are already known: the store then refuses
                bytes that have changed on the way, if it can.

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

        A store that received sums with the parts may require them again here.

        Raises:
            NoSuchUpload: completed (perhaps by a lost request of ours), aborted or unknown.
            InvalidPart: a part is absent or has another ETag.
            OutcomeUnknown: no definite reply arrived.
        """
        ...

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Drops an upload and its parts, including those in flight; idempotent."""
        ...

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        """The unfinished uploads below `prefix`, as far as the store lists them.

        MinIO no longer lists them after it restarts, and removes them itself after a day.
        """
        ...

    @property
    def up(self) -> bool:
        """Whether the store answers, as far as is known without a request."""
        ...

    @property
    def request_counts(self) -> RequestCounts:
        """The requests to it, counted."""
        ...

    @property
    def switches(self) -> bool:
        """Whether an operation on the event loop may call it, and waits without blocking the loop.

        See `holdfast.switching`.
        """
        ...

    def throttled(self) -> int:
        """How many of its replies so far asked for fewer requests."""
        ...

    def composite_etag(self, parts: Sequence[Part]) -> str | None:
        """The ETag of the object that these parts make, if it can be computed."""
        ...

    def refuses_changed(self, key: str) -> bool | None:
        """Tests, with an object `key`, whether the store refuses bytes that change on the way.

        None: no checksum is sent with the bytes, so the store can't notice.
        """
        ...

    def now(self) -> float:
        """The store's clock: the date of its last reply plus the time since.

        Raises:
            Unavailable: its replies disagree about the time.
        """
        ...

    def check_access(self) -> None:
        """Checks that the store exists and answers.

        Raises:
            ConfigurationError: the bucket is missing, or the folder can't be used.
        """
        ...

    def close(self) -> None:
        """Closes connections; nothing may be in flight."""
        ...
