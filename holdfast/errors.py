"""Every error that Holdfast raises, in one tree.

    HoldfastError
    ├── InvalidArgument         the request itself is wrong
    │   └── OutOfRange          an offset that isn't where the bytes are
    ├── NotFound                no such blob, ingest or object
    ├── AlreadyExists           this tenant holds the digest
    ├── FailedPrecondition      the state forbids it: size or digest mismatch, …
    ├── Aborted                 the ingest was lost; start over
    │   └── LeaseExpired        the ref was given up; its ingest may be as it was
    ├── Unavailable             try again later: locked ref, backend down, draining
    │   ├── Locked              another stream writes the ref
    │   ├── OutcomeUnknown      a request may or may not have taken effect
    │   └── BeingWritten        another tenant writes these bytes: wait, and adopt them
    ├── ResourceExhausted       full, over quota, too large
    │   └── Overloaded          too much is under way at this frontend; try again soon
    ├── DataLoss                stored bytes don't match their sums
    ├── PermissionDenied        the backend or the frontend refuses these credentials
    ├── ConfigurationError      settings that can't or mustn't be used
    └── UnsupportedFormat       written by a newer version of Holdfast

Messages say what was asked, what was found and what to do. The exceptions of libraries
are translated where they enter: in `storage.s3`, `storage.folder` and
`coordination.connection`. `service.rpc.status_codes` maps this tree to gRPC, and
`holdfast.client` maps it back.
"""

from __future__ import annotations

import re

MAX_MESSAGE = 1024
"""The most characters of an error text on the wire: it is sent in HTTP/2 trailers."""
PUSHBACK = "grpc-retry-pushback-ms"
"""The trailer that says after how many ms to retry.
Source: gRPC's proposal A6, client retries."""
FLIGHT = "holdfast-flight"
"""The trailer of `BeingWritten`: leader, offset and total, separated by spaces."""
KIND = "holdfast-error"
"""The trailer of a frontend's own UNAVAILABLE: the name of the error's class. A connection that
breaks, or is refused, ends calls with UNAVAILABLE too, and without this. An ABORTED has it if the
stream's lease has expired, and not if its ref was aborted."""
REQUEST_ID = "x-request-id"
"""The metadata by which a client names its request, and the trailer that names one that failed."""
WELL_FORMED = re.compile(r"[A-Za-z0-9._:/+=-]{1,64}")
"""A name of a request that clients may choose: that of a UUID, a ULID, a trace, a proxy's."""
KEPT = "holdfast-kept"
"""The metadata by which a writer asks for `kept` in the replies of its stream."""
CONTINUED = "continued"
"""The value of `KEPT` for a stream that continues one which a frontend has lost; else any other."""
_SILENT = {
    "BrokenPipeError": "the connection was closed",
    "CancelledError": "it was cancelled",
    "ConnectionRefusedError": "the connection was refused",
    "ConnectionResetError": "the connection was reset",
    "EOFError": "the connection ended",
    "MemoryError": "out of memory",
    "TimeoutError": "no answer in time",
}
"""What exceptions without a text mean, by their names: some are of modules that may not be
installed."""


class HoldfastError(Exception):
    """The base of every error that Holdfast raises deliberately.

    Attributes:
        request_id: the name by which the frontend's log has the request that failed; "" if no
            frontend has said it.
    """

    request_id: str = ""


class InvalidArgument(HoldfastError):  # noqa: N818 -- gRPC's own term
    """The request itself is wrong, whatever the state of the store."""


class OutOfRange(InvalidArgument):
    """An offset that doesn't fit the bytes that are there."""


class NotFound(HoldfastError):  # noqa: N818
    """No such blob, ingest, upload or object."""


class AlreadyExists(HoldfastError):  # noqa: N818
    """This tenant already holds the digest."""


class FailedPrecondition(HoldfastError):  # noqa: N818
    """The state of the ingest or blob forbids the operation."""


