"""Requests past boto3: what is theirs, and what is left to it."""

from __future__ import annotations

import datetime as dt
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from holdfast import deadlines
from holdfast.errors import ConfigurationError, OutcomeUnknown, PermissionDenied, Unavailable
from holdfast.storage.port import Body, ConditionFailed, IfAbsent, IfMatch, NoSuchKey
from holdfast.storage.s3 import BODY_ATTEMPTS, S3Settings, S3Store
from holdfast.storage.s3_blocking import PIECE, _content, _stale
from tests.servers.certificate import self_signed
from tests.servers.process import wait_until
from tests.storage.credentials import issued_by
from tests.storage.looped import Way
from tests.storage.scripted import Reply, error, scripted

WRITTEN = Reply(headers={"ETag": '"e1"', "Date": "Tue, 24 Nov 2026 12:00:00 GMT"})
NOON = 1795521600.0


def test_one_request(way: Way) -> None:
    """A conditional put is one request, and its reply tells ETag and date."""
    with scripted(WRITTEN) as script:
        store = way(script.store())
        written = store.put("a", b"x", IfAbsent())
        store.close()
    assert (written.etag, written.date) == ("e1", NOON)
    assert script.requests == [("PUT", "/bucket/a")]


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        (error(412, "PreconditionFailed"), ConditionFailed),
        (error(404, "NoSuchKey"), ConditionFailed),
        (error(404, "NoSuchBucket"), ConfigurationError),
        (error(409, "ConditionalRequestConflict"), OutcomeUnknown),
        (error(500, "InternalError"), OutcomeUnknown),
        (error(503, "SlowDown"), OutcomeUnknown),
        (Reply(hang_up=True), OutcomeUnknown),
    ],
    ids=lambda value: getattr(value, "__name__", "reply"),
)
def test_a_conditional_put_is_never_sent_again(
    way: Way, reply: Reply, meaning: type[Exception]
) -> None:
    """What may have been carried out is reported, and not repeated by anybody below the caller."""
    with scripted(reply) as script:
        store = way(script.store(attempts=5))
        with pytest.raises(meaning):
            store.put("a", b"x", IfMatch("e0"))
        store.close()
    assert len(script.requests) == 1


@pytest.mark.parametrize("status", [301, 307, 400, 403])
def test_a_refusal_is_left_to_boto3(way: Way, status: int) -> None:
    """A reply that means 'not here' or 'not like this' wrote nothing: boto3 knows what to do."""
    with scripted(error(status, "Whatever"), WRITTEN) as script:
        store = way(script.store())
        assert store.put("a", b"x", IfAbsent()).etag == "e1"
        store.close()
    assert len(script.requests) == 2


def test_a_success_that_says_nothing(way: Way) -> None:
    """A conditional put that succeeded without an ETag isn't sent again, to lose to itself."""
    for status in (200, 201, 204):
        with scripted(Reply(status), error(412, "PreconditionFailed")) as script:
            store = way(script.store())
            with pytest.raises(OutcomeUnknown):
                store.put("a", b"x", IfAbsent())
            store.close()
        assert len(script.requests) == 1


def test_an_interim_reply(way: Way) -> None:
    """What follows an interim reply is never taken for the reply to the next request."""
    body = b'HTTP/1.1 200 OK\r\nETag: "%s"\r\nContent-Length: 0\r\n\r\n'
    with raw_server(b"HTTP/1.1 103 Early Hints\r\n\r\n", body) as endpoint:
        store = way(S3Store(S3Settings("bucket", endpoint, path_style=True, attempts=1)))
        for name in ("k1", "k2", "k3"):
            with suppress(OutcomeUnknown):
                assert store.put(name, b"x", IfAbsent()).etag == name
        assert not store._direct._blocking._idle
        store.close()


def test_a_length_that_is_missing(way: Way) -> None:
    """A HEAD without a length doesn't make an object an empty one."""
    headers = {"ETag": '"e1"', "Last-Modified": "Tue, 24 Nov 2026 12:00:00 GMT"}
    with scripted(Reply(headers=headers, unsized=True), Reply(body=b"12345", headers=headers)) as s:
        store = way(s.store())
        assert store.head("a").size == 5
        store.close()


