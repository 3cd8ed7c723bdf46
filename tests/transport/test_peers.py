"""What a handler knows of its client."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from holdfast.transport import Call, Peer, Unary
from holdfast.transport.peers import peer_of
from tests.transport.serving import PATH, serving, unary_call


async def peer_seen(path: Path | None = None) -> Peer:
    seen: list[Peer] = []

    async def handle(message: bytes, call: Call) -> bytes:
        seen.append(call.peer)
        return message

    async with serving({PATH: Unary(handle)}, path=path) as running, running.channel() as channel:
        await unary_call(channel)(b"")
    return seen[0]


async def test_a_unix_client_is_known_by_its_process(socket_folder: Path) -> None:
    """The process, user and group behind a unix socket are the kernel's word."""
    peer = await peer_seen(socket_folder / "s")
    assert peer == Peer("unix:", (os.getpid(), os.getuid(), os.getgid()))


async def test_a_tcp_client_is_known_by_its_address() -> None:
    """A client of TCP has an address, and neither credentials nor a certificate."""
    peer = await peer_seen()
    assert peer.address.startswith("ipv4:127.0.0.1:")
    assert peer.credentials is None
    assert peer.certificate is None


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("127.0.0.1", 5), "ipv4:127.0.0.1:5"),
        (("::ffff:127.0.0.1", 5, 0, 0), "ipv4:127.0.0.1:5"),
        (("fe80::1", 5, 0, 0), "ipv6:[fe80::1]:5"),
    ],
)
async def test_an_address_has_one_form(name: tuple[object, ...], address: str) -> None:
    """A client over IPv4 looks the same whether or not its listener serves IPv6, too."""
    assert peer_of(asyncio.BaseTransport({"peername": name})).address == address
