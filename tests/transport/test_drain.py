"""A server that leaves, and connections that are told to end."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc

from holdfast.tasks import begin
from holdfast.transport import Bidirectional, Call, Limits, Unary
from tests.transport.serving import PATH, Running, both_ways, serving, unary_call, until


async def slow(message: bytes, _: Call) -> bytes:
    """Answers after others had their turn."""
    for _turn in range(5):
        await asyncio.sleep(0)
    return message


async def echo_stream(call: Call) -> None:
    """Answers each message with itself."""
    while (message := await call.receive()) is not None:
        await call.send(message)


async def test_calls_that_were_accepted_end_well() -> None:
    """A stream that is open when a drain begins goes on until it ends by itself."""
    async with serving({PATH: Bidirectional(echo_stream)}) as running, running.channel() as channel:
        call = both_ways(channel)()
        await call.write(b"1")
        assert await call.read() == b"1"
        drain = begin(running.server.drain(grace=30))
        for _ in range(100):
            await call.write(b"2")
            assert await call.read() == b"2"
        assert not drain.done()
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        await drain


async def test_what_is_left_after_the_grace_is_unavailable() -> None:
    """A stream that doesn't end within the grace ends with UNAVAILABLE, its handler cancelled."""
    ended = asyncio.Event()

    async def handle(call: Call) -> None:
        try:
            await echo_stream(call)
        finally:
            ended.set()

    async with serving({PATH: Bidirectional(handle)}) as running, running.channel() as channel:
        call = both_ways(channel)()
        await call.write(b"1")
        assert await call.read() == b"1"
        await running.server.drain(grace=0.1)
        assert ended.is_set()
        assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def codes_under_drains(running: Running, others: list[Running]) -> Counter[str]:
    """The codes of calls that go on while a server drains, and another one serves its clients."""
    address = ",".join(one.address for one in [running, *others])
    codes: Counter[str] = Counter()
    drained = asyncio.Event()
    options = (
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.lb_policy_name", "round_robin"),
    )

    async def caller(channel: grpc.aio.Channel) -> None:
        call = unary_call(channel)
        while not drained.is_set() or codes.total() < 500:
            try:
                await call(b"x", wait_for_ready=True)
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1

    async with grpc.aio.insecure_channel(f"ipv4:{address}", options=options) as channel:
        callers = [begin(caller(channel)) for _ in range(64)]
        await until(lambda: codes.total() >= 1000)
        await running.server.drain(grace=10)
        drained.set()
        await asyncio.gather(*callers)
    return codes


async def test_clients_do_not_notice_a_drain() -> None:
    """With another server to go to, no call fails while one drains, though no caller retries."""
    # gRPC itself must be allowed to: it fails calls that it hasn't begun when GOAWAY arrives.
    handlers = {PATH: Unary(slow)}
    async with serving(handlers) as leaving, serving(handlers) as staying:
        codes = await codes_under_drains(leaving, [staying])
    assert codes.keys() == {"OK"}


async def test_an_old_connection_is_replaced() -> None:
    """A connection that is too old is drained, and its client opens another, unnoticed."""
    limits = Limits(age=0.2, round_trip=0.1)
    async with serving({PATH: Unary(slow)}, limits) as running, running.channel() as channel:
        call = unary_call(channel)
        while running.server.counts.accepted < 3:
            assert await call(b"x", wait_for_ready=True) == b"x"
        assert running.server.counts.goaways >= 2


async def test_an_idle_connection_is_closed() -> None:
    """A connection without streams for too long is closed."""
    limits = Limits(idle=0.2, round_trip=0.1)
    async with serving({PATH: Unary(slow)}, limits) as running, running.channel() as channel:
        assert await unary_call(channel)(b"x") == b"x"
        await until(lambda: not running.server.counts.connections)
        assert running.server.counts.goaways == 1


async def test_an_open_stream_keeps_its_connection() -> None:
    """A connection with an open stream isn't idle, however silent it is."""
    limits = Limits(idle=0.05, round_trip=0.05, keepalive=0.1)
    handlers = {PATH: Bidirectional(echo_stream)}
    async with serving(handlers, limits) as running, running.channel() as channel:
        call = both_ways(channel)()
        await call.write(b"1")
        assert await call.read() == b"1"
        counts = running.server.counts
        answered = counts.bytes_in + 3 * 17  # three answers to PINGs
        await until(lambda: counts.bytes_in >= answered)
        await call.write(b"2")
        assert await call.read() == b"2"
