"""How an RPC ends: gRPC's status codes, and the exception that a handler raises to end a call."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

Metadata = Sequence[tuple[str, str | bytes]]
"""Names in lower case with their values; values of names that end in "-bin" are bytes."""


class Code(IntEnum):
    """gRPC's status codes, with their numbers on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Status(Exception):  # noqa: N818 -- a status isn't always an error, and gRPC calls it so
    """Ends a call: a handler raises it, and the client receives it."""

    def __init__(self, code: Code, message: str = "", trailers: Metadata = ()) -> None:
        """Describes the end of a call.

        Args:
            code: the status code.
            message: what the client is told; any text.
            trailers: metadata that is sent with the status.
        """
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.trailers = trailers
