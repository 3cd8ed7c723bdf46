"""Every error that Holdfast raises, in one tree.

    HoldfastError
    ├── InvalidArgument         the request itself is wrong
    │   └── OutOfRange          an offset that isn't where the bytes are
    ├── NotFound                no such blob, ingest or object
    ├── AlreadyExists           this tenant holds the digest
    ├── FailedPrecondition      the state forbids it: size or digest mismatch, …
    ├── Aborted                 the ingest was lost; start over
    ├── Unavailable             try again later: locked ref, backend away, draining
    │   └── OutcomeUnknown      a request may or may not have taken effect
    ├── ResourceExhausted       full, over quota, too large
    │   └── Overloaded          too much is under way at this frontend; try again soon
    ├── DataLoss                stored bytes don't match their sums
    ├── PermissionDenied        the backend or the frontend refuses these credentials
    ├── ConfigurationError      settings that can't or mustn't be run
    └── UnsupportedFormat       written by a newer version of Holdfast

Messages say what was asked, what was found and what to do. Foreign exceptions
are translated where they enter: `storage.s3`, `storage.folder` and
`coordination.connection`; `service.rpc.status_codes` maps this tree to gRPC and
`holdfast.client` maps it back.
"""

from __future__ import annotations

MAX_MESSAGE = 1024
"""Characters of an error text on the wire: it travels in HTTP/2 trailers."""
PUSHBACK = "grpc-retry-pushback-ms"
"""The trailer that says after how many ms to try again.
Source: gRPC's proposal A6, client retries."""
_SILENT = {
    "BrokenPipeError": "the connection was closed",
    "CancelledError": "it was cancelled",
    "ConnectionRefusedError": "the connection was refused",
    "ConnectionResetError": "the connection was reset",
    "EOFError": "the connection ended",
    "MemoryError": "out of memory",
    "TimeoutError": "no answer in time",
}
"""What exceptions mean that come without a word, by their names: some are of modules that not
everybody has."""


class HoldfastError(Exception):
    """Base of everything raised on purpose."""


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
    """The ingest was lost to somebody or something else; start over."""


class Unavailable(HoldfastError):  # noqa: N818
    """Not now: the same request may succeed later."""


class OutcomeUnknown(Unavailable):
    """A request was sent and no reply came: it may have taken effect."""


class ResourceExhausted(HoldfastError):  # noqa: N818
    """A disk, bucket, quota or limit is full."""


class Overloaded(ResourceExhausted):
    """Too much is under way: refused before anything was done."""

    def __init__(self, message: str = "", pause: float = 1.0) -> None:
        """Refuses, for now.

        Args:
            message: what is too much.
            pause: seconds after which it is worth trying again.
        """
        super().__init__(message)
        self.pause = pause


class DataLoss(HoldfastError):  # noqa: N818
    """Stored bytes are not what was stored."""


class PermissionDenied(HoldfastError):  # noqa: N818
    """The credentials don't allow it."""


class ConfigurationError(HoldfastError):
    """Settings that cannot, or must not, be run."""


class UnsupportedFormat(HoldfastError):  # noqa: N818
    """A stored object of a format version that this program doesn't know."""


def because(error: BaseException) -> str:
    """Words an exception, for a log or for another error's text; never empty.

    Some say nothing of themselves: a timeout, a cancellation, a connection that was reset.
    """
    text = str(error).strip()
    if text:
        return text
    named = (kind.__name__ for kind in type(error).__mro__)
    return next((_SILENT[name] for name in named if name in _SILENT), type(error).__name__)


def shorten(text: object, limit: int = 96) -> str:
    """Quotes what a peer sent, printable and at most `limit` characters long."""
    quoted = ascii(text)
    if len(quoted) <= limit:
        return quoted
    return f"{quoted[: limit - 12]}…({len(str(text))} characters)"
