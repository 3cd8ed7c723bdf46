"""What became of a call to a frontend: an answer, or none.

A frontend's own UNAVAILABLE has the trailer `errors.KIND`, so it can be distinguished from that of
a connection that broke, was refused, or was ended by a restart. The first is an answer, and a
client gets it as it is; after the second, another frontend is asked. The same trailer of an ABORTED
says that a lease has expired, so the stream may continue.
"""

from __future__ import annotations

from typing import Final

import grpc

from holdfast.errors import (
    FLIGHT,
    KIND,
    PUSHBACK,
    HoldfastError,
    LeaseExpired,
    Locked,
    Unavailable,
    because,
)
from holdfast.service.rpc.status_codes import CODES
from holdfast.transport.status import Code, Metadata, Status

PASSED: Final = frozenset({FLIGHT, KIND, PUSHBACK})
"""Trailers that clients get as the frontend has sent them."""
ERRORS: Final[dict[Code, type[HoldfastError]]] = {code: kind for kind, code in reversed(CODES)}
"""The error of a status code: the first one that `CODES` has for it."""
BROKEN: Final = (
    *("RST_STREAM", "Stream removed", "GOAWAY", "Connection reset", "Socket closed"),
    "Internal error from Core",
)
"""Texts with which gRPC reports a broken connection as INTERNAL or UNKNOWN."""


class FrontendLost(Unavailable):
    """A frontend gave no answer: another one may be asked, and the outcome may be unknown."""


def outcome_of(error: grpc.aio.AioRpcError, target: str) -> Status | FrontendLost:
    """Returns the frontend's answer, or what kept it from answering.

    Args:
        error: as gRPC raised it.
        target: the frontend's address, for the text.
    """
    code, text = Code(error.code().value[0]), error.details() or ""
    trailers = _passed(error)
    lost = code is Code.UNAVAILABLE and not any(name == KIND for name, _ in trailers)
    if lost or code in {Code.CANCELLED, Code.DEADLINE_EXCEEDED}:
        return FrontendLost(f"frontend {target} gave no answer: {text or code.name}")
    if code in {Code.INTERNAL, Code.UNKNOWN} and any(sign in text for sign in BROKEN):
        return FrontendLost(f"the connection to frontend {target} broke: {text}")
    return Status(code, text, trailers)


def refuses(status: Status) -> bool:
    """Whether a frontend refused a call only because it has too much to do."""
    overloaded = status.code is Code.RESOURCE_EXHAUSTED
    return overloaded and any(name == PUSHBACK for name, _ in status.trailers)


def expired(status: Status) -> bool:
    """Whether a stream has ended only because its frontend couldn't renew its lease in time."""
    return status.code is Code.ABORTED and (KIND, LeaseExpired.__name__) in status.trailers


def is_locked(status: Status) -> bool:
    """Whether a frontend refused a stream because another one has its ref."""
    return status.code is Code.UNAVAILABLE and (KIND, Locked.__name__) in status.trailers


def passes(status: Status) -> bool:
    """Whether an error may pass: another frontend, or the same one soon, may not have it."""
    return status.code is Code.UNAVAILABLE or refuses(status)


def reason_of(error: Status | HoldfastError | TimeoutError) -> str:
    """Describes what became of a call, for a log."""
    return f"{error.code.name}: {error.message}" if isinstance(error, Status) else because(error)


def error_of(status: Status) -> HoldfastError:
    """Returns our error for a frontend's answer."""
    return ERRORS.get(status.code, HoldfastError)(status.message)


def _passed(error: grpc.aio.AioRpcError) -> Metadata:
    found = error.trailing_metadata() or ()
    return tuple((name, value) for name, value in found if name in PASSED)
