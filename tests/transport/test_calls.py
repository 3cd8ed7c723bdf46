"""RPCs of all kinds, through a client of grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import pytest

from holdfast.tasks import begin
from holdfast.transport import (
    Bidirectional,
    Call,
    Code,
    Handler,
    Limits,
    ServerStream,
    Status,
    Unary,
)
from tests.transport.serving import (
    PATH,
    Running,
    both_ways,
    content,
    serving,
    stream_call,
    unary_call,
)

MIB = 2**20
BEYOND = 12 * MIB
"""Bytes that a client of grpcio's doesn't accept before it reads: its first window has 4 MiB."""


async def echo(message: bytes, _: Call) -> bytes:
    """Answers with the request."""
    return message


async def echo_stream(call: Call) -> None:
    """Answers each message with itself, as two pieces."""
    while await call.announced() is not None:
        message = await call.receive()
        assert message is not None
        await call.send(message[:7], memoryview(message)[7:])


def at_once(message: bytes, _: Call) -> bytes:
    """Answers with the request, without a task."""
    return message


async def never(*_: object) -> bytes:
    """Isn't called."""
    raise AssertionError("the handler was called though it had been answered at once")


def one(handler: Handler) -> dict[str, Handler]:
    """The handlers of a server that has one RPC."""
    return {PATH: handler}


async def unary(running: Running, message: bytes) -> bytes:
    async with running.channel() as channel:
        call = unary_call(channel)
        answer: bytes = await call(message)
        return answer


@pytest.mark.parametrize("handler", [Unary(echo), Unary(never, at_once)], ids=["task", "at once"])
@pytest.mark.parametrize("size", [0, 1, 100, 16_000, 16_379, 16_380, 70_000, 5 * MIB])
async def test_unary(handler: Unary, size: int) -> None:
    """A unary call brings a message of any size there and back."""
    message = content(size)
    async with serving(one(handler)) as running:
        assert await unary(running, message) == message


@pytest.mark.parametrize("hot", [True, False])
@pytest.mark.parametrize("size", [0, 20_000, 200_000, 2 * MIB])
async def test_server_stream(hot: bool, size: int) -> None:
    """All messages of a stream arrive in their order, whether or not a task sends them."""
    expected = [content(size + n) for n in range(3)]

    async def handle(_: bytes, call: Call) -> None:
        for message in expected:
            await call.send(message)

    def whole(*_: object) -> list[list[bytes]] | None:
        return [[message[:5], message[5:]] for message in expected] if hot else None

    async with serving(one(ServerStream(handle, whole))) as running, running.channel() as channel:
        assert [message async for message in stream_call(channel)(b"")] == expected


async def test_bidirectional_in_lock_step() -> None:
    """Messages of any size go both ways, one answer for each."""
    async with (
        serving(one(Bidirectional(echo_stream))) as running,
        running.channel() as channel,
    ):
        call = both_ways(channel)()
        for size in (0, 1, 240, 65_530, 65_536, 16 * MIB, 3):
            message = content(size)
            await call.write(message)
            assert await call.read() == message
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_bidirectional_without_waiting() -> None:
    """A client that doesn't wait for answers gets all of them."""
    messages = [content(n * 97) for n in range(300)]
    async with (
        serving(one(Bidirectional(echo_stream))) as running,
        running.channel() as channel,
    ):
        answers = both_ways(channel)(iter(messages))
        assert [answer async for answer in answers] == messages


async def test_messages_are_answered_without_the_handler() -> None:
    """`on_message` answers what arrives while the handler waits, and leaves it what it declines."""
    seen: list[bytes] = []

    def answer(message: bytes | bytearray) -> list[bytes] | None:
        return None if message.startswith(b"!") else [b"at once: ", bytes(message)]

    async def handle(call: Call) -> None:
        call.on_message = answer
        while await call.announced() is not None:
            message = await call.receive()
            assert message is not None
            seen.append(bytes(message))
            await call.send(b"handler: ", message)

    async with serving(one(Bidirectional(handle))) as running, running.channel() as channel:
        call = both_ways(channel)()
        answers = []
        for message in (b"!1", b"2", b"3", b"!4", b"5"):
            await call.write(message)
            answers.append(await call.read())
        assert answers[0] == b"handler: !1"
        assert answers[1:] == [b"at once: 2", b"at once: 3", b"handler: !4", b"at once: 5"]
        assert seen == [b"!1", b"!4"]


