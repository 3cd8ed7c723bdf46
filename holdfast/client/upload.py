"""A write that outlives its streams: it resumes where the store says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from holdfast.client import calls
from holdfast.client.frontends import Frontends
from holdfast.client.protocol import Recovery, Step, resume_at
from holdfast.client.replay import Source
from holdfast.client.write_stream import WriteStream
from holdfast.digests import Digest
from holdfast.errors import (
    AlreadyExists,
    BeingWritten,
    DataLoss,
    HoldfastError,
    NotFound,
    Unavailable,
)
from holdfast.values import check_labels, check_ref, no_labels

Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Called with the bytes that the store has and the total; 0 if unknown."""
Waits = Callable[[BeingWritten], None]
"""Called each time that another tenant's write is waited for."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A blob that the tenant now holds: sizes in bytes."""

    digest: Digest
    size: int
    already_there: bool = False
    """Whether the store already had it, so that nothing had to be committed."""
    sent: int = 0
    """Bytes sent, including those that were sent again."""
    resumed_at: tuple[int, ...] = ()
    """Offsets at which an earlier or interrupted stream was resumed."""


class Upload:
    """Writes one ref from a source; every method resumes automatically."""

    def __init__(
        self,
        frontends: Frontends,
        ref: str,
        *,
        total: int = 0,
        expected: str = "",
        labels: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        waits: Waits | None = None,
    ) -> None:
        self.ref = check_ref(ref)
        self.source: Source | None = None
        self._frontends = frontends
        self._total = total
        self.expected = str(Digest.parse(expected)) if expected else ""
        """The digest of all bytes, or "" while it is unknown."""
        self._labels = check_labels(labels or no_labels())
        self._progress = progress
        self._waits = waits
        self._ahead: BeingWritten | None = None
        self._patience = frontends.patience()
        self._recovery = Recovery()
        self._stream: WriteStream | None = None
        self._restarting = False
        self._furthest = 0
        self._sent = 0
        self._resumed: list[int] = []
        self._committing = False
        self._reply_lost = False

    def open(self) -> int:
        """Locks the ref; returns the number of bytes that an earlier attempt left there.

        Raises:
            AlreadyExists: the tenant holds the expected digest.
            HoldfastError: as the frontend says.
        """
        found = self._carry(lambda stream: stream.acknowledged)
        self._recovery.foreign = found
        return found

    def send(self) -> None:
        """Sends what the source has and the store doesn't have.

        Raises:
            BytesGone: bytes that must be sent again are no longer available.
            HoldfastError: as the frontend says.
        """
        self._carry(self._pump)

    def flush(self) -> None:
        """Sends, and waits for all replies.

        Raises:
            HoldfastError: as the frontend says.
        """
        self._carry(self._settle)

    def commit(self, expected: str = "") -> Committed:
        """Sends the rest and commits; the store checks the digest.

        Args:
            expected: the digest of all bytes, if it has become known only now.

        Raises:
            FailedPrecondition: size or digest differ from what was announced.
            HoldfastError: as the frontend says.
        """
        self.expected = expected or self.expected

        def commit(stream: WriteStream) -> tuple[str, int]:
            self._settle(stream)
            # If the COMMIT names the digest, the blob is found even if the reply is lost.
            self.expected = self.expected or stream.digest
            self._committing = True
            size = stream.sent
            return stream.commit(self._total, self.expected, self._labels), size

        try:
            digest, size = self._carry(commit)
        except AlreadyExists:
            if not self.expected:
                raise
            return self._found()
        self.suspend()
        return Committed(Digest.parse(digest), size, False, self._sent, tuple(self._resumed))

    def abort(self) -> None:
        """Drops what was written.

        Raises:
            HoldfastError: as the frontend says.
        """
        self._drop()
        calls.abort(self._frontends, self.ref)

    def suspend(self) -> None:
        """Ends the stream; the store keeps what it received, as far as it can."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            # The upload that resumes sends again what wasn't kept.
            with suppress(HoldfastError):
                self._pump(stream)
                stream.suspend()
        finally:
            stream.cancel()

    def drop(self) -> None:
        """Breaks the stream off without waiting."""
        self._drop()

    # -- one stream after another

    def _carry(self, action: Callable[[WriteStream], Result]) -> Result:
        for attempt in self._frontends.attempts(self._patience, self._again):
            with attempt:
                try:
                    return action(self._opened())
                except BaseException:
                    self._drop()
                    raise
        raise AssertionError

    def _again(self, error: BaseException) -> bool:
        if isinstance(error, BeingWritten):
            self._wait_for(error)
        self._reply_lost |= self._committing and isinstance(error, Unavailable)
        from_start = self.source is not None and self.source.start == 0
        step = self._recovery.after(error, from_start=from_start)
        self._restarting |= step is Step.RESTART
        return step is not Step.GIVE_UP

    def _wait_for(self, ahead: BeingWritten) -> None:
        """Notes that another tenant writes these bytes; while it progresses, there is no hurry."""
        before, self._ahead = self._ahead, ahead
        if before is None or (ahead.leader, ahead.offset) != (before.leader, before.offset):
            self._patience.progress()
        if self._waits is not None:
            self._waits(ahead)

    def _refuse_present(self) -> None:
        """Looks whether the bytes that another tenant was writing are there now.

        Raises:
            AlreadyExists: they are, and this tenant holds them now.
        """
        with suppress(NotFound):
            calls.info(self._frontends, Digest.parse(self.expected))
            raise AlreadyExists(f"{self.expected} is there: another tenant has written it")

    def _opened(self) -> WriteStream:
        if self._stream is None:
            if self._ahead and self.expected:
                self._refuse_present()
            self._stream = WriteStream(self._frontends, self.ref)
            found = self._stream.open(self._total, self.expected)
            self._stream.sent = self._position(found)
            if self._stream.sent:
                self._resumed.append(self._stream.sent)
        return self._stream

    def _position(self, found: int) -> int:
        source = self.source
        if source is None:
            return found
        if source.start == 0 and found > source.end and not self._sent:
            # An earlier attempt wrote more than this source has: other bytes.
            self._restarting = True
        if self._restarting:
            return 0
        return resume_at(self.ref, found, source.start, source.end)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    # -- on one stream

    def _pump(self, stream: WriteStream) -> None:
        source = self.source
        if source is None:
            raise AssertionError
        size = self._frontends.options.message_size
        if self._restarting:
            # This is answered before anything else is sent: if the stream breaks now,
            # it must not be resumed where the old bytes end.
            stream.sent = self._furthest = 0
            self._write(stream, source.read(0, size))
            stream.settle()
            self._restarting = False
        while stream.sent < source.end:
            self._write(stream, source.read(stream.sent, size))
            self._moved(stream)

    def _write(self, stream: WriteStream, data: bytes) -> None:
        stream.write(data)
        self._sent += len(data)

    def _settle(self, stream: WriteStream) -> None:
        self._pump(stream)
        stream.settle()
        self._moved(stream)

    def _moved(self, stream: WriteStream) -> None:
        if stream.acknowledged > self._furthest:
            self._furthest = stream.acknowledged
            self._patience.progress()
        if self._progress is not None:
            self._progress(stream.acknowledged, self._total)

    def _found(self) -> Committed:
        """The result if the tenant already holds the digest, perhaps after a lost COMMIT reply."""
        digest = Digest.parse(self.expected)
        held = calls.info(self._frontends, digest)
        size = self.source.end if self.source is not None else held.size
        if held.size != size:
            raise DataLoss(f"{digest} is held with {held.size} bytes, but {size} were written")
        if self._labels and not self._reply_lost:
            calls.update(self._frontends, digest, self._labels)
        return Committed(digest, size, not self._reply_lost, self._sent, tuple(self._resumed))
