"""Connections that are encrypted, and those that aren't where they should be."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from holdfast.transport import Call, Refusal, TlsContext, Unary
from tests.servers.certificate import self_signed
from tests.transport.serving import PATH, Running, content, serving, unary_call

MIB = 2**20


async def echo(message: bytes, _: Call) -> bytes:
    """Answers with the request."""
    return message


def secure_channel(running: Running, folder: Path) -> grpc.aio.Channel:
    roots = (folder / "ca.crt").read_bytes()
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    return grpc.aio.secure_channel(running.address, grpc.ssl_channel_credentials(roots), options)


async def answer(port: int, data: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    """Everything that a server sends until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    writer.write(data)
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("size", [0, 100, 3 * MIB])
async def test_calls_are_served_over_tls(size: int, tmp_path: Path) -> None:
    """A message of any size goes both ways over TLS."""
    tls = TlsContext(self_signed(tmp_path))
    async with (
        serving({PATH: Unary(echo)}, tls=tls) as running,
        secure_channel(running, tmp_path) as channel,
    ):
        assert await unary_call(channel)(content(size)) == content(size)


async def test_a_replaced_context_serves_new_connections(tmp_path: Path) -> None:
    """After a replacement, new clients see the new certificate, and open connections stay."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    tls = TlsContext(self_signed(old))
    async with (
        serving({PATH: Unary(echo)}, tls=tls) as running,
        secure_channel(running, old) as earlier,
    ):
        assert await unary_call(earlier)(b"before") == b"before"
        tls.replace(self_signed(new))
        async with secure_channel(running, new) as later:
            assert await unary_call(later)(b"new") == b"new"
        assert await unary_call(earlier)(b"after") == b"after"


@pytest.mark.parametrize("protocols", [None, ["http/1.1"]])
async def test_a_client_that_does_not_speak_http2_is_closed(
    protocols: list[str] | None, tmp_path: Path
) -> None:
    """A TLS client that hasn't agreed on HTTP/2 is disconnected without an answer."""
    context = TlsContext(self_signed(tmp_path))
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    if protocols:
        client.set_alpn_protocols(protocols)
    async with serving({}, tls=context) as running:
        received = b""
        with suppress(ConnectionError, ssl.SSLError):  # some are refused in the handshake
            received = await answer(running.port, b"GET / HTTP/1.1\r\n\r\n", client)
        assert received == b""
        assert running.server.counts.refused[Refusal.HANDSHAKES] == 1


async def test_plain_text_on_a_tls_port_ends(tmp_path: Path) -> None:
    """A client that speaks no TLS on a TLS port is disconnected, and others are served."""
    tls = TlsContext(self_signed(tmp_path))
    async with serving({PATH: Unary(echo)}, tls=tls) as running:
        received = await answer(running.port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert b"SETTINGS" not in received
        async with secure_channel(running, tmp_path) as channel:
            assert await unary_call(channel)(b"well") == b"well"
        assert running.server.counts.refused[Refusal.HANDSHAKES] == 1


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("1603010200010001fc0303") + bytes(100),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\0",
    ],
    ids=["TLS", "HTTP/1.1", "scanner"],
)
async def test_what_is_not_http2_ends_on_a_plain_port(data: bytes) -> None:
    """A client that speaks another protocol is told GOAWAY and disconnected at its first bytes."""
    async with serving({}) as running:
        received = await answer(running.port, data)
    assert received.endswith(b"this isn't HTTP/2")
    assert running.server.counts.refused[Refusal.PROTOCOL] == 1
