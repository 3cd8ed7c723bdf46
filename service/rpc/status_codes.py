"""Maps our errors to gRPC's status codes: the only place that knows both."""

from __future__ import annotations

from typing import Final

from holdfast import errors
from holdfast.errors import because
from holdfast.transport.status import Code, Status

CODES: Final[tuple[tuple[type[errors.HoldfastError], Code], ...]] = (
    (errors.OutOfRange, Code.OUT_OF_RANGE),
    (errors.InvalidArgument, Code.INVALID_ARGUMENT),
    (errors.NotFound, Code.NOT_FOUND),
    (errors.AlreadyExists, Code.ALREADY_EXISTS),
    (errors.FailedPrecondition, Code.FAILED_PRECONDITION),
    (errors.Aborted, Code.ABORTED),
    (errors.Unavailable, Code.UNAVAILABLE),
    (errors.ResourceExhausted, Code.RESOURCE_EXHAUSTED),
    (errors.DataLoss, Code.DATA_LOSS),
    (errors.PermissionDenied, Code.PERMISSION_DENIED),
    (errors.ConfigurationError, Code.FAILED_PRECONDITION),
    (errors.UnsupportedFormat, Code.FAILED_PRECONDITION),
)
"""The first class that matches is used, so subclasses precede their bases."""


def code_of(error: errors.HoldfastError) -> Code:
    """Returns the status code of an error; INTERNAL if the error isn't in `CODES`."""
    for kind, code in CODES:
        if isinstance(error, kind):
            return code
    return Code.INTERNAL


def status_of(error: errors.HoldfastError) -> Status:
    """Returns the status that an RPC with this error ends with."""
    return Status(code_of(error), details_of(error), trailers_of(error))


def details_of(error: errors.HoldfastError) -> str:
    """Returns an error's text, cut to 1 KiB of UTF-8, because it travels in HTTP/2 trailers."""
    encoded = because(error).encode("utf-8", "replace")
    if len(encoded) <= errors.MAX_MESSAGE:
        return encoded.decode()
    return encoded[: errors.MAX_MESSAGE - 3].decode("utf-8", "ignore") + "…"


def trailers_of(error: errors.HoldfastError) -> tuple[tuple[str, str], ...]:
    """Returns the trailers of a status: when to retry, whom to wait for, which error it is."""
    pause: tuple[tuple[str, str], ...] = ()
    if isinstance(error, errors.Overloaded | errors.Busy):
        pause = ((errors.PUSHBACK, str(round(error.pause * 1000))),)
    if not isinstance(error, errors.Unavailable | errors.LeaseExpired):
        return pause
    answer = (errors.KIND, type(error).__name__)
    if isinstance(error, errors.BeingWritten):
        return answer, (errors.FLIGHT, f"{error.leader} {error.offset} {error.total}")
    return (answer, *pause)
