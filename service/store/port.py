"""What service asks of an object store, without blocking the loop.

    small    head, delete, create_upload, abort_upload: bounded by the deadline of one step
    patient  complete_upload: no deadline; a store may need minutes to join 10,000 parts
    bulk     get, block, and all that a `Sender` sends: as long as bytes move

The requests and their errors are those of `storage.port`. A small call may also raise Unavailable
because its deadline, or that of the RPC that it serves, has passed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from holdfast.service.process.permits import Permit
from holdfast.storage.port import Body, Entry, Fetched, Part, Upload, Written
from holdfast.storage.records import Record

Result = TypeVar("Result")
Reply = Coroutine[Any, Any, Result]
"""A call to the store, which begins when it is awaited."""
MakeObject = Callable[[], bytes]
"""Returns the bytes of an object, to be sent. It is called once, when they can be sent at once:
until then nobody needs a copy of them."""
MakeBody = Callable[[], Body]
"""Returns the bytes of a part, in the same way."""


class Sender(Protocol):
    """Sends bodies to a store, which takes as long as bytes move.

    The permits in `held` pass to the call. They are released when nothing sends the body any
    more, whether anybody still waits for it or not.
    """

    async def put(self, key: str, body: MakeObject, held: Sequence[Permit] = ()) -> Written:
        """Writes a whole object."""
        ...

    async def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: MakeBody,
        *,
        sums: bytes,
        held: Sequence[Permit] = (),
    ) -> Part:
        """Stores a part of an upload; `sums` are those of its blocks.

        Raises:
            NoSuchUpload: completed, aborted or unknown.
        """
        ...


class AsyncStore(Protocol):
    """The other requests to a store, and what it knows without one."""

    async def get(self, key: str, length: int) -> Fetched:
        """Reads the first `length` bytes of an object.

        Raises:
            NoSuchKey: no object has that name.
            DataLoss: the object has fewer bytes, or ends early.
        """
        ...

    async def block(self, record: Record, index: int) -> bytes:
        """Reads a block of a blob that is intact; it is fetched again if it doesn't match its sum.

        Raises:
            NoSuchKey: the data object is gone.
            DataLoss: the bytes were read twice, and aren't those that were committed.
        """
        ...

    async def head(self, key: str) -> Entry:
        """Returns size, ETag and time of an object.

        Raises:
            NoSuchKey: no object has that name.
        """
        ...

    async def delete(self, key: str) -> None:
        """Removes an object; succeeds if it is absent."""
        ...

    async def create_upload(self, key: str) -> Upload:
        """Begins a multipart upload."""
        ...

    async def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> Written:
        """Makes the object of exactly these parts.

        Raises:
            NoSuchUpload, InvalidPart, OutcomeUnknown: as in `storage.port`.
        """
        ...

    async def abort_upload(self, key: str, upload_id: str) -> None:
        """Drops an upload and its parts."""
        ...

    def composite_etag(self, parts: Sequence[Part]) -> str | None:
        """Returns the ETag of the object that these parts make, if it can be computed."""
        ...

    @property
    def up(self) -> bool:
        """Whether the store answers, as far as is known without a request."""
        ...

    def now(self) -> float:
        """Returns the time by the store's clock, in s, without a request.

        Raises:
            Unavailable: its replies disagree about the time.
        """
        ...