def test_a_part_in_pieces(way: Way) -> None:
    """A part goes out in its pieces; where that fails, boto3 sends the same bytes."""
    with scripted(error(503, "SlowDown"), WRITTEN) as script:
        store = way(script.store())
        part = store.put_part(
            "a/b", "an/id?", 7, [b"one", memoryview(b"-two-")[1:4], bytearray(b"3")]
        )
        store.close()
    assert (part.number, part.etag, part.size) == (7, "e1", 7)
    assert script.bodies == [b"onetwo3"] * 2
    asked = [
        (path.partition("?")[0], parse_qs(urlsplit(path).query)) for _, path in script.requests
    ]
    assert asked == [("/bucket/a/b", {"partNumber": ["7"], "uploadId": ["an/id?"]})] * 2


def test_a_store_that_asks_for_less(way: Way) -> None:
    """Each reply that asks for less is counted, boto3's tries included."""
    slow = error(503, "SlowDown")
    with scripted(slow, slow, error(429, "TooManyRequests"), WRITTEN, slow) as script:
        store = way(script.store(attempts=3))
        store.put("a", b"x")
        assert store.throttled() == 3
        with pytest.raises(OutcomeUnknown):
            store.put("a", b"x", IfAbsent())
        assert store.throttled() == 4
        store.close()
    assert len(script.requests) == 5


def test_what_can_be_repeated_is_repeated_by_boto3(way: Way) -> None:
    """A read whose first reply isn't plain is read by boto3."""
    found = Reply(
        body=b"hello",
        headers={"ETag": '"e1"', "Last-Modified": "Tue, 24 Nov 2026 12:00:00 GMT"},
    )
    for first in (error(503, "SlowDown"), Reply(hang_up=True), Reply(body=b"hel", claimed=5)):
        with scripted(first, found) as script:
            store = way(script.store())
            fetched = store.get("a")
            store.close()
        assert (fetched.body, fetched.entry.last_modified) == (b"hello", NOON)
        assert len(script.requests) == 2


def test_absence_needs_no_second_look(way: Way) -> None:
    """NoSuchKey is an answer."""
    with scripted(error(404, "NoSuchKey")) as script:
        store = way(script.store())
        with pytest.raises(NoSuchKey):
            store.get("a")
        store.close()
    assert len(script.requests) == 1


def test_an_idle_connection_that_was_closed(way: Way) -> None:
    """A connection that the server has closed meanwhile isn't written to."""
    with closing_server() as endpoint:
        store = way(S3Store(S3Settings("bucket", endpoint, path_style=True, attempts=1)))
        for number in range(3):
            assert store.put(f"k{number}", b"x", IfAbsent()).etag == "e1"
            wait_until(lambda: not kept(store), "the server's end")
        store.close()


def kept(store: S3Store) -> int:
    """How many connections are kept that the server hasn't ended."""
    blocking, looped = store._direct._blocking._idle, store._direct._looped._idle
    return sum(not _stale(connection) for connection, _ in blocking) + sum(
        connection.usable for idle in looped.values() for connection, _ in idle
    )


def impatient(server: socket.socket) -> S3Store:
    """A store that asks once, and waits a quarter of a second for what a server says."""
    endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
    settings = S3Settings("bucket", endpoint, path_style=True, attempts=1)
    return S3Store(replace(settings, read_timeout=0.25, longest_pause=0.01))


@pytest.mark.parametrize("body", [b"x", bytes(32 * 2**20)], ids=["small", "never taken"])
def test_a_server_that_is_silent(way: Way, body: bytes) -> None:
    """A request that gets no reply, or isn't even taken, ends when its time is over."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        store = way(impatient(server))
        with pytest.raises(OutcomeUnknown):
            store.put("a", body, IfAbsent())
        with pytest.raises(Unavailable):
            store.put("a", body)
        store.close()


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.get("a"),
        lambda store: store.put("a", b"x"),
        lambda store: store.delete("a"),
        lambda store: list(store.list("a/")),
        lambda store: store.create_upload("a"),
        lambda store: store.abort_upload("a", "u"),
    ],
    ids=["get", "put", "delete", "list", "create_upload", "abort_upload"],
)
def test_a_deadline(way: Way, ask: Callable[[S3Store], object]) -> None:
    """However patient the store is, a request ends with the deadline of what it is made for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        store = way(
            S3Store(
                S3Settings("bucket", f"http://127.0.0.1:{server.getsockname()[1]}", path_style=True)
            )
        )
        with deadlines.within(0.25), pytest.raises(Unavailable, match=r"answered within 0\.25 s"):
            ask(store)
        with deadlines.within(0.0), pytest.raises(Unavailable, match="answered within 0 s"):
            ask(store)
        store.close()