async def test_an_announced_message_goes_to_the_handler() -> None:
    """A message whose length the handler has been told is never answered by `on_message`."""
    announced = asyncio.Event()

    async def handle(call: Call) -> None:
        call.on_message = lambda _: [b"at once"]
        assert await call.announced() == MIB
        announced.set()
        message = await call.receive()
        assert message is not None
        await call.send(b"handler")

    async with serving(one(Bidirectional(handle))) as running, running.channel() as channel:
        call = both_ways(channel)()
        await call.write(bytes(MIB))
        await announced.wait()
        assert await call.read() == b"handler"


async def test_what_on_message_raises() -> None:
    """What `on_message` raises is raised where the handler waits, and ends the call as ever."""

    def refuse(message: bytes | bytearray) -> None:
        raise Status(Code.DATA_LOSS, bytes(message).decode())

    async def handle(call: Call) -> None:
        call.on_message = refuse
        await call.announced()

    async with serving(one(Bidirectional(handle))) as running, running.channel() as channel:
        call = both_ways(channel)()
        await call.write(b"torn")
        error = await status_of(call.read())
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "torn")


async def test_a_part_of_a_message() -> None:
    """Of a message that is let come in part, no more comes, and the handler needn't wait for it."""
    came: list[int] = []

    async def handle(call: Call) -> None:
        assert await call.announced() == MIB
        await call.open(MIB // 4)
        came.append(call.arrived)
        assert await call.receive() == bytes(MIB)

    async with serving(one(Bidirectional(handle))) as running, running.channel() as channel:
        call = both_ways(channel)()
        await call.write(bytes(MIB))
        await call.done_writing()
        assert [answer async for answer in call] == []
    assert MIB // 4 <= came[0] < MIB


async def test_a_message_that_comes_while_one_is_sent() -> None:
    """While a message is on its way, `on_message` isn't asked: the handler gets what comes."""
    busy, got = asyncio.Event(), asyncio.Event()

    async def handle(call: Call) -> None:
        call.on_message = lambda _: [b"at once"]
        sending = begin(call.send(bytes(BEYOND)))
        await asyncio.sleep(0)
        busy.set()
        assert await call.receive() == b"a question"
        got.set()
        await sending
        await call.send(b"handler")

    options = [("grpc.max_receive_message_length", BEYOND)]
    async with (
        serving(one(Bidirectional(handle))) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.port}", options) as channel,
    ):
        call = both_ways(channel)()
        await busy.wait()
        await call.write(b"a question")
        await got.wait()
        assert await call.read() == bytes(BEYOND)
        assert await call.read() == b"handler"


async def status_of(work: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await work
    return caught.value


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
@pytest.mark.parametrize("now", [True, False])
async def test_a_status_reaches_the_client(code: Code, now: bool) -> None:
    """A status arrives with its code, its message in any language, and its trailers."""
    text = "100 % näher\n\u2603"

    def refuse(*_: object) -> bytes:
        raise Status(code, text, [("retry-after", "3"), ("detail-bin", b"\x00\xff")])

    async def refuse_later(*_: object) -> bytes:
        return refuse()

    handler = Unary(refuse_later, refuse if now else None)
    async with serving(one(handler)) as running:
        error = await status_of(unary(running, b""))
    assert error.code().value[0] == code
    assert error.details() == text
    assert dict(error.trailing_metadata()) == {"retry-after": "3", "detail-bin": b"\x00\xff"}


@pytest.mark.parametrize("now", [True, False])
async def test_a_failing_handler_tells_the_log_not_the_client(now: bool) -> None:
    """What a handler raises by mistake is reported, and the client gets INTERNAL without it."""

    def fail(*_: object) -> bytes:
        raise ZeroDivisionError("secret")

    async def fail_later(*_: object) -> bytes:
        return fail()

    async with serving(one(Unary(fail_later, fail if now else None))) as running:
        error = await status_of(unary(running, b""))
        assert [type(one) for one in running.unexpected] == [ZeroDivisionError]
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error.details())


