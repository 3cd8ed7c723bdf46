"""Whatever a client sends, in whatever pieces, we do what h2 does, a library of its own.

Source: h2, an implementation of RFC 9113 that isn't ours. Where h2 is wrong or kinder, it is said
here, and why we differ.
"""

from __future__ import annotations

import asyncio
import base64
from collections import defaultdict
from collections.abc import Iterator
from itertools import starmap

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.transport.limits import Limits

from .conversations import conversations
from .pipe import Pipe, Received
from .raw_client import ACK, HAS_PRIORITY, PADDED, PREFACE, Frame, Kind, frame, parsed

LIMITS = Limits()
GREETING = PREFACE + frame(Kind.SETTINGS) + frame(Kind.SETTINGS, ACK)
PREFIX = 5
"""Bytes before each gRPC message."""
OF_THE_PROTOCOL = {"te", "content-type", "grpc-timeout", "grpc-accept-encoding", "content-length"}
"""Fields that no handler sees."""


class Reference:
    """h2 as a server with our settings, and what it has seen."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(
            client_side=False, header_encoding="utf-8", normalize_inbound_headers=False
        )
        self._h2 = h2.connection.H2Connection(config)
        codes = h2.settings.SettingCodes
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.ENABLE_PUSH: 0,
                codes.MAX_CONCURRENT_STREAMS: LIMITS.max_streams,
                codes.INITIAL_WINDOW_SIZE: LIMITS.first_window,
                codes.MAX_HEADER_LIST_SIZE: LIMITS.max_header_list,
            },
        )
        self._h2.initiate_connection()
        self.requests: dict[int, list[tuple[str, str]]] = {}
        self.data: defaultdict[int, bytearray] = defaultdict(bytearray)
        self.ended: set[int] = set()
        self.left: set[int] = set()
        """Streams that the client has reset."""
        self.reset_streams: set[int] = set()
        """Streams that h2 has reset."""
        self.failed = False
        """Whether the connection has failed."""
        self.pings = 0
        self.settings = 0

    def feed(self, data: bytes) -> None:
        """Receives bytes."""
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.failed = True
            return
        # Not all of them are events.
        sent, _ = parsed(self._h2.data_to_send())
        self.reset_streams |= {one.stream for one in sent if one.kind == Kind.RST_STREAM}
        for event in events:
            self._note(event)

    def _note(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                fields = [(str(k), str(v)) for k, v in event.headers]
                if is_call(fields):
                    self.requests[event.stream_id] = fields
            case h2.events.DataReceived():
                self.data[event.stream_id] += event.data
            case h2.events.StreamEnded():
                self.ended.add(event.stream_id)
            case h2.events.StreamReset(remote_reset=True):
                self.left.add(event.stream_id)
            case h2.events.PingReceived():
                self.pings += 1
            case h2.events.RemoteSettingsChanged():
                self.settings += 1


def is_call(fields: list[tuple[str, str]]) -> bool:
    """Whether a request is gRPC's; others get an HTTP status, and no handler sees them."""
    known = dict(fields)
    grpc = known.get("content-type", "").partition("+")[0].partition(";")[0] == "application/grpc"
    return grpc and known[":method"] == "POST"


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes, over and over; no sizes: in one piece."""
    at = 0
    while at < len(data):
        for size in cuts or [len(data)]:
            yield data[at : at + size]
            at += size


def acknowledged(frames: list[Frame], kind: Kind) -> int:
    """How many frames of a kind the server has acknowledged."""
    return sum(one.kind == kind and one.flags & ACK for one in frames)


def messages(data: bytes) -> tuple[list[bytes], bool]:
    """The gRPC messages in what a stream carried, and whether something else is there, too."""
    found: list[bytes] = []
    while len(data) >= PREFIX:
        size = int.from_bytes(data[1:PREFIX])
        if data[0] or size > LIMITS.max_message:
            return found, True
        if len(data) < PREFIX + size:
            return found, False
        found.append(data[PREFIX : PREFIX + size])
        data = data[PREFIX + size :]
    return found, False


def as_text(value: str | bytes) -> str:
    """A field's value as it was sent."""
    return value if isinstance(value, str) else base64.b64encode(value).decode()


