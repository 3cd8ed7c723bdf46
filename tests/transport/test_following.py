"""A follower is told of each call's end, whatever ends it, and once."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from holdfast.transport import Bidirectional, Call, Code, Limits, ServerStream, Status, Unary
from holdfast.transport.following import FollowedCall
from holdfast.transport.status import Metadata
from tests.transport.serving import PATH, Running, serving, stream_call, unary_call, until

LIMIT = 1000


class Notes:
    """A follower that notes what it is told."""

    def __init__(self) -> None:
        self.begun: list[FollowedCall] = []
        self.entered: list[object] = []
        self.ended: list[tuple[Code, int, int]] = []

    def begins(self, call: FollowedCall) -> None:
        self.begun.append(call)
        call.attachment = asyncio.current_task()

    def enters(self, call: FollowedCall) -> None:
        self.entered.append(call.attachment is not asyncio.current_task())

    def ends(self, call: FollowedCall, status: Status | None) -> Metadata:
        code = Code.OK if status is None else status.code
        self.ended.append((code, call.received, call.sent_bytes))
        return [("x-told", code.name)]


async def echo(message: bytes, _: Call) -> bytes:
    return message * 2


async def refuse(*_: object) -> bytes:
    raise Status(Code.NOT_FOUND, "no")


async def missay(*_: object) -> bytes:
    raise Status(Code.NOT_FOUND, "no", (("grpc-ours", "no name of ours"),))


async def fail(*_: object) -> bytes:
    raise ZeroDivisionError


async def wait(*_: object) -> Any:
    await asyncio.Event().wait()


async def send(message: bytes, call: Call) -> None:
    await call.send(message)
    await call.send(message)


async def receive(call: Call) -> None:
    while await call.receive() is not None:
        pass


HANDLERS: dict[str, tuple[Any, bytes, tuple[Code, int, int]]] = {
    "unary": (Unary(echo), b"abc", (Code.OK, 3, 6)),
    "at once": (Unary(wait, lambda message, _: message * 2), b"abc", (Code.OK, 3, 6)),
    "server stream": (ServerStream(send), b"abc", (Code.OK, 3, 6)),
    "stream at once": (
        ServerStream(wait, lambda message, _: [(message, message)]),
        b"abc",
        (Code.OK, 3, 6),
    ),
    "refused": (Unary(refuse), b"abc", (Code.NOT_FOUND, 3, 0)),
    "failed": (Unary(fail), b"abc", (Code.INTERNAL, 3, 0)),
    "trailers that can't be sent": (Unary(missay), b"abc", (Code.INTERNAL, 3, 0)),
    "too large": (Unary(echo), bytes(LIMIT + 1), (Code.RESOURCE_EXHAUSTED, 0, 0)),
    "both ways": (Bidirectional(receive), b"abc", (Code.OK, 3, 0)),
}


async def ask(running: Running, handler: object, message: bytes) -> dict[str, Any]:
    """Makes a call, and waits for its end; returns the trailers."""
    async with running.channel() as channel:
        if isinstance(handler, Unary):
            call: Any = unary_call(channel)(message)
        elif isinstance(handler, ServerStream):
            call = stream_call(channel)(message)
        else:
            call = channel.stream_stream(PATH)()
            await call.write(message)
            await call.done_writing()
        if not isinstance(handler, Unary):
            while await call.read() is not grpc.aio.EOF:
                pass
        await call.code()
        return dict(await call.trailing_metadata() or {})


@pytest.mark.parametrize("name", HANDLERS)
async def test_how_a_call_ends(name: str) -> None:
    """Each kind of call is followed to its one end, with its code and the bytes of its messages."""
    handler, message, end = HANDLERS[name]
    notes = Notes()
    async with serving({PATH: handler}, Limits(max_message=LIMIT), follower=notes) as running:
        trailers = await ask(running, handler, message)
        await until(lambda: bool(notes.ended))
    assert notes.ended == [end]
    assert len(notes.begun) == 1
    assert trailers == ({} if end[0] is Code.OK else {"x-told": end[0].name})


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_handler_is_entered_in_its_own_task(at_once: bool) -> None:
    """The task of a handler is entered; a call that is answered at once has none."""
    notes = Notes()
    handler = Unary(echo, (lambda message, _: message) if at_once else None)
    async with serving({PATH: handler}, follower=notes) as running:
        await ask(running, handler, b"abc")
    assert notes.entered == ([] if at_once else [True])


async def by_cancelling(call: Any, _: grpc.aio.Channel) -> None:
    call.cancel()


async def by_leaving(_: Any, channel: grpc.aio.Channel) -> None:
    await channel.close()


async def by_waiting(call: Any, _: grpc.aio.Channel) -> None:
    await call.code()


@pytest.mark.parametrize(
    ("leave", "seconds", "codes"),
    [
        (by_cancelling, None, {Code.CANCELLED}),
        (by_leaving, None, {Code.CANCELLED}),
        # Both sides watch the clock, and the client may be the first to end the call.
        (by_waiting, 0.3, {Code.DEADLINE_EXCEEDED, Code.CANCELLED}),
    ],
)
@pytest.mark.parametrize("handler", [Unary(wait), ServerStream(wait), Bidirectional(wait)])
async def test_a_client_that_gives_up(
    handler: Any, leave: Any, seconds: float | None, codes: set[Code]
) -> None:
    """A call whose client cancels, leaves or waits no longer has an end, too."""
    notes = Notes()
    async with serving({PATH: handler}, follower=notes) as running, running.channel() as channel:
        if isinstance(handler, Unary):
            call: Any = unary_call(channel)(b"", timeout=seconds)
        elif isinstance(handler, ServerStream):
            call = stream_call(channel)(b"", timeout=seconds)
        else:
            call = channel.stream_stream(PATH)(timeout=seconds)
        await until(lambda: bool(notes.entered))
        await leave(call, channel)
        await until(lambda: bool(notes.ended))
        del call
    assert len(notes.ended) == 1
    assert notes.ended[0][0] in codes


async def test_a_server_that_ends() -> None:
    """A call that outlives the drain's grace ends as UNAVAILABLE."""
    notes = Notes()
    handler = Unary(wait)
    async with serving({PATH: handler}, follower=notes) as running, running.channel() as channel:
        call = unary_call(channel)(b"")
        await until(lambda: bool(notes.entered))
        await running.server.drain(0)
        await call.code()
    assert [end[0] for end in notes.ended] == [Code.UNAVAILABLE]
