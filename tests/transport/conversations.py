"""What a client may send: conversations of frames, most of them right, some wrong in one place.

A conversation is a list of steps; each is the bytes of one or a few frames. What is wrong is drawn
as rarely as what is right is needed to get anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import hpack
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from .raw_client import (
    ACK,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    PADDED,
    Kind,
    frame,
    message,
    request_fields,
    settings,
    window_update,
)

PATH = "/test.Service/Collect"
LARGEST = 2**31 - 1
ENABLE_PUSH = 2
UNKNOWN_SETTING = 0xF000

Fields = list[tuple[str, str]]

RIGHT: list[Fields] = [
    request_fields(PATH),
    request_fields(PATH, ("x-name", "value"), ("x-name", "another"), ("user-agent", "test/1")),
    request_fields(PATH, ("x-empty", ""), ("x-data-bin", "AAEC")),
    request_fields(PATH, ("grpc-timeout", "1H"), ("grpc-accept-encoding", "gzip")),
    request_fields(PATH, ("x-long", "v" * 300), kind="application/grpc+proto"),
    request_fields(PATH, ("cookie", "a=b"), ("cookie", "c=d")),
]
"""Requests that reach the handler."""
WRONG: list[Fields] = [
    request_fields(PATH)[1:],  # no :method
    [pair for pair in request_fields(PATH) if pair[0] != ":scheme"],
    [pair for pair in request_fields(PATH) if pair[0] != ":path"],
    request_fields(""),
    request_fields(PATH, (":method", "POST")),  # twice, and after other fields
    [(":path", PATH), *request_fields(PATH)],
    [*request_fields(PATH), (":authority", "late")],
    [(":status", "200"), *request_fields(PATH)],
    [(":unknown", "x"), *request_fields(PATH)],
    request_fields(PATH, ("X-Upper", "case")),
    request_fields(PATH, ("connection", "close")),
    request_fields(PATH, ("transfer-encoding", "chunked")),
    request_fields(PATH, ("x-bad", "new\nline")),
    request_fields(PATH, ("x-bad", "nul\0")),
    request_fields(PATH, ("te", "gzip")),
    [],
]
"""Requests that HTTP/2 calls malformed."""


@dataclass
class Sender:
    """What the client of one conversation remembers."""

    draw: DrawFn
    encoder: hpack.Encoder = field(default_factory=hpack.Encoder)
    opened: list[int] = field(default_factory=list)
    """Streams that it may still send on."""
    highest: int = -1

    def end(self, stream: int) -> None:
        """Notes that a stream was ended; nearly always, nothing more is sent on it."""
        if stream in self.opened and not self.rarely(20):
            self.opened.remove(stream)

    def rarely(self, one_in: int) -> bool:
        """Whether something is done that is done once in a number of times."""
        # Of a small range, the first and the last number are drawn more often than others.
        return self.draw(st.integers(0, 2**20)) % one_in == 1

    def stream(self) -> int:
        """A stream that was opened, or rarely any."""
        if not self.opened or self.rarely(40):
            return self.draw(st.integers(0, 12))
        return self.draw(st.sampled_from(self.opened))

    def step(self) -> bytes:
        """The next frames."""
        if not self.opened and not self.rarely(20):
            return self._request()
        kinds = [self._request] * 4 + [self._data] * 8 + [self._trailers, self._update, self._reset]
        kinds += [self._ping, self._settings, self._priority, self._odd]
        return self.draw(st.sampled_from(kinds))()

    def _padded(self, payload: bytes) -> tuple[int, bytes]:
        """A payload with padding, rarely more than there is."""
        if not self.rarely(5):
            return 0, payload
        size = self.draw(st.integers(0, 20))
        body = bytes([size]) + payload + bytes(size)
        return PADDED, body[: len(body) - size - 1] if self.rarely(20) else body

    def _block(self, fields: Fields) -> bytes:
        if self.rarely(60):
            return self.draw(st.binary(max_size=30))  # anything but HPACK
        return self.encoder.encode(fields, huffman=self.draw(st.booleans()))

    def _headers(self, stream: int, fields: Fields, flags: int) -> bytes:
        """A HEADERS frame, perhaps with CONTINUATIONs, rarely without the last."""
        block = self._block(fields)
        priority = b""
        if self.rarely(6):
            flags |= HAS_PRIORITY
            priority = self.draw(st.integers(0, 2**32 - 1)).to_bytes(4) + b"\x10"
        pieces = [block]
        while self.rarely(5) and len(pieces) < 5:
            cut = self.draw(st.integers(0, len(pieces[-1])))
            pieces[-1:] = [pieces[-1][:cut], pieces[-1][cut:]]
        added, first = self._padded(priority + pieces[0])
        finished = 0 if self.rarely(60) else END_HEADERS
        if len(pieces) == 1:
            return frame(Kind.HEADERS, flags | added | finished, stream, first)
        frames = [frame(Kind.HEADERS, flags | added, stream, first)]
        frames += [frame(Kind.CONTINUATION, 0, stream, piece) for piece in pieces[1:-1]]
        frames.append(frame(Kind.CONTINUATION, finished, stream, pieces[-1]))
        return b"".join(frames)

    def _request(self) -> bytes:
        following = self.highest + 2
        stream = self.draw(st.integers(0, 12)) if self.rarely(40) else following
        fields = self.draw(st.sampled_from(WRONG if self.rarely(20) else RIGHT))
        if stream % 2 and stream >= following:
            self.opened.append(stream)
            self.highest = stream
        end = self.rarely(8)
        if end:
            self.end(stream)
        return self._headers(stream, fields, END_STREAM if end else 0)

    def _data(self) -> bytes:
        body = message(self.draw(st.binary(max_size=40)))
        if self.rarely(40):
            body = self.draw(st.binary(max_size=20))
        cut = self.draw(st.integers(0, len(body))) if self.rarely(3) else 0
        stream = self.stream()
        frames = []
        for piece in filter(None, (body[:cut], body[cut:])):
            added, payload = self._padded(piece)
            frames.append((added, payload))
        if not frames or self.rarely(10):
            frames.append((0, b""))
        end = END_STREAM if self.rarely(8) else 0
        if end:
            self.end(stream)
        last = len(frames) - 1
        return b"".join(
            frame(Kind.DATA, added | (end if number == last else 0), stream, payload)
            for number, (added, payload) in enumerate(frames)
        )

    def _trailers(self) -> bytes:
        fields = [("x-trailer", "t"), *([(":path", PATH)] if self.rarely(20) else [])]
        stream = self.stream()
        self.end(stream)
        return self._headers(stream, fields, 0 if self.rarely(5) else END_STREAM)

    def _update(self) -> bytes:
        wrong = [0, LARGEST - 65_535, LARGEST]
        increment = self.draw(st.sampled_from(wrong if self.rarely(10) else [1, 1000, 65_535]))
        stream = self.stream() if self.draw(st.booleans()) else 0
        if self.rarely(20):
            return frame(Kind.WINDOW_UPDATE, 0, stream, bytes(self.draw(st.integers(0, 6))))
        return window_update(increment, stream)

    def _reset(self) -> bytes:
        size = self.draw(st.integers(0, 6)) if self.rarely(20) else 4
        stream = self.stream()
        self.end(stream)
        return frame(Kind.RST_STREAM, 0, stream, bytes(size))

    def _ping(self) -> bytes:
        size = self.draw(st.integers(0, 12)) if self.rarely(10) else 8
        flags = ACK if self.rarely(5) else 0
        stream = self.stream() if self.rarely(40) else 0
        return frame(Kind.PING, flags, stream, bytes(range(size)))

    def _settings(self) -> bytes:
        if self.rarely(10):  # an acknowledgement with a payload, a torn setting, or on a stream
            size = self.draw(st.integers(0, 8))
            flags = self.draw(st.sampled_from([0, ACK]))
            return frame(Kind.SETTINGS, flags, self.draw(st.integers(0, 1)), bytes(size))
        wrong = self.rarely(10)
        value = {
            HEADER_TABLE_SIZE: st.sampled_from([0, 100, 4096, 2**32 - 1]),
            ENABLE_PUSH: st.sampled_from([2, 2**31] if wrong else [0, 1]),
            INITIAL_WINDOW_SIZE: st.sampled_from([LARGEST + 1] if wrong else [0, 1, 65_535]),
            MAX_FRAME_SIZE: st.sampled_from([16_383, 2**24] if wrong else [16_384, 2**24 - 1]),
            UNKNOWN_SETTING: st.integers(0, 2**32 - 1),
        }
        names = self.draw(st.lists(st.sampled_from(sorted(value)), max_size=3))
        return settings(*((name, self.draw(value[name])) for name in names))

    def _priority(self) -> bytes:
        size = 5 if not self.rarely(20) else self.draw(st.integers(0, 8))
        dependency = self.draw(st.integers(0, 2**32 - 1)).to_bytes(4)
        return frame(Kind.PRIORITY, 0, self.stream(), (dependency + b"\x10\0\0\0")[:size])

    def _odd(self) -> bytes:
        """Rare frames: unknown ones are ignored, the others have no place here."""
        kind = self.draw(
            st.sampled_from([Kind.UNKNOWN] * 4 + [Kind.PUSH_PROMISE, Kind.CONTINUATION])
        )
        flags = self.draw(st.integers(0, 255))
        return frame(kind, flags, self.stream(), self.draw(st.binary(max_size=20)))


@st.composite
def conversations(draw: DrawFn) -> list[bytes]:
    """The steps of a client after the preface and its first SETTINGS."""
    sender = Sender(draw)
    return [sender.step() for _ in range(draw(st.integers(1, 25)))]
