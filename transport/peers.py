"""Who is at the other end of a connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from struct import Struct
from typing import Final

from holdfast.transport.certificates import Certificate, certificate_of

CREDENTIALS: Final = Struct("3i")
"""Linux's `struct ucred`: process, user, group."""

MAPPED: Final = "::ffff:"
"""How IPv4's addresses begin on a socket of both families (RFC 4291, section 2.5.5.2)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection."""

    address: str
    """As gRPC writes addresses: `ipv4:127.0.0.1:5`, `ipv6:[::1]:5`, `unix:`."""
    credentials: tuple[int, int, int] | None = None
    """Process, user and group of a unix socket's client, as the kernel knows them."""
    certificate: Certificate | None = None
    """What a client of TLS has shown, if the listener asks for it."""


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """Returns the client of a connection."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    name = transport.get_extra_info("peername")
    if sock is not None and sock.family == socket.AF_UNIX:
        return Peer("unix:", _credentials(sock))
    return Peer(_address(name), certificate=_certificate(transport))


def _address(name: object) -> str:
    match name:
        case (str() as host, int() as port):
            return f"ipv4:{host}:{port}"
        case (str() as host, int() as port, _, _) if host.startswith(MAPPED):
            return f"ipv4:{host.removeprefix(MAPPED)}:{port}"
        case (str() as host, int() as port, _, _):
            return f"ipv6:[{host}]:{port}"
        case _:
            return "unknown:"


def _credentials(sock: socket.socket) -> tuple[int, int, int] | None:
    if not hasattr(socket, "SO_PEERCRED"):  # only Linux has it
        return None
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, uid, gid = CREDENTIALS.unpack(raw)
    return pid, uid, gid


def _certificate(transport: asyncio.BaseTransport) -> Certificate | None:
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return None if tls is None else certificate_of(tls)
