"""Replies that come byte by byte, and requests that are received so: each ends by its deadline."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast import deadlines
from holdfast.backend import IN_A_ROW
from holdfast.clocks import uptime
from holdfast.errors import OutcomeUnknown, Unavailable
from holdfast.storage.port import IfAbsent
from holdfast.storage.s3 import S3Settings, S3Store
from tests.servers.certificate import self_signed
from tests.servers.process import wait_until
from tests.storage.looped import LoopThread, Way
from tests.storage.trickling import trickling

DEADLINE = 0.5
"""Seconds; a whole reply takes several times as long."""
UNANSWERED = (Unavailable, OutcomeUnknown)
FIELDS = b'ETag: "e1"\r\nLast-Modified: Tue, 24 Nov 2026 12:00:00 GMT\r\n'
HEAD = b"HTTP/1.1 200 OK\r\n" + FIELDS
BODY = bytes(60)
SIZED = HEAD + b"Content-Length: 60\r\n\r\n"
REPLIES = {
    "head": (b"", SIZED + BODY),
    "body": (SIZED, BODY),
    "large body": (SIZED.replace(b"60", b"%d" % 2**20) + bytes(2**20 - 60), BODY),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"3c\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "unsized body": (HEAD + b"Connection: close\r\n\r\n", BODY),
    "error": (
        b"HTTP/1.1 503 Slow Down\r\nContent-Length: 60\r\n\r\n",
        b"<Error><Code>SlowDown</Code></Error>" + b" " * 24,
    ),
}
REQUESTS: dict[str, Callable[[S3Store], object]] = {
    "get": lambda store: store.get("a"),
    "head": lambda store: store.head("a"),
    "put": lambda store: store.put("a", b"x"),
    "delete": lambda store: store.delete("a"),
    "list": lambda store: list(store.list("a/")),
    "new upload": lambda store: store.create_upload("a"),
    "abort": lambda store: store.abort_upload("a", "u"),
    "delete if": lambda store: store.delete_if("a", "e1"),
}


def hasty() -> float:
    """A clock by which short calls have been waited for in earnest."""
    return 20 * uptime()


def answers(store: S3Store) -> bool:
    """Whether the store is known to answer, after one more request."""
    with suppress(Unavailable):
        store.get("a")
    return store.up


def store_at(port: int, clock: Callable[[], float] = uptime, scheme: str = "http") -> S3Store:
    """A store that waits for silence for a minute."""
    return S3Store(
        S3Settings("bucket", f"{scheme}://127.0.0.1:{port}", path_style=True, attempts=2),
        elapsed=clock,
    )


@pytest.fixture(params=["in threads", "on uvloop", "by boto3"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way:
    """Each way in which requests are sent."""
    if request.param == "by boto3":
        monkeypatch.setattr("holdfast.storage.s3_direct.get_environ_proxies", lambda _: True)
    if request.param != "on uvloop":
        return lambda store: store
    thread: LoopThread = request.getfixturevalue("uvloop_thread")
    return thread.on_loop


@pytest.mark.parametrize("reply", REPLIES)
def test_a_reply_that_trickles(way: Way, reply: str) -> None:
    """A reply that isn't complete at the deadline is given up, whichever part of it trickles."""
    with trickling(*REPLIES[reply]) as trickle:
        store = way(store_at(trickle.port))
        with deadlines.within(DEADLINE), pytest.raises(Unavailable, match=r"within 0\.5 s"):
            store.get("a")
        trickle.well.set()
        if reply != "error":
            assert store.get("a").body.endswith(BODY)
        store.close()


@pytest.mark.parametrize("name", REQUESTS)
def test_every_request(way: Way, name: str) -> None:
    """Each request ends by its deadline, though bytes of its reply come all the time."""
    with trickling(b"", SIZED + BODY) as trickle:
        store = way(store_at(trickle.port))
        with deadlines.within(DEADLINE), pytest.raises(UNANSWERED, match=r"within 0\.5 s"):
            REQUESTS[name](store)
        store.close()


def test_a_conditional_put_leaves_time_for_a_look(way: Way) -> None:
    """A conditional put whose reply trickles ends with half of its time left."""
    with trickling(b"", SIZED + BODY) as trickle:
        store = way(store_at(trickle.port))
        with deadlines.within(8 * DEADLINE):
            with pytest.raises(OutcomeUnknown):
                store.put("a", b"x", IfAbsent())
            trickle.well.set()
            assert store.get("a").body == BODY
        store.close()


@pytest.mark.parametrize("reply", ["head", "body"])
def test_over_tls(way: Way, reply: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS changes nothing about that."""
    trust = self_signed(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.crt"))
    with trickling(*REPLIES[reply], trust=trust) as trickle:
        store = way(store_at(trickle.port, scheme="https"))
        with deadlines.within(DEADLINE), pytest.raises(Unavailable, match=r"within 0\.5 s"):
            store.get("a")
        trickle.well.set()
        assert store.get("a").body == BODY
        store.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("size", [200_000, 8 * 2**20], ids=["small", "large"])
def test_a_request_that_is_received_slowly(
    way: Way, size: int, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body of which the server receives some bytes all the time is given up at the deadline."""
    trust = self_signed(tmp_path) if scheme == "https" else None
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.crt"))
    with trickling(SIZED + BODY, b"", receives_slowly=True, trust=trust) as trickle:
        store = way(store_at(trickle.port, scheme=scheme))
        with deadlines.within(DEADLINE), pytest.raises(UNANSWERED):
            store.put("a", bytes(size))
        store.close()


@pytest.mark.parametrize("reply", ["body", "large body"])
def test_without_a_deadline(way: Way, reply: str) -> None:
    """Where there is no deadline, silence is what is bounded: a reply that trickles is awaited."""
    with trickling(*REPLIES[reply]) as trickle:
        store = way(store_at(trickle.port))
        assert store.get("a").body.endswith(BODY)
        assert not trickle.left
        store.close()


@pytest.mark.parametrize("reply", ["body", "error"])
def test_a_store_whose_replies_trickle_is_lost(way: Way, reply: str) -> None:
    """Replies that are given up count as no answers, also if their heads have arrived."""
    with trickling(*REPLIES[reply]) as trickle:
        store = way(store_at(trickle.port, hasty))
        for _ in range(IN_A_ROW):
            with deadlines.within(DEADLINE), pytest.raises(Unavailable):
                store.get("a")
        assert not store.up
        trickle.well.set()
        wait_until(lambda: answers(store), "an answer")
        store.close()
