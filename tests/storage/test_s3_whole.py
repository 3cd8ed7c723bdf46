"""Large bodies, received in one call."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPResponse

import pytest

from holdfast.errors import Unavailable
from holdfast.storage.s3 import S3Settings, S3Store
from holdfast.storage.s3_sockets import TimedSocket
from holdfast.storage.s3_whole import LARGE
from tests.storage.scripted import Reply, scripted

BLOCK = bytes(range(256)) * 4 * 4096
FOUND = {"ETag": '"e1"', "Last-Modified": "Tue, 24 Nov 2026 12:00:00 GMT"}


class Counting(socket.socket):
    """A socket that counts how often it is asked for bytes."""

    asked = 0

    def recv_into(self, *args: object, **named: object) -> int:
        self.asked += 1
        return super().recv_into(*args, **named)  # type: ignore[arg-type]


@contextmanager
def answered(answer: Callable[[socket.socket], None]) -> Iterator[Counting]:
    """A connection, with a timeout, to a peer that answers in a thread of its own."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        ThreadPoolExecutor(1) as thread,
        Counting() as client,
    ):
        client.connect(server.getsockname())
        client.settimeout(0.25)
        peer, _ = server.accept()
        with peer:
            done = thread.submit(answer, peer)
            yield client
            done.result()


def head(length: int) -> bytes:
    """The head of a reply with a body."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


def reply_on(sock: socket.socket) -> HTTPResponse:
    """A reply whose head has been read."""
    reply = HTTPResponse(TimedSocket(sock), method="GET")  # type: ignore[arg-type]  # it stands in for one
    reply.begin()
    return reply


def test_few_calls() -> None:
    """A block that arrives in many packets is received by a few calls, as bytes."""

    def answer(peer: socket.socket) -> None:
        peer.sendall(head(len(BLOCK)))
        for at in range(0, len(BLOCK), LARGE):
            peer.sendall(BLOCK[at : at + LARGE])

    with answered(answer) as client:
        assert reply_on(client).read() == BLOCK
        assert client.asked <= 4
        assert client.gettimeout() == 0.25


@pytest.mark.parametrize("sent", [0, 2 * LARGE], ids=["nothing", "a beginning"])
def test_silence_in_the_middle(sent: int) -> None:
    """A large body that stands still is waited for as long as the timeout says, and no longer."""
    with answered(lambda peer: peer.sendall(head(len(BLOCK)) + BLOCK[:sent])) as client:
        reply = reply_on(client)
        with pytest.raises(TimeoutError):
            reply.read()
        assert client.gettimeout() == 0.25


@pytest.mark.parametrize("claimed", [len(BLOCK) + 1, 2 * len(BLOCK)])
def test_a_body_that_breaks_off(claimed: int) -> None:
    """A large body that breaks off isn't taken for a whole one: it is read again."""
    broken, whole = (
        Reply(body=BLOCK, headers=FOUND, claimed=claimed),
        Reply(body=BLOCK, headers=FOUND),
    )
    with scripted(broken, whole) as script:
        store = script.store()
        assert store.get("a").body == BLOCK
        store.close()
    assert len(script.requests) == 2


def test_connections_are_used_again() -> None:
    """A large reply leaves its connection as it was, for large replies and small ones."""
    with scripted(*(Reply(body=body, headers=FOUND) for body in (BLOCK, b"x", BLOCK))) as script:
        store = script.store()
        for body in (BLOCK, b"x", BLOCK):
            fetched = store.get("a").body
            assert fetched == body
            assert isinstance(fetched, bytes)
            assert len(store._direct._blocking._idle) == 1
        store.close()


def test_a_large_body_that_does_not_come() -> None:
    """A read whose large body stands still is Unavailable when its time is over."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        held: list[socket.socket] = []

        def answer() -> None:
            while len(held) < 5:  # the direct one, and boto3's
                peer, _ = server.accept()
                peer.recv(65536)
                peer.sendall(head(len(BLOCK)).replace(b"OK", b'OK\r\nETag: "e1"') + BLOCK[:LARGE])
                held.append(peer)

        thread.submit(answer)
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        store = S3Store(
            S3Settings(
                "bucket",
                endpoint,
                path_style=True,
                attempts=1,
                read_timeout=0.25,
                longest_pause=0.01,
            )
        )
        with pytest.raises(Unavailable, match="broke off"):
            store.get("a")
        store.close()
    for peer in held:
        peer.close()
