"""HTTP/2 frames as bytes (RFC 9113, sections 4 and 6): what they are called, and how they are made.

A frame is a header of nine bytes (length of the payload, kind, flags, stream) and its payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final

from holdfast.transport.errors import ConnectionFailedError, ErrorCode

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (section 3.4)."""

# Plain numbers: a member of an enumeration costs a lookup for each frame.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

SHORTEST_MAX_FRAME: Final = 2**14
"""Bytes of a payload that everybody must accept: the smallest, and the first, MAX_FRAME_SIZE."""
LONGEST_MAX_FRAME: Final = 2**24 - 1
"""The largest MAX_FRAME_SIZE, in bytes."""
FIRST_WINDOW: Final = 2**16 - 1
"""Bytes of each window before anybody has changed it."""
LARGEST_WINDOW: Final = 2**31 - 1
"""Bytes that a window must not exceed."""
LAST_STREAM: Final = 2**31 - 1
"""The highest number of a stream."""

HEADER: Final = Struct(">IBI")
"""A frame's header; the first number is the payload's length and the kind, in its last byte."""
HEADER_SIZE: Final = HEADER.size
SETTING: Final = Struct(">HI")
NUMBER: Final = Struct(">I")
TWO_NUMBERS: Final = Struct(">II")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Returns a whole frame."""
    return HEADER.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings(values: Mapping[int, int]) -> bytes:
    """Returns a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*item) for item in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    """Returns a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, NUMBER.pack(increment))


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    """Returns an RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, NUMBER.pack(code))


def goaway(last_stream: int, code: ErrorCode, reason: str = "") -> bytes:
    """Returns a GOAWAY frame; streams after the last one were not, and won't be, carried out."""
    payload = TWO_NUMBERS.pack(last_stream, code) + reason.encode("ascii", "replace")
    return frame(GOAWAY, 0, 0, payload)


def headers(stream: int, block: bytes, *, end: bool, most: int = SHORTEST_MAX_FRAME) -> bytes:
    """Returns a header block as a HEADERS frame, and CONTINUATION frames if it is longer.

    Args:
        stream: the stream's number.
        block: the compressed fields.
        end: whether nothing follows on the stream.
        most: largest payload of a frame, in bytes.
    """
    flags = END_STREAM if end else 0
    if len(block) <= most:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    pieces = [block[at : at + most] for at in range(0, len(block), most)]
    frames = [frame(HEADERS, flags, stream, pieces[0])]
    frames += [frame(CONTINUATION, 0, stream, piece) for piece in pieces[1:-1]]
    frames.append(frame(CONTINUATION, END_HEADERS, stream, pieces[-1]))
    return b"".join(frames)


def check_setting(name: int, value: int) -> None:
    """Checks a value that a client has set (section 6.5.2); unknown names are ignored.

    Raises:
        ConnectionFailedError: it is out of its range.
    """
    if name == ENABLE_PUSH and value > 1:
        raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
    if name == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
        raise ConnectionFailedError(ErrorCode.FLOW_CONTROL_ERROR, "a window is too large")
    if name == MAX_FRAME_SIZE and not (SHORTEST_MAX_FRAME <= value <= LONGEST_MAX_FRAME):
        raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
