"""From our errors to gRPC's status codes: the one place that knows both."""

from __future__ import annotations

from typing import Final

import grpc

from holdfast import errors
from holdfast.errors import because

CODES: Final[tuple[tuple[type[errors.HoldfastError], grpc.StatusCode], ...]] = (
    (errors.OutOfRange, grpc.StatusCode.OUT_OF_RANGE),
    (errors.InvalidArgument, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (errors.FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.Aborted, grpc.StatusCode.ABORTED),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.ResourceExhausted, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.DataLoss, grpc.StatusCode.DATA_LOSS),
    (errors.PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (errors.ConfigurationError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.UnsupportedFormat, grpc.StatusCode.FAILED_PRECONDITION),
)
"""The first class that fits counts: subclasses stand before their bases."""


def code_of(error: errors.HoldfastError) -> grpc.StatusCode:
    """The status code of an error; INTERNAL for one that has no place in the contract."""
    for kind, code in CODES:
        if isinstance(error, kind):
            return code
    return grpc.StatusCode.INTERNAL


def details_of(error: errors.HoldfastError) -> str:
    """The text of an error, at most 1 KiB in UTF-8: it travels in HTTP/2 trailers."""
    encoded = because(error).encode("utf-8", "replace")
    if len(encoded) <= errors.MAX_MESSAGE:
        return encoded.decode()
    return encoded[: errors.MAX_MESSAGE - 3].decode("utf-8", "ignore") + "…"


def trailers_of(error: errors.HoldfastError) -> tuple[tuple[str, str], ...]:
    """What goes with the status: when to try again, for clients whose gRPC does so."""
    if isinstance(error, errors.Overloaded):
        return ((errors.PUSHBACK, str(round(error.pause * 1000))),)
    return ()
