"""Listeners with TLS, on both transports: who gets in, and what handlers know of a client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import hashes
from grpc import StatusCode

from holdfast.service.listeners import parse
from holdfast.service.process.metrics import Metrics
from holdfast.service.rpc import grpcio, own
from holdfast.service.rpc.call import Call
from holdfast.service.rpc.server import Server
from holdfast.service.trust.rotation import Rotation
from holdfast.transport import Limits, Peer, Unary
from tests.servers.authority import SERVER, Authority, Issued
from tests.service.fleet import refused
from tests.transport.serving import PATH, unary_call

NODE = "spiffe://example.org/node/a"


@dataclass
class Door:
    """A listener with TLS, and what it has seen."""

    port: int
    trusted: Authority
    seen: list[Peer] = field(default_factory=list)

    @asynccontextmanager
    async def channel(self, shown: Issued | None = None) -> AsyncIterator[grpc.aio.Channel]:
        """A client's channel, which shows a certificate if it has one."""
        credentials = grpc.ssl_channel_credentials(
            self.trusted.pem, *((shown.key, shown.cert) if shown else ())
        )
        options = [("grpc.use_local_subchannel_pool", 1)]
        address = f"127.0.0.1:{self.port}"
        async with grpc.aio.secure_channel(address, credentials, options) as channel:
            yield channel

    async def call(self, shown: Issued | None = None) -> Peer:
        """Calls, and returns who has called, as the handler sees it."""
        async with self.channel(shown) as channel:
            await unary_call(channel)(b"", timeout=30)
        return self.seen[-1]

    async def refusal(self, shown: Issued | None) -> None:
        """Calls, and must not get in."""
        before = len(self.seen)
        async with self.channel(shown) as channel:
            await refused(StatusCode.UNAVAILABLE, unary_call(channel)(b"", timeout=30))
        assert len(self.seen) == before


async def served(transport: str, url: str, door: Door) -> tuple[Server, int]:
    """Serves a handler that notes its clients."""
    listener = parse(url)
    assert listener.tls is not None
    rotation = await asyncio.to_thread(Rotation, listener.name, listener.tls, time.time)

    async def handle(message: bytes | bytearray, call: Call) -> bytes:
        door.seen.append(call.peer)
        return bytes(message)

    if transport == "own":
        return await own.serve(
            listener, {PATH: Unary(handle)}, Limits(), Metrics(), tls=rotation.contexts
        )
    return await grpcio.serve(listener, {PATH: Unary(handle)}, rotation)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Issues what is trusted."""
    return Authority()


@pytest.fixture(params=["own", "grpcio"])
def transport(request: pytest.FixtureRequest) -> str:
    """What carries the RPCs."""
    return str(request.param)


@pytest.fixture
async def door(transport: str, authority: Authority, tmp_path: Path) -> AsyncIterator[Door]:
    """A listener that wants certificates."""
    cert, key = authority.server().write(tmp_path)
    ca = authority.write(tmp_path)
    door = Door(0, authority)
    server, door.port = await served(
        transport, f"tls://127.0.0.1:0?cert={cert}&key={key}&client-ca={ca}&tenant=a", door
    )
    yield door
    await server.stop(0)


async def test_a_client_is_known_by_its_certificate(door: Door, authority: Authority) -> None:
    """Handlers see the names, the number and the end of a client's certificate."""
    shown = authority.client(
        "system:node:a", uris=(NODE, "urn:b"), dns=("a.example.org",), addresses=("::1",)
    )
    peer, parsed = await door.call(shown), shown.parsed()
    assert peer.address.startswith("ipv4:127.0.0.1:")
    found = peer.certificate
    assert found is not None
    assert (found.uris, found.dns_names) == ((NODE, "urn:b"), ("a.example.org",))
    assert found.common_name == "system:node:a"
    assert int(found.serial, 16) == parsed.serial_number
    assert found.not_after == parsed.not_valid_after_utc.timestamp()
    assert found.fingerprint == parsed.fingerprint(hashes.SHA256()).hex()


async def test_a_certificate_without_names(door: Door, authority: Authority) -> None:
    """A certificate with a name of one kind has none of the others."""
    found = (await door.call(authority.client("", uris=(NODE,)))).certificate
    assert found is not None
    assert (found.uris, found.dns_names, found.common_name) == ((NODE,), (), "")


async def test_a_chain_leads_to_the_root(door: Door, authority: Authority) -> None:
    """A client of an intermediate issuer is accepted if it shows that issuer's certificate."""
    between = Authority("between", authority)
    shown = between.client()
    assert (await door.call(shown)).certificate is not None
    alone = Issued(shown.cert[: shown.cert.index(between.pem)], shown.key)
    await door.refusal(alone)


async def test_an_intermediate_may_be_trusted_alone(
    transport: str, authority: Authority, tmp_path: Path
) -> None:
    """If just an intermediate issuer is trusted, its clients get in, and no others of its root."""
    between = Authority("between", authority)
    cert, key = authority.server().write(tmp_path)
    ca = between.write(tmp_path)
    door = Door(0, authority)
    url = f"tls://127.0.0.1:0?cert={cert}&key={key}&client-ca={ca}&tenant=a"
    server, door.port = await served(transport, url, door)
    await door.call(between.client())
    await door.refusal(authority.client())
    await server.stop(0)


@pytest.mark.parametrize(
    "given",
    [{"ends": -60.0}, {"begins": 3600.0}, {"uses": (SERVER,)}],
    ids=["expired", "not yet valid", "a server's"],
)
async def test_a_certificate_that_does_not_fit(
    door: Door, authority: Authority, given: dict[str, Any]
) -> None:
    """A client whose certificate isn't valid now, or isn't a client's, doesn't get in."""
    await door.refusal(authority.client(**given))
    await door.call(authority.client())


async def test_strangers(door: Door, authority: Authority) -> None:
    """A client without a certificate, or with one of another issuer or its own, doesn't get in."""
    await door.refusal(None)
    await door.refusal(Authority().client())  # an issuer with the same name
    await door.refusal(Authority("node").issue("node", ca=True))
    await door.call(authority.client())


async def test_clients_need_no_certificate(
    transport: str, authority: Authority, tmp_path: Path
) -> None:
    """A listener without issuers of clients asks for no certificate, and knows of none."""
    cert, key = authority.server().write(tmp_path)
    door = Door(0, authority)
    server, door.port = await served(
        transport, f"tls://127.0.0.1:0?cert={cert}&key={key}&tenant=a", door
    )
    assert (await door.call()).certificate is None
    assert (await door.call(Authority().client())).certificate is None
    await server.stop(0)
