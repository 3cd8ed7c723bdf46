"""What a client does next: decisions without I/O, for any kind of I/O.

A write continues over as many streams as it needs:

    open ── STAT says how far ── WRITEs ─ ── COMMIT ── done
      ▲                              │           │
      └── wait, another frontend ◀── error ◀─────┘

Source: the wire contract in `protos/content.proto`.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from holdfast.errors import (
    Aborted,
    ConfigurationError,
    FailedPrecondition,
    OutOfRange,
    Overloaded,
    Unavailable,
    shorten,
)
from holdfast.protos import content_pb2 as pb

MIB: Final = 2**20
MAX_MESSAGE: Final = 16 * MIB
"""The most bytes in a message."""
MAX_RESTARTS: Final = 2
"""How often a write starts over before it fails."""

MIN_ATTEMPTS: Final = 3
"""The fewest attempts, however much time has passed, if failures come at once."""
SILENT_STREAMS: Final = 2
"""The fewest attempts of a stream that gets no reply: a write is resumed, at another frontend."""
LONGEST_PAUSE: Final = 10.0
"""The longest pause, in seconds, that a frontend can impose before a retry."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The client's settings: sizes in bytes, times in seconds."""

    message_size: int = MIB
    """Bytes of one WRITE; containerd's own size."""
    window: int = 16
    """Messages that may be under way without a reply; this times message_size is memory."""
    replay: int = 64 * MIB
    """Bytes that a writer keeps in order to send them again. A frontend that dies loses its
    parts in flight, about 40 MiB with its defaults."""
    timeout: float = 30.0
    """The timeout of each attempt of a call with one answer."""
    stream_timeout: float = 120.0
    """The timeout of one Read or List; one that takes longer is reopened where it was."""
    reply_timeout: float = 120.0
    """The timeout of a reply on a write stream; a frontend short of buffers delays streams."""
    commit_timeout: float = 600.0
    """The timeout of the reply to COMMIT, for which everything may be read again."""
    retry_for: float = 60.0
    """How long calls are retried without progress before an error is final; longer than
    a dead frontend's refs stay locked."""
    first_wait: float = 0.1
    """The longest wait before the second attempt; it doubles with each attempt."""
    longest_wait: float = 2.0
    """The longest wait between any two attempts."""
    http_proxy: bool = False
    """Whether `http_proxy` and similar variables are used. A store is nearly always reached
    directly, and they would apply even to loopback addresses."""

    def __post_init__(self) -> None:
        """Refuses values that can't work.

        Raises:
            ConfigurationError: a number is out of its range.
        """
        if not 0 < self.message_size <= MAX_MESSAGE - 64 * 2**10:
            raise ConfigurationError(
                f"message_size {self.message_size} must be positive, and at least 64 KiB "
                f"smaller than the largest message, {MAX_MESSAGE} bytes"
            )
        for name in ("window", "timeout", "stream_timeout", "reply_timeout", "commit_timeout"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"{name} {getattr(self, name)} must be positive")
        for name in ("replay", "retry_for", "first_wait", "longest_wait"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} {getattr(self, name)} can't be negative")


