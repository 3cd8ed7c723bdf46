"""What a handler knows of its client."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.transport import Call, Peer, Unary
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
