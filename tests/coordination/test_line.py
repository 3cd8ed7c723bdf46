"""A line: many callers, one connection, and each gets its own reply or an error."""

from __future__ import annotations

import asyncio
import enum
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis import exceptions as redis_errors
from redis.asyncio.connection import Connection

from holdfast.coordination.connection import BOUNDS, close_client, open_client
from holdfast.coordination.line import Bounds, Line, LineFull
from holdfast.coordination.wire import packed
from tests.servers.redis import RedisServer
from tests.servers.redis_proxy import Words, read_request
from tests.servers.redis_topologies import admin, port_of
from tests.service.fleet import eventually

MANY = 300


@dataclass
class Stand:
    """A server that answers GET with the key, and does to a connection what a test says.

    Attributes:
        port: on which it listens.
        seen: the words of all requests but those of the handshake, by connection.
        act: decides what to do with a request: None answers it, "cut" closes the connection,
            "hold" answers neither this one nor those behind it.
    """

    port: int = 0
    seen: list[list[Words]] = field(default_factory=list)
    act: Callable[[Words], str | None] = lambda _: None

    @property
    def keys(self) -> list[list[bytes]]:
        """The key of each request, by connection."""
        return [[words[1] for words in connection] for connection in self.seen]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves a connection until one of the ends closes it."""
        requests: list[Words] = []
        self.seen.append(requests)
        try:
            while True:
                _, words = await read_request(reader)
                if words[0] == b"CLIENT":
                    writer.write(b"+OK\r\n")
                    continue
                requests.append(words)
                todo = self.act(words)
                if todo == "cut":
                    break
                if todo == "hold":
                    await reader.read()
                    break
                writer.write(b"$%d\r\n%b\r\n" % (len(words[1]), words[1]))
        except asyncio.IncompleteReadError:
            pass
        writer.close()


@asynccontextmanager
async def standing() -> AsyncIterator[Stand]:
    """A stand that listens."""
    stand = Stand()
    server = await asyncio.start_server(stand.serve, "127.0.0.1", 0)
    stand.port = server.sockets[0].getsockname()[1]
    try:
        yield stand
    finally:
        server.close()


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    """A stand of the test's own."""
    async with standing() as made:
        yield made


@asynccontextmanager
async def line_to(port: int, bounds: Bounds = BOUNDS) -> AsyncIterator[Line]:
    """A line to a server on a loopback port."""
    line = Line(lambda: Connection(port=port, protocol=2, socket_timeout=5.0), bounds)
    try:
        yield line
    finally:
        await line.close()


async def get(line: Line, key: str) -> Any:
    """Asks for a key."""
    return await line.ask(("GET", key))


async def outcomes(line: Line, keys: list[str]) -> list[Any]:
    """What each of concurrent requests for keys comes to."""
    return await asyncio.gather(*(get(line, key) for key in keys), return_exceptions=True)


async def test_each_gets_its_own_reply(stand: Stand) -> None:
    """Many concurrent callers share one connection, and each gets the reply to its request."""
    keys = [f"key {number}" for number in range(MANY)]
    async with line_to(stand.port) as line:
        for _ in range(3):
            assert await outcomes(line, keys) == [key.encode() for key in keys]
    assert len(stand.seen) == 1


async def test_what_comes_together_is_written_together() -> None:
    """The requests of one turn of the loop arrive in one piece."""
    arrived: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while raw := await reader.read(2**20):
            arrived.append(raw)
            writer.write(b"+OK\r\n" * raw.count(b"*2\r\n"))
            writer.write(b"+OK\r\n" * raw.count(b"SETINFO"))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with line_to(server.sockets[0].getsockname()[1]) as line:
        await get(line, "first")
        arrived.clear()
        await outcomes(line, [f"key {number}" for number in range(MANY)])
    server.close()
    assert len(arrived) == 1
    assert arrived[0].count(b"GET") == MANY


async def test_a_caller_that_gives_up(own_redis: RedisServer) -> None:
    """The reply to a request whose caller was cancelled goes to nobody else."""
    port = port_of(own_redis.url)
    server = admin(port)
    for number in range(MANY):
        server.set(f"key {number}", number)
    async with line_to(port) as line:
        await get(line, "key 0")
        own_redis.signal(signal.SIGSTOP)
        callers = [asyncio.create_task(get(line, f"key {n}")) for n in range(MANY)]
        for _ in range(3):  # the callers ask, then all is sent
            await asyncio.sleep(0)
        for caller in callers[::2]:
            caller.cancel()
        late = asyncio.create_task(get(line, "key 7"))
        own_redis.signal(signal.SIGCONT)
        found = await asyncio.gather(*callers[1::2], late)
        assert [int(value) for value in found] == [*range(1, MANY, 2), 7]
        assert len(line) == 0


