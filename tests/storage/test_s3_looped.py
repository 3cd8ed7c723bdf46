"""Connections to S3 on the loop: one request at a time, and never another one's reply."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import NoReturn, TypeVar

import pytest

from holdfast import deadlines, switching
from holdfast.errors import OutcomeUnknown, Unavailable
from holdfast.storage.port import IfAbsent
from holdfast.storage.s3 import S3Settings, S3Store
from holdfast.storage.s3_looped import SMALL
from tests.servers.process import wait_until
from tests.storage.scripted import Reply, scripted

Result = TypeVar("Result")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PATIENT = 30.0


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def begin(call: Callable[[], Result], threads: ThreadPoolExecutor) -> asyncio.Future[Result]:
    """An operation of the test."""
    return switching.begin(call, threads, copy_context())


def store_at(
    port: int, silence: float = PATIENT, connections: int = 4, scheme: str = "http"
) -> S3Store:
    """A store that asks once."""
    return S3Store(
        S3Settings(
            "bucket",
            f"{scheme}://127.0.0.1:{port}",
            path_style=True,
            attempts=1,
            read_timeout=silence,
            longest_pause=0.01,
            max_connections=connections,
        )
    )


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    """A server on this loop; yields its port."""
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


async def request(reader: asyncio.StreamReader) -> bytes:
    """Reads a request with a body of one byte; returns the key that it is about."""
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"PUT"):
        await reader.readexactly(1)
    return head.split()[1].rpartition(b"/")[2]


def written(key: bytes) -> bytes:
    """The reply to a write, which has the key as its ETag."""
    return b'HTTP/1.1 200 OK\r\nETag: "%s"\r\nContent-Length: 0\r\n\r\n' % key


async def test_requests_at_once(threads: ThreadPoolExecutor) -> None:
    """Operations have a connection each while they wait, and get the replies to their requests."""
    count, everybody, used = 8, asyncio.Event(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal used
        used += 1
        if used == count:
            everybody.set()
        while True:
            key = await request(reader)
            await everybody.wait()
            writer.write(written(key))

    async with server(serve) as port:
        store = store_at(port, connections=4)
        for _ in range(2):
            puts = [
                begin(lambda key=key: store.put(key, b"x", IfAbsent()).etag, threads)  # type: ignore[misc]
                for key in map(str, range(count))
            ]
            assert await asyncio.gather(*puts) == list(map(str, range(count)))
        assert used == count + 4  # four were kept
        store.close()


async def test_a_caller_that_leaves(threads: ThreadPoolExecutor) -> None:
    """If a caller leaves in the middle, no later request gets the reply to its request."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            key = await request(reader)
            if key == b"first":
                asked.set()
                await go.wait()
            writer.write(written(key))

    async with server(serve) as port:
        store = store_at(port)
        ended: list[str] = []
        first = begin(lambda: ended.append(store.put("first", b"x", IfAbsent()).etag), threads)
        await asked.wait()
        first.cancel()
        for key in ("second", "third"):
            put = begin(lambda key=key: store.put(key, b"x", IfAbsent()).etag, threads)  # type: ignore[misc]
            assert await put == key
        go.set()
        assert await begin(lambda: store.put("fourth", b"x", IfAbsent()).etag, threads) == "fourth"
        store.close()


async def test_an_answer_that_comes_too_late(threads: ThreadPoolExecutor) -> None:
    """A request that was given up takes its connection with it, and its late reply."""
    accepted: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        first = await request(reader)
        if first != b"late":
            writer.write(written(first))
        else:
            await reader.read()  # until the other side is gone
            writer.write(written(first))

    async with server(serve) as port:
        store = store_at(port)
        with deadlines.within(0.2):
            late = begin(lambda: store.put("late", b"x", IfAbsent()), threads)
        with pytest.raises(OutcomeUnknown, match="answered"):
            await late
        assert await begin(lambda: store.put("next", b"x", IfAbsent()).etag, threads) == "next"
        assert len(accepted) == 2
        store.close()


async def test_a_reply_that_trickles(threads: ThreadPoolExecutor) -> None:
    """Silence is what is bounded: a reply that comes byte by byte is waited for."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in written(await request(reader)):
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)

    async with server(serve) as port:
        store = store_at(port, silence=0.2)
        assert await begin(lambda: store.put("slow", b"x", IfAbsent()).etag, threads) == "slow"
        store.close()


@pytest.mark.parametrize("reply", [b"HTTP/1.1 200 OK\r\nETag", b"SSH-2.0-x\r\n\r\n", b""])
async def test_a_reply_that_is_none(threads: ThreadPoolExecutor, reply: bytes) -> None:
    """Half a reply, or none, leaves the outcome open, and is never taken for one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(reply)
        writer.close()

    async with server(serve) as port:
        store = store_at(port)
        with pytest.raises(OutcomeUnknown, match="broke"):
            await begin(lambda: store.put("a", b"x", IfAbsent()), threads)
        store.close()


