"""Turns gRPC's status codes into our errors: the only place that knows both.

`service.rpc.status_codes` is the other direction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Protocol

import grpc

from holdfast import errors


class ContentNotFound(errors.NotFound, FileNotFoundError):  # noqa: N818 -- as its base
    """What the client asked for doesn't exist; `except FileNotFoundError` catches it too."""


ERRORS: Final[dict[grpc.StatusCode, type[errors.HoldfastError]]] = {
    grpc.StatusCode.OUT_OF_RANGE: errors.OutOfRange,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.NOT_FOUND: ContentNotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.ABORTED: errors.Aborted,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    grpc.StatusCode.DATA_LOSS: errors.DataLoss,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: errors.PermissionDenied,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.OutcomeUnknown,
    # A stopping frontend cancelled it: this client never reads calls that it cancels itself.
    grpc.StatusCode.CANCELLED: errors.Unavailable,
}

_PAUSED: Final[dict[grpc.StatusCode, type[errors.Overloaded | errors.Busy]]] = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Overloaded,
    grpc.StatusCode.UNAVAILABLE: errors.Busy,
}
"""The errors of a frontend that says when to retry."""
PAUSE: Final = re.compile("[0-9]{1,9}")
"""The form in which a frontend says how many ms to wait."""
AHEAD: Final = re.compile("([a-z0-9._-]{1,63}) ([0-9]{1,19}) ([0-9]{1,19})")
"""The form in which a frontend says for whom to wait: tenant, bytes it has, bytes in all."""
_BROKEN: Final = ("RST_STREAM", "Stream removed", "GOAWAY", "Connection reset", "Socket closed")
"""Texts with which gRPC reports a broken connection as INTERNAL or UNKNOWN."""
_NO_CONNECTION: Final = (
    ("Connection refused", "nobody listens there; is `holdfast serve` running?"),
    ("No such file or directory", "there is no such socket; is `holdfast serve` running?"),
    ("Permission denied", "the socket's mode doesn't let this user in"),
    ("DNS resolution failed", "the name can't be resolved"),
    ("errors resolving", "the name can't be resolved"),
    ("No route to host", "there is no route to it"),
    ("Network is unreachable", "there is no route to it"),
    ("Timeout occurred", "it doesn't answer"),
    ("WRONG_VERSION_NUMBER", "it doesn't speak TLS"),
    (
        "Hostname Verification Check failed",
        "its certificate is for another name: use that in the address, or give it (--server-name)",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate has expired, or has an issuer that isn't trusted here (--ca)",
    ),
)
"""Texts with which gRPC reports under UNAVAILABLE that there is no connection, and their
meanings."""

_CLOSED: Final = re.compile("failed to connect .*(Socket closed|Connection reset|Broken pipe)")
"""How gRPC reports a server that closes each connection at once."""


class CallStatus(Protocol):
    """What a finished call reports."""

    def code(self) -> grpc.StatusCode | None:
        """The status code."""

    def details(self) -> str | None:
        """The error text."""

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """The trailers."""


def error_of(status: CallStatus, target: str) -> errors.HoldfastError:
    """The error for a call that ended with this status; it has the request's name.

    Python shows the name below a traceback, too: whoever sees that may need the frontend's log.
    """
    error = _error(status, target)
    name = _trailer(status, errors.REQUEST_ID)
    if errors.WELL_FORMED.fullmatch(name):
        error.request_id = name
        error.add_note(f"the frontend's log has it as request {name}")
    return error


def _error(status: CallStatus, target: str) -> errors.HoldfastError:
    code, details = status.code(), status.details() or ""
    kind = ERRORS.get(code) if code else None
    if kind is None:
        if any(text in details for text in _BROKEN):
            return errors.Unavailable(f"the connection to {target} broke: {details}")
        name = code.name if code else "no status"
        return errors.HoldfastError(f"{target} failed with {name}: {details or 'no details'}")
    reason = details or (code.name if code else "")
    paused = _PAUSED.get(code) if code else None
    if paused and (pause := _pause(status)) is not None:
        return paused(f"{target}: {reason}", pause)
    if code is grpc.StatusCode.UNAVAILABLE and (ahead := _ahead(status)):
        leader, offset, total = ahead.groups()
        return errors.BeingWritten(f"{target}: {reason}", leader, int(offset), int(total))
    if issubclass(kind, errors.Unavailable):
        return kind(f"{target}: {_meaning(reason)}")
    return kind(details or f"{target} answered {code.name if code else ''} without a text")


def _meaning(details: str) -> str:
    """The meaning of a failure to connect; any other text unchanged."""
    if _CLOSED.match(details):
        return "it closes connections at once; it may want TLS, or a certificate that it trusts"
    return next((text for sign, text in _NO_CONNECTION if sign in details), details)


def _pause(status: CallStatus) -> float | None:
    """Seconds after which the frontend wants a retry; None if it doesn't say."""
    # A value that is negative, malformed or repeated means: don't retry.
    text = _trailer(status, errors.PUSHBACK)
    return int(text) / 1000 if PAUSE.fullmatch(text) else None


def _ahead(status: CallStatus) -> re.Match[str] | None:
    """For whom the frontend wants this client to wait; None if it doesn't say."""
    return AHEAD.fullmatch(_trailer(status, errors.FLIGHT))


def _trailer(status: CallStatus, wanted: str) -> str:
    """A trailer's value; "" if it is missing or repeated."""
    found = [value for name, value in status.trailing_metadata() or () if name == wanted]
    return str(found[0]) if len(found) == 1 else ""
