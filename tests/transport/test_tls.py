"""Connections that are encrypted, and those that aren't where they should be."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from holdfast.transport import Call, Limits, Refusal, TlsContext, Unary
from tests.servers.authority import Authority, Issued
from tests.servers.certificate import self_signed
from tests.transport.serving import PATH, Running, content, serving, unary_call, until

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


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Issues what servers and clients show."""
    return Authority()


def asking(authority: Authority, folder: Path) -> TlsContext:
    """A server's context that asks clients for certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server().write(folder, "server"))
    context.load_verify_locations(cadata=authority.pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    return TlsContext(context)


def showing(running: Running, authority: Authority, shown: Issued) -> grpc.aio.Channel:
    """A client's channel that shows a certificate."""
    credentials = grpc.ssl_channel_credentials(authority.pem, shown.key, shown.cert)
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(running.address, credentials, options)


@pytest.mark.parametrize(
    ("newest", "suites"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256"),
    ],
    ids=["TLS 1.1", "without authentication", "without ephemeral keys"],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_what_is_too_weak(
    newest: ssl.TLSVersion, suites: str, authority: Authority, tmp_path: Path
) -> None:
    """A client with nothing better than TLS 1.1, or a suite that HTTP/2 forbids, doesn't get in."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.server().write(tmp_path))
    client = authority.context(tmp_path)
    client.minimum_version = min(newest, ssl.TLSVersion.TLSv1_2)
    client.maximum_version = newest
    client.set_ciphers(suites)
    async with serving({}, tls=TlsContext(server)) as running:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await answer(running.port, b"", client)
        await until(lambda: running.server.counts.refused[Refusal.HANDSHAKES] == 1)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_what_is_strong_enough(
    version: ssl.TLSVersion, authority: Authority, tmp_path: Path
) -> None:
    """TLS 1.2 and 1.3 are spoken, with keys that are used once and authenticated encryption."""
    client = authority.context(tmp_path, authority.client())
    client.minimum_version = client.maximum_version = version
    async with serving({}, tls=asking(authority, tmp_path)) as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port, ssl=client)
        suite, _, _ = writer.get_extra_info("cipher")
        assert suite.startswith(("ECDHE-", "TLS_"))
        assert "GCM" in suite or "CHACHA20" in suite
        writer.close()


async def test_a_session_is_not_resumed(authority: Authority, tmp_path: Path) -> None:
    """A client gets no ticket with which it could come back without its certificate."""
    client = authority.context(tmp_path, authority.client())

    def greeted(port: int) -> tuple[bool, ssl.SSLSession | None]:
        with (
            socket.create_connection(("127.0.0.1", port)) as sock,
            client.wrap_socket(sock, server_hostname="127.0.0.1") as tls,
        ):
            assert tls.recv(9)  # the server's SETTINGS, in front of which tickets would be
            return tls.session_reused is True, tls.session

    async with serving({}, tls=asking(authority, tmp_path)) as running:
        reused, session = await asyncio.to_thread(greeted, running.port)
    assert not reused
    assert session is None or not session.has_ticket


async def test_a_certificate_that_expires(authority: Authority, tmp_path: Path) -> None:
    """A connection is drained when its client's certificate expires; calls under way end well."""
    shown = authority.client()
    end = shown.parsed().not_valid_after_utc.timestamp()
    begun, over = asyncio.Event(), asyncio.Event()

    async def wait(message: bytes, _: Call) -> bytes:
        begun.set()
        await over.wait()
        return message

    limits = Limits(keepalive=0.4)  # looks at its connections ten times a second
    tls = asking(authority, tmp_path)
    async with (
        serving({PATH: Unary(wait)}, limits, tls=tls, now=lambda: end - 0.5) as running,
        showing(running, authority, shown) as channel,
    ):
        calling = asyncio.ensure_future(unary_call(channel)(b"well"))
        await begun.wait()
        assert running.server.counts.drains == 0
        await until(lambda: running.server.counts.drains == 1)
        over.set()
        assert await calling == b"well"


async def test_a_stream_that_outlives_its_certificate(authority: Authority, tmp_path: Path) -> None:
    """A stream that doesn't end ends with the drain's grace after its client's certificate."""
    shown = authority.client()
    end = shown.parsed().not_valid_after_utc.timestamp()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(_: bytes, __: Call) -> bytes:
        begun.set()
        try:
            return await asyncio.Event().wait()  # type: ignore[return-value]  # it never ends
        finally:
            ended.set()

    limits = Limits(keepalive=0.4, age_grace=0.2)
    tls = asking(authority, tmp_path)
    async with (
        serving({PATH: Unary(endless)}, limits, tls=tls, now=lambda: end - 0.5) as running,
        showing(running, authority, shown) as channel,
    ):
        calling = asyncio.ensure_future(unary_call(channel)(b""))
        await begun.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await calling
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await ended.wait()
        assert running.server.counts.drains == 1


async def test_a_certificate_that_has_expired(authority: Authority, tmp_path: Path) -> None:
    """A certificate that expires during the handshake opens no connection."""
    shown = authority.client()
    end = shown.parsed().not_valid_after_utc.timestamp()
    async with (
        serving(
            {PATH: Unary(echo)}, tls=asking(authority, tmp_path), now=lambda: end + 1
        ) as running,
        showing(running, authority, shown) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary_call(channel)(b"")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert running.server.counts.refused[Refusal.HANDSHAKES] >= 1


async def test_a_handshake_that_never_ends(authority: Authority, tmp_path: Path) -> None:
    """Clients that begin a handshake and stop are disconnected, and until then they are counted."""
    limits = Limits(handshake=0.3, max_connections=2)
    hello = bytes.fromhex("1603010200010001fc0303")
    async with serving({PATH: Unary(echo)}, limits, tls=asking(authority, tmp_path)) as running:
        slow = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(2)]
        for _, writer in slow:
            writer.write(hello)
        assert await answer(running.port, b"") == b""  # there is no room
        for reader, writer in slow:
            await reader.read()
            writer.close()
        assert running.server.counts.refused[Refusal.HANDSHAKES] == 2
        async with showing(running, authority, authority.client()) as channel:
            assert await unary_call(channel)(b"well") == b"well"