def parse_targets(targets: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Frontends' addresses as gRPC expects them: `host:port` or `unix:/path`.

    Raises:
        ConfigurationError: there is none, or one has neither form.
    """
    texts = targets.split(",") if isinstance(targets, str) else list(targets)
    found = tuple(_target(text.strip()) for text in texts if text.strip())
    if not found:
        raise ConfigurationError(
            "no address given; use host:port or unix:///path.sock, several separated by commas"
        )
    return found


def _target(text: str) -> str:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = "/" + path.lstrip("/") if path.startswith("//") else path
        if path.strip("/"):
            return f"unix:{path}"
    else:
        host, colon, port = text.rpartition(":")
        if colon and host and "/" not in text and port.isascii() and port.isdigit():
            return text
    raise ConfigurationError(
        f"address {shorten(text)} is malformed; use host:port or unix:///path.sock"
    )


class Patience:
    """How long to retry: jittered exponential back-off since the last progress."""

    def __init__(
        self,
        options: ClientOptions,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
        *,
        timeout: float | None = None,
    ) -> None:
        """Begins to count, or waits for the first failure.

        Args:
            options: the times.
            clock: seconds, never set back.
            jitter: returns a number between two.
            timeout: seconds for each attempt of a call with one answer, which begins now; None for
                a stream, whose time counts from its first failure.
        """
        self._options = options
        self._clock = clock
        self._jitter = jitter
        self._timeout = timeout
        self._failures = 0
        self._since = None if timeout is None else clock()

    def progress(self) -> None:
        """Notes progress: the next error counts as the first one again."""
        self._failures = 0
        self._since = None

    def exhausted(self, *, silent: bool = False) -> bool:
        """Counts a failure, of an attempt that got no reply or another; is it one too many?"""
        now = self._clock()
        self._since = now if self._since is None else self._since
        self._failures += 1
        late = self._late()
        if late < 0:
            return False
        # After an idle hour, a single failure must not be final; but it must not have taken long.
        if self._timeout is not None:
            return silent or self._failures >= MIN_ATTEMPTS or late >= self._timeout / 2
        return self._failures >= (SILENT_STREAMS if silent else MIN_ATTEMPTS)

    def wait(self, pause: float = 0.0) -> float:
        """Seconds to wait before the next attempt; at least `pause`, within reason."""
        longest = self._options.first_wait * 2 ** min(self._failures - 1, 16)
        backoff = self._jitter(0.0, min(longest, self._options.longest_wait))
        if (late := self._late()) < 0:
            backoff = min(backoff, -late)
        return max(backoff, min(pause, LONGEST_PAUSE))

    def left(self) -> float:
        """Seconds for the next attempt of a call, which may not end later than `timeout` allows."""
        if self._timeout is None:
            raise AssertionError
        # After a pause that a frontend imposed, some of it is left in any case.
        return max(self._timeout / 4, self._timeout - max(0.0, self._late()))

    def _late(self) -> float:
        """Seconds since `retry_for` was over; negative before."""
        since = self._clock() if self._since is None else self._since
        return self._clock() - since - self._options.retry_for


class Step(Enum):
    """What to do after an error."""

    RESUME = auto()
    """Ask where to continue, and continue there."""
    RESTART = auto()
    """Send everything again, from offset 0."""
    GIVE_UP = auto()


class BytesGone(Aborted):
    """The store lost bytes that this writer no longer has; `offset` is where to continue."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset

    def __reduce__(self) -> tuple[type[BytesGone], tuple[str, int]]:
        """Lets it be pickled and copied: not all of its arguments are in its text."""
        return type(self), (str(self), self.offset)


class Recovery:
    """Decides what to do after each error of one write."""

    def __init__(self) -> None:
        self._restarts = 0
        self.foreign = 0
        """Bytes that the store had before this write sent any."""

    def after(self, error: BaseException, *, from_start: bool) -> Step:
        """The next step; `from_start` says whether the bytes from offset 0 are at hand."""
        if isinstance(error, Unavailable | Overloaded):
            return Step.RESUME
        if isinstance(error, BytesGone):
            return Step.GIVE_UP
        if isinstance(error, Aborted | OutOfRange):
            # The ingest has changed: it was lost, or somebody else wrote it.
            return self._bounded(Step.RESUME)
        if isinstance(error, FailedPrecondition) and self.foreign and from_start:
            # The bytes that an earlier attempt left aren't the beginning of these.
            return self._bounded(Step.RESTART)
        return Step.GIVE_UP

    def _bounded(self, step: Step) -> Step:
        self._restarts += 1
        if step is Step.RESTART:
            self.foreign = 0
        return step if self._restarts <= MAX_RESTARTS else Step.GIVE_UP


def resume_at(ref: str, found: int, start: int, end: int) -> int:
    """Where to continue if the store has `found` bytes and the caller has those from start to end.

    Raises:
        BytesGone: the bytes to send again are no longer available.
        Aborted: the store has more than was sent.
    """
    if found < start:
        raise BytesGone(
            f"ref {shorten(ref)} is at offset {found}, but this writer kept only the bytes from "
            f"{start} on; open a new writer and continue from offset {found}, or use a seekable "
            "source or a larger replay buffer",
            found,
        )
    if found > end:
        raise Aborted(
            f"ref {shorten(ref)} is at offset {found}, but only {end} bytes were written to it "
            "here: another writer uses this ref; use a ref of your own"
        )
    return found


def stat(ref: str, total: int = 0, expected: str = "") -> pb.WriteContentRequest:
    """The message that opens a stream: it locks the ref and asks how many bytes are stored."""
    return pb.WriteContentRequest(
        action=pb.WriteAction.STAT, ref=ref, total=total, expected=expected
    )


def write(ref: str, offset: int, data: bytes) -> pb.WriteContentRequest:
    """The message for some bytes; at offset 0 they replace all that is stored."""
    return pb.WriteContentRequest(action=pb.WriteAction.WRITE, ref=ref, offset=offset, data=data)


def commit(
    ref: str, size: int, total: int, expected: str, labels: Mapping[str, str]
) -> pb.WriteContentRequest:
    """The message that ends an ingest of `size` bytes."""
    return pb.WriteContentRequest(
        action=pb.WriteAction.COMMIT,
        ref=ref,
        offset=size,
        total=total or size,
        expected=expected,
        labels=labels,
    )


def whole(
    ref: str, data: bytes, expected: str, labels: Mapping[str, str]
) -> pb.WriteContentRequest:
    """The only message of an ingest: its bytes, which replace all that is stored, and a commit."""
    return pb.WriteContentRequest(
        action=pb.WriteAction.COMMIT,
        ref=ref,
        total=len(data),
        expected=expected,
        data=data,
        labels=labels,
    )


@dataclass(frozen=True, slots=True)
class _Sent:
    action: int
    end: int | None


class InFlight:
    """The messages of one stream that have no reply yet, and what their replies must say."""

    def __init__(self) -> None:
        self._sent: deque[_Sent] = deque()
        self.acknowledged = 0
        """The offset that the last reply named."""
        self.digest = ""
        """The digest of the bytes up to there, or ""."""

    def __len__(self) -> int:
        return len(self._sent)

    def sent(self, message: pb.WriteContentRequest) -> None:
        """Records a message that is being sent."""
        asked = message.action == pb.WriteAction.WRITE
        end = message.offset + len(message.data) if asked else None
        self._sent.append(_Sent(message.action, end))

    def received(self, reply: pb.WriteContentResponse) -> None:
        """Records a reply, which must be to the oldest message.

        Raises:
            OutOfRange: it names another offset than was sent, or answers another action.
        """
        if not self._sent:
            raise OutOfRange("the frontend sent a reply to a message that was never sent")
        oldest = self._sent.popleft()
        if reply.action != oldest.action or oldest.end not in {None, reply.offset}:
            raise OutOfRange(
                f"the frontend answered action {reply.action} at offset {reply.offset}; expected "
                f"action {oldest.action} at offset {oldest.end}"
            )
        self.acknowledged, self.digest = reply.offset, reply.digest


def check_piece(asked: int, got: int, position: int, length: int, size: int) -> None:
    """Checks a message of a Read that began at `asked`.

    Args:
        asked: offset in the blob at which the Read began.
        got: offset that the message names, relative to `asked`.
        position: offset in the blob that comes next.
        length: bytes of the message.
        size: bytes of the blob.

    Raises:
        Unavailable: it isn't the next piece, or extends past the end; retry.
    """
    if asked + got != position or position + length > size:
        raise Unavailable(
            f"the frontend sent {length} bytes at offset {asked + got} of a blob of {size} bytes; "
            f"expected those at offset {position}"
        )
