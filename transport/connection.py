"""One connection: what frames mean, and the streams that they open and close (RFC 9113)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from holdfast.transport import frames
from holdfast.transport.counts import Counts, Refusal
from holdfast.transport.errors import ConnectionFailedError, ErrorCode, StreamFailedError
from holdfast.transport.guard import Guard
from holdfast.transport.header_decoding import TABLE_SIZE, HeaderListTooLongError
from holdfast.transport.header_encoding import RESPONSE, USUAL, trailers
from holdfast.transport.inbox import Inbox
from holdfast.transport.limits import Limits
from holdfast.transport.outgoing import Outgoing
from holdfast.transport.peers import Peer
from holdfast.transport.requests import MalformedError, Request, RequestReader
from holdfast.transport.serving import Serving
from holdfast.transport.status import Code, Status
from holdfast.transport.stream import Stream
from holdfast.transport.streams import Streams

STALLED: Final = Status(
    Code.UNAVAILABLE, "the client has neither read nor sent any of a message for too long"
)
KEEPALIVE: Final = b"keepaliv"
"""The PING that asks whether the client is there."""
USER_AGENT: Final = "user-agent"
"""The field in which clients say which program they are (gRPC over HTTP/2, "Requests")."""
LONGEST_NAME: Final = 200
"""Most characters of it that are kept."""
DRAIN: Final = b"draining"
"""The PING whose answer shows that the client has seen the first GOAWAY."""


class Connection:
    """The streams of one connection."""

    def __init__(
        self,
        out: Outgoing,
        serving: Serving,
        peer: Peer,
        *,
        guard: Guard,
        limits: Limits,
        counts: Counts,
        clock: Callable[[], float],
        drained: Callable[[], None],
    ) -> None:
        """Begins without streams.

        Args:
            out: what is sent.
            serving: what carries out requests.
            peer: the client.
            guard: how much of what is useless the client may send.
            limits: all other bounds.
            counts: counts streams and refusals.
            clock: monotonic, in s.
            drained: told once a drain is over.
        """
        self._out = out
        self._serving = serving
        self._peer = peer
        self._guard = guard
        self._limits = limits
        self._counts = counts
        self._clock = clock
        self._drained = drained
        self._requests = RequestReader(limits.max_header_list)
        self._streams = Streams(counts, self._emptied)
        self._accepts_up_to = frames.LAST_STREAM
        self._window = limits.connection_window
        self._initial_window = frames.FIRST_WINDOW
        self.draining = False
        """Whether the client was told to open no more streams."""
        self.acknowledged = False
        """Whether the client has acknowledged our SETTINGS."""
        self.asked = False
        """Whether the client was asked whether it is there, and hasn't answered."""
        self.idle_since = clock()
        """When the last stream ended, in s."""
        self.user_agent: str | None = None
        """Which program the client has said that it is, with its first call; "" if it hasn't."""

    @property
    def last(self) -> int:
        """The highest number of a stream that was opened."""
        return self._streams.last

    @property
    def peer(self) -> Peer:
        """The client."""
        return self._peer

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams.open)

    @property
    def idle(self) -> bool:
        """Whether there is no stream."""
        return not self._streams.open

    def greet(self) -> None:
        """Sends what a server sends first."""
        limits = self._limits
        values = {
            frames.MAX_CONCURRENT_STREAMS: limits.max_streams,
            frames.INITIAL_WINDOW_SIZE: limits.first_window,
            frames.MAX_HEADER_LIST_SIZE: limits.max_header_list,
        }
        self._out.write(frames.settings(values))
        more = limits.connection_window - frames.FIRST_WINDOW
        if more > 0:
            self._out.write(frames.window_update(0, more))

    def drain(self) -> None:
        """Tells the client to open no more streams; those that it opens meanwhile are served."""
        if self.draining:
            return
        self.draining = True
        self._counts.goaways += 1
        self._counts.drains += 1
        self._out.write(frames.goaway(frames.LAST_STREAM, ErrorCode.NO_ERROR))
        self._out.write(frames.frame(frames.PING, 0, 0, DRAIN))

    def stop_accepting(self) -> None:
        """Refuses streams from now on."""
        if self._accepts_up_to == frames.LAST_STREAM:
            self._accepts_up_to = self.last
            self._out.write(frames.goaway(self.last, ErrorCode.NO_ERROR))
            if self.idle:
                self._drained()

    def ask(self) -> None:
        """Asks whether the client is there."""
        self.asked = True
        self._out.write(frames.frame(frames.PING, 0, 0, KEEPALIVE))

    def end(self, status: Status) -> None:
        """Ends what is left of a drain: calls with a status, then the connection."""
        for stream in list(self._streams.open.values()):
            if stream.call is not None:
                stream.call.abort(status)
        self.stop_accepting()

    def end_stalled(self, now: float) -> None:
        """Ends calls with a message that waits for the client, which has let it wait for too long.

        Args:
            now: in s.
        """
        for stream in list(self._streams.open.values()):
            if stream.stalled(now) <= self._limits.stalled:
                continue
            self._counts.refused[Refusal.UNREAD if stream.left else Refusal.LATE] += 1
            if stream.call is not None:
                stream.call.abort(STALLED)
            stream.reset(ErrorCode.CANCEL)  # unless it has ended

    def lost(self) -> None:
        """Ends all streams because the client is gone."""
        self._streams.lose()

    # Frames.

    def data_begins(self, stream: int, size: int) -> None:
        """DATA begins: the windows are what counts."""
        self._window -= size
        if self._window < 0:
            raise ConnectionFailedError(
                ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window"
            )
        whole = self._limits.connection_window
        if self._window < whole // 2:
            self._out.write(frames.window_update(0, whole - self._window))
            self._window = whole
        found = self._streams.open.get(stream)
        if found is None:
            self._data_of_none(stream)
        elif found.inbox.ended:
            raise StreamFailedError(stream, ErrorCode.STREAM_CLOSED, "DATA after its end")
        else:
            found.inbox.window -= size
            if found.inbox.window < 0:
                raise StreamFailedError(stream, ErrorCode.FLOW_CONTROL_ERROR, "beyond the window")

    def _data_of_none(self, stream: int) -> None:
        self._streams.check_opened(stream)
        self.useless()
        if not self._streams.tolerates(stream):
            raise StreamFailedError(stream, ErrorCode.STREAM_CLOSED, "it has ended")

    def data(self, stream: int, piece: memoryview, *, last: bool) -> None:
        """A piece of DATA: for the call."""
        if not piece and not last:
            self.useless()
        found = self._streams.open.get(stream)
        if found is None:
            return
        if found.expected is not None:
            found.expected -= len(piece)
            if found.expected < 0 or (last and found.expected):
                raise StreamFailedError(stream, ErrorCode.PROTOCOL_ERROR, "content-length is wrong")
        if found.call is not None:
            found.call.feed(piece, last=last)

    def headers(self, stream: int, block: bytes, *, end: bool) -> None:
        """A header block: a request, or what follows one."""
        if not stream & 1:
            raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "a client's streams are odd")
        found = self._streams.open.get(stream)
        if found is not None:
            self._trailers(found, block, end=end)
        elif stream > self._streams.last:
            self._streams.last = stream
            self._request(stream, block, end=end)
        elif self._streams.tolerates(stream):
            self.useless()
            self._skip(block)
        else:
            raise self._streams.misused(stream)

    def _skip(self, block: bytes) -> None:
        with suppress(HeaderListTooLongError):
            self._requests.skip(block)

    def _trailers(self, stream: Stream, block: bytes, *, end: bool) -> None:
        number = stream.number
        if stream.inbox.ended:
            self._skip(block)
            raise StreamFailedError(number, ErrorCode.STREAM_CLOSED, "HEADERS after its end")
        try:
            self._requests.read_trailers(block)
        except (MalformedError, HeaderListTooLongError):
            raise StreamFailedError(number, ErrorCode.PROTOCOL_ERROR, "trailers") from None
        if not end:
            raise StreamFailedError(number, ErrorCode.PROTOCOL_ERROR, "trailers don't end it")
        self.data(number, memoryview(b""), last=True)

    def _request(self, number: int, block: bytes, *, end: bool) -> None:
        try:
            request = self._requests.read(block)
        except MalformedError:
            self._streams.remember(number, unknown=not end)
            raise StreamFailedError(number, ErrorCode.PROTOCOL_ERROR, "malformed") from None
        except HeaderListTooLongError:
            self._refuse_headers(number, end=end)
            return
        if number > self._accepts_up_to:
            self._refuse(number, Refusal.DRAINING)
        elif self._streams.busy >= self._limits.max_streams:
            self._guard.resets.spend(self._clock())
            self._refuse(number, Refusal.STREAMS)
        else:
            self._open(number, request, end=end)

    def _refuse_headers(self, number: int, *, end: bool) -> None:
        self._counts.refused[Refusal.HEADERS] += 1
        most = self._limits.max_header_list
        text = f"the metadata is larger than {most} bytes"
        block = RESPONSE + trailers(Code.RESOURCE_EXHAUSTED, text, ())
        self._out.write(self._out.headers(number, block, end=True))
        if not end:
            self._out.write(frames.rst_stream(number, ErrorCode.NO_ERROR))
        self._streams.remember(number, unknown=not end)

    def _refuse(self, number: int, refusal: Refusal) -> None:
        self._counts.refused[refusal] += 1
        self._out.write(frames.rst_stream(number, ErrorCode.REFUSED_STREAM))
        self._streams.remember(number, unknown=True)

    def _open(self, number: int, request: Request, *, end: bool) -> None:
        limits = self._limits
        if self.user_agent is None:
            self.user_agent = _user_agent(request)
        stream = Stream(
            number,
            self._out,
            Inbox(limits.first_window, limits.max_message, request.encoding, self._counts),
            window=self._initial_window,
            expected=request.length,
            ended=self._streams.ended,
        )
        self._streams.add(stream)
        stream.inbox.ended = end  # an answer may end the stream at once
        self._serving.begin(request, stream, self._peer)
        if end:
            self.data(number, memoryview(b""), last=True)

    def _emptied(self) -> None:
        self.idle_since = self._clock()
        if self._accepts_up_to != frames.LAST_STREAM:
            self._drained()

    def reset(self, stream: int) -> None:
        """RST_STREAM: the client has left the stream."""
        found = self._streams.open.get(stream)
        if found is None:
            self._streams.check_opened(stream)
            self.useless()
            return
        found.inbox.ended = True
        found.lost()
        self._streams.ended(found)
        self._guard.resets.spend(self._clock())

    def stream_failed(self, error: StreamFailedError) -> None:
        """Ends a stream whose frames are wrong."""
        self._counts.refused[Refusal.MALFORMED] += 1
        self._guard.resets.spend(self._clock())
        self._out.write(frames.rst_stream(error.stream, error.code))
        found = self._streams.open.get(error.stream)
        if found is not None:
            found.lost()
            self._streams.ended(found)

    def settings(self, values: list[tuple[int, int]]) -> None:
        """SETTINGS: they are valid at once."""
        self._guard.settings.spend(self._clock())
        for name, value in values:
            frames.check_setting(name, value)
        # In front of the DATA that a larger window allows: clients look for it in this order.
        self._out.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        # The last value of each counts; with many streams, each change of a window costs.
        for name, value in dict(values).items():
            if name == frames.MAX_FRAME_SIZE:
                self._out.max_frame = value
            elif name == frames.HEADER_TABLE_SIZE and value < TABLE_SIZE:
                self._out.table_is_smaller = True
            elif name == frames.MAX_HEADER_LIST_SIZE:
                self._out.max_header_list = min(value, USUAL)
            elif name == frames.INITIAL_WINDOW_SIZE:
                self._change_windows(value)

    def _change_windows(self, value: int) -> None:
        change = value - self._initial_window
        self._initial_window = value
        for stream in list(self._streams.open.values()):
            stream.window += change
            if stream.window > frames.LARGEST_WINDOW:
                raise ConnectionFailedError(
                    ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS make a window too large"
                )
            self._out.resume(stream)

    def settings_acknowledged(self) -> None:
        """The client knows our SETTINGS."""
        if self.acknowledged:
            self.useless()
        self.acknowledged = True

    def ping(self, payload: bytes) -> None:
        """PING: answered."""
        self._guard.pings.spend(self._clock())
        self._out.write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def pong(self, payload: bytes) -> None:
        """The answer to a PING: a drain continues with it."""
        if payload == DRAIN and self.draining:
            self.stop_accepting()
        elif not self.asked:
            self.useless()
        self.asked = False

    def window(self, stream: int, increment: int) -> None:
        """WINDOW_UPDATE: what waits may continue."""
        self.useless()
        if not stream:
            if not increment:
                raise ConnectionFailedError(ErrorCode.PROTOCOL_ERROR, "a window update of 0")
            self._out.window += increment
            if self._out.window > frames.LARGEST_WINDOW:
                raise ConnectionFailedError(ErrorCode.FLOW_CONTROL_ERROR, "the window is too large")
            self._out.pump()
            return
        found = self._streams.open.get(stream)
        if found is None:
            self._streams.check_opened(stream)
        if not increment:
            raise StreamFailedError(stream, ErrorCode.PROTOCOL_ERROR, "a window update of 0")
        if found is None:
            return
        found.window += increment
        if found.window > frames.LARGEST_WINDOW:
            raise StreamFailedError(stream, ErrorCode.FLOW_CONTROL_ERROR, "window too large")
        self._out.resume(found)

    def useless(self) -> None:
        """A frame that means nothing: a few are honest."""
        self._guard.useless.spend(self._clock())


def _user_agent(request: Request) -> str:
    found = (value for name, value in request.metadata if name == USER_AGENT)
    return str(next(found, ""))[:LONGEST_NAME]