async def test_nobody_answers_the_door(threads: ThreadPoolExecutor) -> None:
    """If connecting takes too long, a request was never sent, so its outcome is known."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it never says a word of TLS
        store = store_at(silent.getsockname()[1], scheme="https")
        with deadlines.within(0.2):
            put = begin(lambda: store.put("a", b"x", IfAbsent()), threads)
        with pytest.raises(Unavailable, match="can't be reached") as caught:
            await put
        assert not isinstance(caught.value, OutcomeUnknown)
        store.close()


async def test_bytes_that_nobody_asked_for(threads: ThreadPoolExecutor) -> None:
    """If a server sends something between two requests, its connection isn't used again."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            key = await request(reader)
            writer.write(written(key) + (written(b"wrong") if key == b"first" else b""))

    async with server(serve) as port:
        store = store_at(port)
        for key in ("first", "second", "third"):
            put = begin(lambda key=key: store.put(key, b"x", IfAbsent()).etag, threads)  # type: ignore[misc]
            assert await put == key
        assert connections == 2
        store.close()


@pytest.mark.parametrize("size", [SMALL, SMALL + 1])
async def test_a_body_of_some_size(threads: ThreadPoolExecutor, size: int) -> None:
    """Bodies up to the limit go out from the loop; a larger one is sent by a thread."""
    with scripted(Reply(headers={"ETag": '"e1"'})) as script:
        store, body = script.store(), bytes(size)
        assert (await begin(lambda: store.put("a", body), threads)).etag == "e1"
        assert script.bodies == [body]
        assert bool(store._direct._looped._idle) == (size <= SMALL)
        store.close()


class NoThreads(ThreadPoolExecutor):
    """Threads of which none may be used."""

    def submit(self, *_: object, **__: object) -> NoReturn:
        raise AssertionError("a thread was used")


def listing(count: int) -> Reply:
    """A page of so many objects."""
    objects = "".join(
        f"<Contents><Key>{number:05}</Key><Size>1</Size><ETag>e</ETag>"
        "<LastModified>2026-11-26T04:00:00.000Z</LastModified></Contents>"
        for number in range(count)
    )
    text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>"
    return Reply(200, text.encode(), {"Content-Type": "application/xml"})


SMALL_REQUESTS: dict[str, tuple[Callable[[S3Store], object], Reply]] = {
    "put": (lambda store: store.put("a", bytes(SMALL)), Reply(headers={"ETag": "e"})),
    "conditional put": (
        lambda store: store.put("a", b"", IfAbsent()),
        Reply(headers={"ETag": "e"}),
    ),
    "get": (lambda store: store.get("a"), Reply(body=b"x", headers={"ETag": "e"})),
    "head": (lambda store: store.head("a"), Reply(body=b"x", headers={"ETag": "e"})),
    "delete": (lambda store: store.delete("a"), Reply(204)),
    "list": (lambda store: list(store.list("")), listing(100)),
    "new upload": (
        lambda store: store.create_upload("a"),
        Reply(
            body=b"<InitiateMultipartUploadResult><UploadId>u</UploadId>"
            b"</InitiateMultipartUploadResult>"
        ),
    ),
}


@pytest.mark.parametrize("name", SMALL_REQUESTS)
async def test_what_needs_no_thread(name: str) -> None:
    """A small request to S3 is built, sent and read on the loop alone."""
    call, reply = SMALL_REQUESTS[name]
    with scripted(reply) as script, NoThreads(1) as none:
        store = script.store()
        await begin(lambda: call(store), none)
        assert len(script.requests) == 1
        store.close()


async def test_a_large_page_is_read_beside_the_loop(threads: ThreadPoolExecutor) -> None:
    """A page that takes a millisecond to read is read by a thread, and is the same."""
    with scripted(listing(1000)) as script:
        store = script.store()
        found = await begin(lambda: list(store.list("")), threads)
        assert [entry.key for entry in found] == [f"{number:05}" for number in range(1000)]
        assert [thread.name for thread in threads._threads]
        store.close()


def test_a_store_of_two_loops(threads: ThreadPoolExecutor) -> None:
    """Connections belong to the loop that opened them, and end with it."""
    with scripted(Reply(headers={"ETag": '"e1"'})) as script:
        store = script.store()

        async def put() -> str:
            return (await begin(lambda: store.put("a", b"x"), threads)).etag

        assert [asyncio.run(put()) for _ in range(3)] == ["e1"] * 3
        assert len(store._direct._looped._idle) == 1
        store.close()


async def test_closing_from_a_thread(threads: ThreadPoolExecutor) -> None:
    """Idle connections are closed from any thread; the next request opens one."""
    with scripted(Reply(headers={"ETag": '"e1"'})) as script:
        store = script.store()
        for _ in range(2):
            assert (await begin(lambda: store.put("a", b"x"), threads)).etag == "e1"
            [kept] = store._direct._looped._idle.values()
            assert len(kept) == 1
            await asyncio.to_thread(store.close)
            await asyncio.to_thread(wait_until, lambda: not kept, "their end")  # noqa: B023 -- awaited