def fields_for_handlers(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What a handler should see of a request."""
    return [
        (name, value)
        for name, value in fields
        if not name.startswith(":") and name not in OF_THE_PROTOCOL
    ]


class Comparison:
    """Both, side by side, up to the first error."""

    def __init__(self) -> None:
        self.pipe = Pipe(LIMITS, {})
        self.reference = Reference()
        self.goes_on = True

    async def feed(self, step: bytes, cuts: list[int]) -> None:
        """Has both receive a step; as long as there was no error, they must have seen the same."""
        for piece in pieces(step, cuts):
            await self.pipe.feed(piece)
        await self.pipe.settle()
        assert self.pipe.failures == []
        if self.goes_on:
            self.reference.feed(step)
            self.goes_on = self._same(step)

    def _same(self, step: bytes) -> bool:
        pipe, reference = self.pipe, self.reference
        ours = pipe.failed or pipe.reset_streams()
        if reference.failed or reference.reset_streams:
            assert ours or is_padding_only(step), f"h2 refuses it, and we don't: {step!r}"
            return False
        if ours:
            assert self._is_stricter(step), f"we refuse it, and h2 doesn't: {step!r}"
            return False
        assert acknowledged(pipe.frames, Kind.PING) == reference.pings
        assert acknowledged(pipe.frames, Kind.SETTINGS) == reference.settings
        calls = zip(reference.requests, pipe.calls, strict=True)
        return all(starmap(self._same_call, calls))

    def _is_stricter(self, step: bytes) -> bool:
        """Whether we may refuse what h2 doesn't."""
        highest = max(self.reference.requests, default=0)
        frames, _ = parsed(step)
        idle = any(  # h2 lets a client reset a stream that it hasn't opened (section 5.1)
            one.kind == Kind.RST_STREAM and (one.stream > highest or one.stream % 2 == 0)
            for one in frames
        )
        # h2 waits for the rest of what no client may send (section 8.4).
        pushed = any(one.kind == Kind.PUSH_PROMISE for one in frames)
        return idle or pushed or has_repeated_setting(step)

    def _same_call(self, stream: int, received: Received) -> bool:
        """Compares one call; whether it goes on at both."""
        reference = self.reference
        data = bytes(reference.data[stream])
        sent = [(name, as_text(value)) for name, value in received.metadata]
        assert sent == fields_for_handlers(reference.requests[stream])
        expected, wrong = messages(data)
        assert received.messages == expected
        left = stream in reference.left
        cut = stream in reference.ended and len(data) > sum(PREFIX + len(one) for one in expected)
        assert received.ended == (stream in reference.ended and not cut and not left)
        assert received.cut == (left or wrong or cut)
        return not (wrong or cut)


def is_padding_only(step: bytes) -> bool:
    """Whether a HEADERS frame has padding and nothing else, as RFC 9113 allows (section 6.2).

    Its library of frames takes the padding for too long.
    """
    frames, _ = parsed(step)
    return any(
        one.kind == Kind.HEADERS
        and one.flags & PADDED
        and one.payload[0] + 1 + 5 * bool(one.flags & HAS_PRIORITY) == len(one.payload)
        for one in frames
    )


def has_repeated_setting(step: bytes) -> bool:
    """Whether a setting comes twice: h2 looks at the last one, we at each (section 6.5.3)."""
    frames, _ = parsed(step)
    for one in frames:
        names = [one.payload[at : at + 2] for at in range(0, len(one.payload), 6)]
        if one.kind == Kind.SETTINGS and len(set(names)) < len(names):
            return True
    return False


async def compare(steps: list[bytes], cuts: list[int]) -> None:
    """Holds a conversation with both; at its end nothing remains."""
    comparison = Comparison()
    for step in [GREETING, *steps]:
        await comparison.feed(step, cuts)
    await comparison.pipe.close()
    assert comparison.pipe.failures == []


WHOLE: list[int] = []
BYTES = [1]


NOT_GRPC = [
    (
        b"\x00\x00C\x01\x04\x00\x00\x00\x01\x83\x86D\x15/test.Service/CollectA\tlocalhost"
        b"@\x02te\x08trailers_\x10application/grpc"
    ),
    b"\x00\x00\x06\x01\x0c\x00\x00\x00\x03\x00\x83\x86\xc1\xc0\xbf",
]
"""A request of gRPC, and one that lacks its content type."""


@settings(max_examples=300)
@example(NOT_GRPC, WHOLE)
@given(
    conversations(),
    st.sampled_from([WHOLE, BYTES]) | st.lists(st.integers(1, 30), min_size=1, max_size=5),
)
def test_any_conversation(steps: list[bytes], cuts: list[int]) -> None:
    """Up to the first error, both see the same; what h2 refuses, we refuse, in any pieces."""
    asyncio.run(compare(steps, cuts))
