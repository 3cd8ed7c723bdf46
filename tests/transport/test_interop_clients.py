"""Clients of other implementations of gRPC read, write, leave and give up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import grpc
import pytest

from tests.servers.process import wait_until

from .bytes_service import PIECE, SERVICE, content
from .programs import peer, run

SIZE = 64 * PIECE
"""Bytes that each client reads and writes."""
CLIENTS = [
    "go",
    pytest.param("js", marks=pytest.mark.slow),
    pytest.param("java", marks=pytest.mark.slow),
]


def said(client: str, port: int, case: str) -> str:
    """What a client prints about a case that it has run."""
    done = run(*peer(client), f"127.0.0.1:{port}", case)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def channel(port: int) -> Iterator[grpc.Channel]:
    """A channel of grpcio, which is a client too."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as made:
        yield made


def ended(channel: grpc.Channel) -> list[bytes]:
    """What the server has noted about calls of Sleep that were cancelled."""
    return channel.unary_unary(f"/{SERVICE}/Ended", bytes, bytes)(b"", timeout=30).split(b"\n")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_unary_call(client: str, port: int) -> None:
    """Each client gets the answer to a unary call."""
    assert said(client, port, "echo") == "are you there?"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", ["read", "write"])
def test_64_mib(client: str, port: int, case: str) -> None:
    """64 MiB arrive as they were sent, in both directions."""
    assert said(client, port, case) == content(SIZE)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("case", "codes"),
    [
        ("cancel", {"Canceled", "CANCELLED"}),
        ("deadline", {"DeadlineExceeded", "DEADLINE_EXCEEDED"}),
    ],
)
def test_a_client_that_leaves(
    client: str, port: int, channel: grpc.Channel, case: str, codes: set[str]
) -> None:
    """A cancellation and a deadline end the call at the client and the handler at the server."""
    assert said(client, port, case) in codes
    wait_until(lambda: f"{client} {case}".encode() in ended(channel), "end of the handler")


def test_grpcio_reads_64_mib(channel: grpc.Channel) -> None:
    """Grpcio reads 64 MiB as they were sent."""
    digest = hashlib.sha256()
    for message in channel.unary_stream(f"/{SERVICE}/Read", bytes, bytes)(b"%d" % SIZE, timeout=60):
        digest.update(message)
    assert digest.hexdigest() == content(SIZE)


def test_grpcio_writes_64_mib(channel: grpc.Channel) -> None:
    """What grpcio writes arrives as it was sent."""
    pieces = (bytes([number]) * PIECE for number in range(SIZE // PIECE))
    [reply] = channel.stream_stream(f"/{SERVICE}/Write", bytes, bytes)(pieces, timeout=60)
    assert reply.decode() == content(SIZE)


def test_grpcio_leaves(channel: grpc.Channel) -> None:
    """Grpcio's cancellation ends the handler."""
    call = channel.unary_stream(f"/{SERVICE}/Sleep", bytes, bytes)(b"grpcio cancel")
    assert next(call) == b"asleep"
    call.cancel()
    wait_until(lambda: b"grpcio cancel" in ended(channel), "end of the handler")


def test_grpcio_gives_up(channel: grpc.Channel) -> None:
    """Grpcio's deadline ends the call at both sides."""
    call = channel.unary_stream(f"/{SERVICE}/Sleep", bytes, bytes)(b"grpcio deadline", timeout=1)
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: b"grpcio deadline" in ended(channel), "end of the handler")