def test_a_conditional_put_leaves_time_for_a_look(way: Way) -> None:
    """A conditional put that isn't answered ends while there is time to find out what became."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        store = way(
            S3Store(
                S3Settings("bucket", f"http://127.0.0.1:{server.getsockname()[1]}", path_style=True)
            )
        )
        with deadlines.within(1.0), pytest.raises(OutcomeUnknown):
            store.put("a", b"x", IfAbsent())
        store.close()


def test_large_bodies_go_out_in_pieces() -> None:
    """The patience of a socket is with each piece of a body: one that moves on goes on."""
    body = bytes(range(256)) * 4096
    bodies: list[Body] = [body, [body[:300_000], memoryview(body)[300_000:]]]
    for whole in bodies:
        content = _content(whole)
        assert content is not None
        assert not isinstance(content, bytes)
        cut = list(content)
        assert max(map(len, cut)) <= PIECE
        assert b"".join(cut) == body
    assert _content(b"small") == b"small"
    assert _content(b"") is None


def test_a_body_that_does_not_come(way: Way) -> None:
    """A read whose reply stands still behind its head ends when its time is over."""
    head = b'HTTP/1.1 200 OK\r\nETag: "e1"\r\nContent-Length: 5\r\n\r\n'
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:

        def answer() -> None:
            for _ in range(1 + BODY_ATTEMPTS):  # the direct one, and boto3's
                peer, _ = server.accept()
                peer.recv(65536)
                peer.sendall(head)
                held.append(peer)

        held: list[socket.socket] = []
        thread.submit(answer)
        store = way(impatient(server))
        with pytest.raises(Unavailable, match="broke off"):
            store.get("a")
        store.close()
    for peer in held:
        peer.close()


def test_nobody_listens(way: Way) -> None:
    """A conditional put that was never sent is Unavailable: nothing can have happened."""
    with scripted(WRITTEN) as script:
        pass
    store = way(script.store())
    with pytest.raises(Unavailable):
        store.put("a", b"x", IfAbsent())
    store.close()


def test_a_proxy_between(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a proxy is set for the endpoint, boto3 does it all: it knows proxies."""
    with scripted(WRITTEN) as script:
        monkeypatch.setenv("http_proxy", script.endpoint)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        store = way(S3Store(S3Settings("bucket", "http://s3.invalid", path_style=True, attempts=1)))
        assert store.put("a", b"x", IfAbsent()).etag == "e1"
        store.close()
    assert script.requests == [("PUT", "http://s3.invalid/bucket/a")]


def test_no_credentials(way: Way, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without credentials boto3 says what is missing."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with scripted(WRITTEN) as script:
        store = way(script.store())
        with pytest.raises(Exception, match="AWS_ACCESS_KEY_ID"):
            store.put("a", b"x", IfAbsent())
        store.close()
    assert script.requests == []


def test_credentials_that_cannot_be_refreshed(
    way: Way, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where temporary credentials run out and no new ones are given, every request says so."""
    once = "if given.exists(): sys.exit('no more')\ngiven.touch()\ntoken = 't'"
    issued_by(once, dt.timedelta(minutes=5), tmp_path, monkeypatch)
    with scripted(WRITTEN) as script:
        store = way(script.store())
        for call in (
            lambda: store.get("a"),
            lambda: store.head("a"),
            lambda: store.delete("a"),
            lambda: store.put("a", b"x"),
            lambda: store.put("a", b"x", IfAbsent()),
        ):
            with pytest.raises(PermissionDenied, match="credentials"):
                call()
        store.close()
    assert script.requests == []


def test_certificates(way: Way, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TLS trusts whom boto3 would trust, and nobody else."""
    context = self_signed(tmp_path)
    with closing_server(context) as endpoint:
        settings = S3Settings("bucket", endpoint, path_style=True, attempts=1)
        stranger = way(S3Store(settings))
        with pytest.raises(Unavailable):
            stranger.put("a", b"x", IfAbsent())
        stranger.close()
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.crt"))
        store = way(S3Store(settings))
        assert store.put("a", b"x", IfAbsent()).etag == "e1"
        store.close()


@contextmanager
def raw_server(interim: bytes, reply: bytes) -> Iterator[str]:
    """A server that sends an interim reply, and the real one (with the key) some time later."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            while request := self.rfile.readline():
                key = request.split()[1].rpartition(b"/")[2]
                while self.rfile.readline().strip():
                    pass
                self.rfile.read(1)
                with suppress(OSError):
                    self.wfile.write(interim)
                    self.wfile.flush()
                    # Whoever is done with the connection has given it back by now.
                    select.select([self.connection], [], [], 0.2)
                    self.wfile.write(reply % key)

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def closing_server(tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that promises to keep connections, and closes each after a reply."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("ETag", '"e1"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.wfile.flush()
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
