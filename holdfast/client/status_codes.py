"""From gRPC's status codes to our errors: the one place that knows both.

`service.status_codes` is the other direction.
"""

from __future__ import annotations

from typing import Final, Protocol

import grpc

from holdfast import errors

ERRORS: Final[dict[grpc.StatusCode, type[errors.HoldfastError]]] = {
    grpc.StatusCode.OUT_OF_RANGE: errors.OutOfRange,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.ABORTED: errors.Aborted,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    grpc.StatusCode.DATA_LOSS: errors.DataLoss,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: errors.PermissionDenied,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.OutcomeUnknown,
    # Only a frontend that stops cancels: what this client cancels it doesn't read.
    grpc.StatusCode.CANCELLED: errors.Unavailable,
}

_BROKEN: Final = ("RST_STREAM", "Stream removed", "GOAWAY", "Connection reset", "Socket closed")
"""How gRPC says under INTERNAL or UNKNOWN that a connection broke."""


class Status(Protocol):
    """What a finished call knows."""

    def code(self) -> grpc.StatusCode | None:
        """The status code."""

    def details(self) -> str | None:
        """The text with it."""


def error_of(status: Status, target: str) -> errors.HoldfastError:
    """The error for a call that ended with this status."""
    code, details = status.code(), status.details() or ""
    kind = ERRORS.get(code) if code else None
    if kind is None:
        if any(text in details for text in _BROKEN):
            return errors.Unavailable(f"the connection to {target} broke: {details}")
        name = code.name if code else "no status"
        return errors.HoldfastError(f"{target} failed with {name}: {details or 'no details'}")
    if issubclass(kind, errors.Unavailable):
        reason = details or (code.name if code else "")
        return kind(f"{target}: {reason}")
    return kind(details or f"{target} answered {code.name if code else ''} without a text")