class Aborted(HoldfastError):  # noqa: N818
    """The ingest was lost to another writer or to a fault; start over."""


class LeaseExpired(Aborted):
    """A writer has lost its ref because it couldn't renew its lease in time.

    Nobody is known to have aborted the ref, so whoever has the bytes may continue.
    """


class Unavailable(HoldfastError):  # noqa: N818
    """It isn't possible now: the same request may succeed later."""


class Busy(Unavailable):
    """A bound of this frontend was reached within a request: too many wait for the same."""

    def __init__(self, message: str = "", pause: float = 1.0) -> None:
        """Ends the request for now.

        Args:
            message: which bound.
            pause: seconds after which a retry is worthwhile.
        """
        super().__init__(message)
        self.pause = pause


class Locked(Unavailable):
    """Another stream holds the lease on a ref."""

    def __init__(self, message: str = "", *, ending: bool = False) -> None:
        """Refuses a stream for now.

        Args:
            message: who writes the ref.
            ending: whether that stream is about to end, so that a wait is worthwhile.
        """
        super().__init__(message)
        self.ending = ending


class OutcomeUnknown(Unavailable):
    """A request was sent and no reply arrived: it may have taken effect."""


class BeingWritten(Unavailable):
    """Another tenant is writing these bytes: they needn't be sent if one waits for them."""

    def __init__(
        self, message: str = "", leader: str = "", offset: int = 0, total: int = 0
    ) -> None:
        """Tells a writer to wait.

        Args:
            message: the text.
            leader: the tenant that is furthest.
            offset: how far it is, in bytes.
            total: of how many bytes; 0 if unknown.
        """
        super().__init__(message)
        self.leader = leader
        self.offset = offset
        self.total = total

    @property
    def percent(self) -> int:
        """How far the leader is, in percent; 0 if that is unknown."""
        return min(100, 100 * self.offset // self.total) if self.total else 0


class ResourceExhausted(HoldfastError):  # noqa: N818
    """A disk, bucket, quota or limit is full."""


class Overloaded(ResourceExhausted):
    """Too much is under way: the request was refused before anything was done."""

    def __init__(self, message: str = "", pause: float = 1.0) -> None:
        """Refuses the request for now.

        Args:
            message: what is too much.
            pause: seconds after which a retry is worthwhile.
        """
        super().__init__(message)
        self.pause = pause


class DataLoss(HoldfastError):  # noqa: N818
    """Stored bytes are not what was stored."""


class PermissionDenied(HoldfastError):  # noqa: N818
    """The credentials don't allow it."""


class ConfigurationError(HoldfastError):
    """Settings that cannot, or must not, be used."""


class UnsupportedFormat(HoldfastError):  # noqa: N818
    """A stored object has a format version that this program doesn't know."""


def because(error: BaseException) -> str:
    """Describes an exception, for a log or for another error's text; never empty.

    Some exceptions have no text: a timeout, a cancellation, a connection that was reset.
    """
    text = str(error).strip()
    if text:
        return text
    named = (kind.__name__ for kind in type(error).__mro__)
    return next((_SILENT[name] for name in named if name in _SILENT), type(error).__name__)


def request_of(error: BaseException) -> str:
    """Returns the name of the request that an error, or what caused it, is about; "" if none is."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, HoldfastError) and at.request_id:
            return at.request_id
        at = at.__cause__
    return ""


def reported(error: BaseException) -> str:
    """Describes an exception for people, who may have to find its request in a frontend's log."""
    name = request_of(error)
    return f"{because(error)} (request {name})" if name else because(error)


def shorten(text: object, limit: int = 96) -> str:
    """Quotes what a peer sent: printable, and at most `limit` characters long."""
    quoted = ascii(text)
    if len(quoted) <= limit:
        return quoted
    return f"{quoted[: limit - 12]}…({len(str(text))} characters)"
