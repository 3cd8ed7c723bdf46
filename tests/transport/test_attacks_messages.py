"""Messages that are too long, compressed, cut or too many end their call with the right status."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from holdfast.transport.counts import Refusal
from holdfast.transport.limits import Limits
from tests.service.fleet import eventually

from .floods import CHAT, ECHO
from .local import is_served, serving
from .memory import at_most
from .raw_client import call, connected, data, headers, message, request_fields

KIB = 2**10
MIB = 2**20
OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED = "0", "3", "8", "12"
CALLS = 5_000
HINTED = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
"""What a call that isn't served now may end with: clients know to come again."""


@pytest.mark.parametrize("path", [ECHO, CHAT])
async def test_a_message_is_refused_by_its_first_bytes(path: str) -> None:
    """A message longer than the limit is refused as soon as its length is known."""
    limits = Limits()
    async with serving(limits) as local, connected(local.port) as client:
        await client.greet()
        with at_most(MIB):
            lie = message(b"", size=limits.max_message + 1)
            await client.send(headers(1, request_fields(path)), data(1, lie))
            status, fields = await client.status(1)
        assert status == RESOURCE_EXHAUSTED
        assert str(limits.max_message) in fields["grpc-message"]
        assert local.server.counts.refused == {Refusal.MESSAGES: 1}
        await client.send(call(3, path, b"shorter"))
        assert await client.answer(3) == message(b"shorter")


@pytest.mark.parametrize("path", [ECHO, CHAT])
async def test_a_message_of_the_longest_length(path: str) -> None:
    """A message of just the limit arrives and comes back."""
    limits = Limits(max_message=MIB)
    async with serving(limits) as local, local.channel() as channel:
        body = bytes(range(256)) * (MIB // 256)
        if path == ECHO:
            assert await channel.unary_unary(path, bytes, bytes)(body, timeout=30) == body
        else:
            stream = channel.stream_stream(path, bytes, bytes)(iter([body]), timeout=30)
            assert [reply async for reply in stream] == [body]


async def test_many_long_requests_are_only_announced() -> None:
    """Requests that announce much reserve memory up to a bound; the rest is told to try again."""
    limits = Limits(max_waiting_requests=4 * MIB)
    async with serving(limits) as local, connected(local.port) as client:
        await client.greet()
        streams = range(1, 100, 2)
        with at_most(6 * MIB):
            for stream in streams:
                lie = message(b"", size=MIB)
                await client.send(headers(stream, request_fields(ECHO)), data(stream, lie))
            refused = [await client.status(stream) for stream in streams[4:]]
        assert {status for status, _ in refused} == {RESOURCE_EXHAUSTED}
        assert local.server.counts.refused == {Refusal.REQUESTS: len(refused)}
        await is_served(local)


async def test_first_windows_of_requests_are_counted() -> None:
    """Requests of which a few bytes are here count, too, until they are complete or refused."""
    limits = Limits(max_waiting_requests=10 * Limits().first_window)
    async with serving(limits) as local, connected(local.port) as client:
        await client.greet()
        streams = range(1, 31, 2)
        for stream in streams:
            begun = message(b"the beginning", size=1000)
            await client.send(headers(stream, request_fields(ECHO)), data(stream, begun))
        refused = [await client.status(stream) for stream in streams[10:]]
        assert {status for status, _ in refused} == {RESOURCE_EXHAUSTED}
        await client.send(data(1, bytes(1000 - 13), end=True))
        assert (await client.answer(1)).startswith(message(b"the beginning", size=1000))
        await client.send(call(31, ECHO, b"whole"))
        assert await client.answer(31) == message(b"whole")
        await client.send(headers(33, request_fields(ECHO)), data(33, begun))
        await client.send(data(33, bytes(1000 - 13), end=True))
        assert await client.answer(33)


@pytest.mark.parametrize("path", [ECHO, CHAT])
@pytest.mark.parametrize(
    ("flag", "encoding", "status"),
    [
        (1, "gzip", UNIMPLEMENTED),
        (1, "identity", INVALID_ARGUMENT),
        (2, "gzip", INVALID_ARGUMENT),
        (255, "identity", INVALID_ARGUMENT),
    ],
)
async def test_a_compressed_message(path: str, flag: int, encoding: str, status: str) -> None:
    """A compressed message is refused with what is accepted; one that is only marked is wrong."""
    async with serving() as local, connected(local.port) as client:
        await client.greet()
        fields = request_fields(path, ("grpc-encoding", encoding))
        await client.send(headers(1, fields), data(1, message(b"body", flag=flag), end=True))
        found, said = await client.status(1)
        assert found == status
        if status == UNIMPLEMENTED:
            assert said["grpc-accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", UNIMPLEMENTED),
        (message(b"one") + message(b"two"), UNIMPLEMENTED),
        (message(b"cut", size=4), INVALID_ARGUMENT),
        (message(b"")[:3], INVALID_ARGUMENT),
    ],
    ids=["none", "two", "cut", "cut prefix"],
)
async def test_a_unary_request_is_one_message(body: bytes, status: str) -> None:
    """A unary call whose request isn't exactly one whole message ends with what gRPC says."""
    async with serving() as local, connected(local.port) as client:
        await client.greet()
        await client.send(headers(1, request_fields(ECHO)), data(1, body, end=True))
        found, _ = await client.status(1)
        assert found == status
        assert local.failures == []


async def test_a_stream_that_stops_within_a_message() -> None:
    """A stream of messages whose last one is cut is answered, and ends as its client's fault."""
    async with serving() as local, connected(local.port) as client:
        await client.greet()
        body = message(b"whole") + message(b"cut", size=4)
        await client.send(headers(1, request_fields(CHAT)), data(1, body, end=True))
        assert await client.expect_message(1) == message(b"whole")
        found, _ = await client.status(1)
        assert found == INVALID_ARGUMENT


@pytest.mark.parametrize("connections", [1, 20])
async def test_honest_calls_at_one_moment(connections: int) -> None:
    """5,000 calls at one moment are each served, or refused with a hint; none is CANCELLED."""
    async with serving() as local:
        channels = [local.channel() for _ in range(connections)]

        async def one(number: int) -> grpc.StatusCode:
            channel = channels[number % connections]
            body = b"%d" % number
            try:
                assert await channel.unary_unary(ECHO, bytes, bytes)(body, timeout=60) == body
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        codes = await asyncio.gather(*map(one, range(CALLS)))
        assert set(codes) <= {grpc.StatusCode.OK, *HINTED}
        assert codes.count(grpc.StatusCode.OK) > 0
        await asyncio.gather(*(channel.close() for channel in channels))
        await eventually(lambda: local.server.counts.streams == 0)
