"""Whoever speaks something else than gRPC over HTTP/2 is sent away quickly and quietly."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from pathlib import Path

import pytest
from h2.errors import ErrorCodes

from holdfast.transport.tls import TlsContext
from tests.servers.certificate import self_signed
from tests.service.fleet import eventually

from .floods import ECHO
from .local import Local, is_served, serving
from .raw_client import (
    END_STREAM,
    PREFACE,
    WAIT,
    Kind,
    call,
    connected,
    data,
    headers,
    message,
    request_fields,
    settings,
)

SCANS = 100


def alone(local: Local) -> bool:
    """Whether no connection is open."""
    return local.server.counts.connections == 0


async def test_a_port_scanner() -> None:
    """Connections that say nothing and vanish, politely or not, leave nothing behind."""
    async with serving() as local:
        for number in range(SCANS):
            with socket.create_connection(("127.0.0.1", local.port)) as scanner:
                linger = struct.pack("ii", number % 2, 0)  # odd ones end with a reset
                scanner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            await asyncio.sleep(0)
        await eventually(lambda: local.server.counts.accepted == SCANS and alone(local))
        await is_served(local)
        assert local.failures == []


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
        b"PRI * HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\0" * 24,
        bytes(range(255, -1, -1)) * 400,
    ],
    ids=["HTTP/1.1", "h2c upgrade", "almost a preface", "SSH", "zeroes", "noise"],
)
async def test_another_protocol(said: bytes) -> None:
    """Bytes that aren't HTTP/2's preface end the connection at once, with PROTOCOL_ERROR."""
    async with serving() as local, connected(local.port) as client:
        await client.send(said)
        goaway = await client.ended()
        assert goaway is not None
        assert goaway.code == ErrorCodes.PROTOCOL_ERROR
        await eventually(lambda: alone(local))
        assert local.failures == []


@pytest.mark.parametrize(
    ("method", "kind", "status"),
    [
        ("GET", "text/html", "405"),
        ("PUT", "application/grpc", "405"),
        ("POST", "application/grpc-web", "415"),
        ("POST", "application/grpc-web+proto", "415"),
        ("POST", "application/json", "415"),
        ("POST", "application/grpcish", "415"),
        ("POST", "", "415"),
    ],
)
async def test_http_that_is_not_grpc(method: str, kind: str, status: str) -> None:
    """Requests that aren't gRPC's are answered with an HTTP status; the connection goes on."""
    async with serving() as local, connected(local.port) as client:
        await client.greet()
        fields = request_fields(ECHO, method=method, kind=kind)
        await client.send(headers(1, fields), data(1, b"body", end=True))
        assert (await client.fields(1))[":status"] == status
        while not (await client.expect(Kind.DATA, 1)).flags & END_STREAM:
            pass
        await client.send(call(3, ECHO, b"gRPC"))
        assert await client.answer(3) == message(b"gRPC")


def trusting(folder: Path, *protocols: str) -> ssl.SSLContext:
    """A client's context that trusts the certificate in a folder, and offers protocols."""
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


async def test_tls_on_a_plain_port(tmp_path: Path) -> None:
    """A client that wants TLS from a port that has none learns quickly that there is none."""
    self_signed(tmp_path)
    async with serving() as local:
        with pytest.raises(ssl.SSLError):
            async with asyncio.timeout(WAIT), connected(local.port, trusting(tmp_path, "h2")):
                pass
        await eventually(lambda: alone(local))
        await is_served(local)
        assert local.failures == []


async def test_plain_on_a_tls_port(tmp_path: Path) -> None:
    """A client that speaks no TLS to a port that has it is disconnected; nothing is reported."""
    tls = TlsContext(self_signed(tmp_path))
    async with serving(tls=tls) as local:
        async with connected(local.port) as client:
            await client.send(PREFACE, settings())
            await client.ended()
        async with connected(local.port, trusting(tmp_path, "h2")) as client:
            await client.greet()
            await client.send(call(1, ECHO, b"encrypted"))
            assert await client.answer(1) == message(b"encrypted")
        assert local.failures == []


async def test_tls_without_http_2(tmp_path: Path) -> None:
    """A client of TLS that offers other protocols only gets no connection."""
    tls = TlsContext(self_signed(tmp_path))
    async with serving(tls=tls) as local:
        try:
            async with connected(local.port, trusting(tmp_path, "http/1.1")) as client:
                await client.greet()
                assert await client.ended() is None
        except (ssl.SSLError, ConnectionError):
            pass  # refused in the handshake: so much the better
        await eventually(lambda: alone(local))
        assert local.failures == []