async def test_given_up_before_it_was_sent(stand: Stand) -> None:
    """A request whose caller is cancelled in time is never sent."""
    async with line_to(stand.port) as line:
        one, two = (asyncio.create_task(get(line, key)) for key in ("one", "two"))
        await asyncio.sleep(0)
        one.cancel()
        assert await two == b"two"
    assert stand.keys == [[b"two"]]


async def test_a_lost_connection(stand: Stand) -> None:
    """The oldest request fails; those behind it are sent again, in order, and answered."""
    stand.act = lambda words: "cut" if words[1] == b"bad" else None
    async with line_to(stand.port) as line:
        await get(line, "first")
        found = await outcomes(line, ["a", "bad", "b", "c"])
    assert [found[0], *found[2:]] == [b"a", b"b", b"c"]
    assert isinstance(found[1], redis_errors.ConnectionError)
    assert stand.keys == [[b"first", b"a", b"bad"], [b"b", b"c"]]


async def test_bad_ones_in_a_row(stand: Stand) -> None:
    """A request is sent three times at most if the ones before it cost it its connections."""
    stand.act = lambda words: None if words[1] == b"good" else "cut"
    async with line_to(stand.port) as line:
        await get(line, "good")
        found = await outcomes(line, ["1", "2", "3", "good"])
        assert [type(one) for one in found] == [redis_errors.ConnectionError] * 4
        assert await get(line, "good") == b"good"
    assert stand.keys == [[b"good", b"1"], [b"2"], [b"3"], [b"good"]]


async def test_silence_ends_the_connection(stand: Stand) -> None:
    """If a reply doesn't come, its request fails, and the others are answered on the next one."""
    stand.act = lambda words: "hold" if words[1] == b"never" else None
    async with line_to(stand.port, Bounds(silence=0.05)) as line:
        found = await outcomes(line, ["a", "never", "b"])
    assert [found[0], found[2]] == [b"a", b"b"]
    assert isinstance(found[1], redis_errors.TimeoutError)
    assert str(found[1]).startswith("Redis hasn't answered within 0.")


async def _read_within(reader: asyncio.StreamReader, wait: float) -> bool:
    """Whether a connection has ended, or something came, within so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(wait):
            await reader.read(1)
            return True
    return False


async def test_a_reply_that_never_ends() -> None:
    """A server that sends a reply byte by byte doesn't hold the line for ever."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (raw := await reader.read(2**20)) and b"GET" not in raw:
            writer.write(b"+OK\r\n" * raw.count(b"CLIENT"))
        writer.write(b"$1000\r\n")
        with suppress(OSError):
            while not await _read_within(reader, 0.01):
                writer.write(b".")
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    bounds = Bounds(silence=5.0, longest=0.2, sends=1)
    async with line_to(server.sockets[0].getsockname()[1], bounds) as line:
        with pytest.raises(redis_errors.TimeoutError, match="hasn't answered within 0"):
            await get(line, "key")
    server.close()