async def test_an_unknown_rpc_is_unimplemented() -> None:
    """A path that has no handler ends with UNIMPLEMENTED."""
    async with serving({}) as running:
        error = await status_of(unary(running, b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_metadata_goes_both_ways() -> None:
    """A handler sees the client's metadata, and the client sees the trailers that it sets."""
    seen: list[tuple[str, str | bytes]] = []

    async def handle(message: bytes, call: Call) -> bytes:
        seen.extend(call.metadata)
        call.set_trailers([("x-seen", "yes"), ("x-bin", b"\x01")])
        return message

    async with serving(one(Unary(handle))) as running, running.channel() as channel:
        call = unary_call(channel)(b"", metadata=[("x-a", "b"), ("x-a", "c"), ("y-bin", b"\0")])
        await call
        assert dict(await call.trailing_metadata()) == {"x-seen": "yes", "x-bin": b"\x01"}
    assert [entry for entry in seen if entry[0] != "user-agent"] == [
        ("x-a", "b"),
        ("x-a", "c"),
        ("y-bin", b"\0"),
    ]


class Stuck:
    """A handler that waits until it is cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cleaned = asyncio.Event()
        self.remaining: float | None = None

    async def wait(self, call: Call) -> None:
        self.remaining = call.time_remaining()
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.cleaned.set()

    async def unary(self, _: bytes, call: Call) -> bytes:
        await self.wait(call)
        return b""

    async def stream(self, _: bytes, call: Call) -> None:
        await call.send(b"first")
        await self.wait(call)


KINDS: dict[str, Callable[[Stuck], Handler]] = {
    "unary": lambda stuck: Unary(stuck.unary),
    "server stream": lambda stuck: ServerStream(stuck.stream),
    "bidirectional": lambda stuck: Bidirectional(stuck.wait),
}


def call_of(kind: str, channel: grpc.aio.Channel, timeout: float | None) -> grpc.aio.Call:
    if kind == "unary":
        return unary_call(channel)(b"", timeout=timeout)
    if kind == "server stream":
        return stream_call(channel)(b"", timeout=timeout)
    return both_ways(channel)(timeout=timeout)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancelled_call_cancels_its_handler(kind: str) -> None:
    """If the client cancels a call, its handler is cancelled, and may await while it cleans up."""
    stuck = Stuck()
    async with serving(one(KINDS[kind](stuck))) as running, running.channel() as channel:
        call = call_of(kind, channel, None)
        await stuck.begun.wait()
        call.cancel()
        await stuck.cleaned.wait()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_lost_connection_cancels_its_handlers(kind: str) -> None:
    """If the client's connection is gone, its handlers are cancelled."""
    stuck = Stuck()
    async with serving(one(KINDS[kind](stuck))) as running:
        async with running.channel() as channel:
            call = call_of(kind, channel, None)
            await stuck.begun.wait()
            del call
        await stuck.cleaned.wait()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_deadline_ends_the_call_on_both_sides(kind: str) -> None:
    """A client's deadline is known to the handler, which is cancelled when it has passed."""
    stuck = Stuck()
    async with serving(one(KINDS[kind](stuck))) as running, running.channel() as channel:
        call = call_of(kind, channel, 0.3)
        await stuck.cleaned.wait()
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert stuck.remaining is not None
    assert 0 <= stuck.remaining <= 0.5


async def test_no_deadline_is_none() -> None:
    """A call without a deadline has no time that remains."""
    seen: list[float | None] = []

    def look(message: bytes, call: Call) -> bytes:
        seen.append(call.time_remaining())
        return message

    async with serving(one(Unary(never, look))) as running:
        await unary(running, b"")
    assert seen == [None]


async def test_a_message_beyond_the_limit_is_refused() -> None:
    """A request that is too long ends with RESOURCE_EXHAUSTED, and the connection serves others."""
    async with serving(one(Unary(echo)), Limits(max_message=1000)) as running:
        async with running.channel() as channel:
            call = unary_call(channel)
            assert (await status_of(call(bytes(1001)))).code() is (
                grpc.StatusCode.RESOURCE_EXHAUSTED
            )
            assert await call(bytes(1000)) == bytes(1000)
        assert running.server.counts.accepted == 1


async def test_compressed_messages_are_refused() -> None:
    """A compressed message ends with UNIMPLEMENTED, which names the encoding."""
    async with serving(one(Unary(echo))) as running, running.channel() as channel:
        call = unary_call(channel)
        error = await status_of(call(bytes(1000), compression=grpc.Compression.Gzip))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "gzip" in str(error.details())


async def test_many_calls_at_one_moment() -> None:
    """2,000 calls at one moment on one connection are all served."""
    async with serving(one(Unary(echo))) as running, running.channel() as channel:
        call = unary_call(channel)
        answers = await asyncio.gather(*(call(b"%d" % n) for n in range(2000)))
        assert answers == [b"%d" % n for n in range(2000)]
