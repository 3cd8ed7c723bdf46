"""What goes wrong: HTTP/2's error codes, and failures of streams and connections."""

from __future__ import annotations

from enum import IntEnum

from holdfast.transport.counts import Refusal


class ErrorCode(IntEnum):
    """Error codes of RST_STREAM and GOAWAY (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFailedError(Exception):
    """The whole connection must end with GOAWAY (RFC 9113, section 5.4.1)."""

    def __init__(self, code: ErrorCode, reason: str, refusal: Refusal = Refusal.PROTOCOL) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.refusal = refusal


class StreamFailedError(Exception):
    """One stream must end with RST_STREAM; the connection continues (RFC 9113, section 5.4.2)."""

    def __init__(self, stream: int, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.stream = stream
        self.code = code
        self.reason = reason