async def test_a_slow_stream_of_replies_is_no_silence() -> None:
    """While replies arrive, a request may wait longer than the silence that ends a connection."""
    connections = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError):
            while True:
                _, words = await read_request(reader)
                await asyncio.sleep(0.0 if words[0] == b"CLIENT" else 0.04)
                writer.write(b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    bounds = Bounds(silence=0.2, longest=30.0, sends=1)
    async with line_to(server.sockets[0].getsockname()[1], bounds) as line:
        found = await outcomes(line, [str(number) for number in range(12)])
    server.close()
    assert found == [b"OK"] * 12
    assert connections == 1


@pytest.mark.parametrize("said", [b"?what\r\n", b"%1\r\n*0\r\n+a\r\n"], ids=["words", "a map"])
async def test_it_isnt_redis(said: bytes) -> None:
    """What isn't in Redis's protocol ends the connection, and is what the oldest request hears."""

    async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while raw := await reader.read(2**20):
            writer.write(b"+OK\r\n" * raw.count(b"CLIENT") or said)
        writer.close()

    server = await asyncio.start_server(garble, "127.0.0.1", 0)
    async with line_to(server.sockets[0].getsockname()[1], Bounds(sends=1)) as line:
        found = await outcomes(line, ["a", "b"])
    server.close()
    assert [type(one) for one in found] == [redis_errors.InvalidResponse] * 2


async def test_a_reply_too_many() -> None:
    """A reply that nobody asked for ends the connection: it mustn't be taken for another's."""

    async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while raw := await reader.read(2**20):
            writer.write(b"+OK\r\n" * raw.count(b"CLIENT") or b"+one\r\n+more\r\n")
        writer.close()

    server = await asyncio.start_server(chatter, "127.0.0.1", 0)
    async with line_to(server.sockets[0].getsockname()[1]) as line:
        assert await get(line, "key") == b"one"
        assert not line.connected
        assert await get(line, "key") == b"one"
    server.close()


# -- bounds


async def test_too_many_requests(stand: Stand) -> None:
    """Beyond its bound a line refuses, and the requests in it are answered all the same."""
    async with line_to(stand.port, Bounds(requests=10)) as line:
        found = await outcomes(line, [str(number) for number in range(12)])
    assert found[:10] == [str(number).encode() for number in range(10)]
    assert [type(one) for one in found[10:]] == [LineFull] * 2
    assert str(found[10]) == "10 requests wait for a reply, and no more than that may wait"


async def test_too_many_bytes(stand: Stand) -> None:
    """Bytes have a bound, too; a request that is larger than it is sent only alone."""
    large = "x" * 3000
    async with line_to(stand.port, Bounds(size=2000)) as line:
        assert await get(line, large) == large.encode()
        found = await outcomes(line, ["a", large, "b"])
        assert await get(line, large) == large.encode()
    assert (found[0], found[2]) == (b"a", b"b")
    assert isinstance(found[1], LineFull)
    assert "no more than 2000 bytes may wait" in str(found[1])


async def test_the_socket_is_full() -> None:
    """What the socket doesn't take waits; if the connection is lost, it is sent on the next one."""
    first = asyncio.Event()
    answered: list[int] = []

    async def deaf_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = 0
        while hello < 2:
            hello += (raw := await reader.read(2**10)).count(b"SETINFO")
            writer.write(b"+OK\r\n" * raw.count(b"SETINFO"))
        if not first.is_set():
            await first.wait()
            writer.transport.abort()
            return
        while True:
            _, words = await read_request(reader)
            answered.append(len(words[1]))
            writer.write(b":%d\r\n" % len(words[1]))

    server = await asyncio.start_server(deaf_once, "127.0.0.1", 0)
    sizes = [2**24 + number for number in range(4)]
    async with line_to(server.sockets[0].getsockname()[1], Bounds(size=2**30, silence=30)) as line:
        callers = [asyncio.create_task(get(line, "x" * sizes[0]))]
        await eventually(lambda: line.connected)
        for size in sizes[1:]:
            callers.append(asyncio.create_task(get(line, "x" * size)))
            await asyncio.sleep(0)
        first.set()
        found = await asyncio.gather(*callers, return_exceptions=True)
    server.close()
    assert isinstance(found[0], redis_errors.ConnectionError)
    assert found[1:] == answered == sizes[1:]


# -- the end


async def test_the_end(stand: Stand) -> None:
    """Whoever waits when a line is closed gets an error, and so does whoever asks afterwards."""
    stand.act = lambda _: "hold"
    async with line_to(stand.port) as line:
        callers = [asyncio.create_task(get(line, "key")) for _ in range(3)]
        await eventually(lambda: stand.seen and stand.seen[0])
        callers.append(asyncio.create_task(get(line, "not sent")))
        await asyncio.sleep(0)
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(one) for one in found] == ["the client was closed"] * 4
    with pytest.raises(redis_errors.ConnectionError, match="the client was closed"):
        await get(line, "key")


class Size(int):
    """A number of a type of its own, as settings have them."""


class Kind(enum.StrEnum):
    """A text of a type of its own."""

    ONE = "one"


def test_subclasses_are_packed() -> None:
    """Numbers and texts of derived types are sent as what they are."""
    assert packed("SET", Size(8), Kind.ONE, b"\0", 1.5) == packed("SET", "8", "one", b"\0", "1.5")


def test_what_cant_be_packed() -> None:
    """Anything else is refused, before it could disturb the order of replies."""
    for word in (True, None, ["a"]):
        refused: Any = word
        with pytest.raises(TypeError):
            packed("SET", refused)


# -- a client's lines


async def test_long_commands_hold_nobody_up(own_redis: RedisServer) -> None:
    """A command that takes long has a connection of its own, so that others are answered first."""
    client: Any = open_client(own_redis.url)
    await client.get("key")
    waiting = asyncio.create_task(client.wait(1, 500))
    listed = asyncio.create_task(client.zrange("key", 0, -1))
    for _ in range(20):
        assert await client.get("key") is None
    assert not waiting.done()
    assert await waiting == 0
    assert await listed == []
    await close_client(client)


async def test_the_name_of_a_connection(own_redis: RedisServer) -> None:
    """CLIENT LIST shows whose connections they are."""
    client = open_client(own_redis.url, name="holdfast/here/1")
    await client.get("key")
    names = [one["name"] for one in admin(port_of(own_redis.url)).client_list()]
    assert "holdfast/here/1" in names
    await close_client(client)
