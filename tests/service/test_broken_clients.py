"""Whatever a client breaks, it breaks for itself: no alert calls an operator because of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import pytest
from h2.errors import ErrorCodes
from prometheus_client import CollectorRegistry

from holdfast.protos import content_pb2 as pb
from holdfast.protos import fleet_pb2
from tests.agent.stage import agent_of
from tests.service.figures import check_rpcs, ended
from tests.service.fleet import HEADER, Fleet, Tenant
from tests.transport.raw_client import (
    RawClient,
    connected,
    data,
    headers,
    message,
    request_fields,
    reset,
)

PAGED: Final = {"INTERNAL", "UNKNOWN", "DATA_LOSS"}
"""The codes that call an operator: see the alert HoldfastFails."""
RPCS: Final = {
    method.name: f"/{service.full_name}/{method.name}"
    for package in (pb, fleet_pb2)
    for service in package.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
REF: Final = b"\x22\x03ref"
"""Field 4 of a WriteContentRequest."""

Fields = list[tuple[str, str]]
Break = Callable[[Fields], bytes]


def _ends(body: bytes) -> Break:
    return lambda fields: headers(1, fields) + data(1, body, end=True)


def _leaves(body: bytes) -> Break:
    return lambda fields: headers(1, fields) + data(1, body) + reset(1, ErrorCodes.CANCEL)


def _with(name: str, value: str) -> Break:
    whole = data(1, message(REF), end=True)
    return lambda fields: headers(1, [*fields, (name, value)]) + whole


BREAKS: Final[dict[str, Break]] = {
    "no message": _ends(b""),
    "a cut prefix": _ends(message(b"")[:3]),
    "a cut message": _ends(message(REF, size=1000)),
    "a cut message after a whole one": _ends(message(REF) + message(REF, size=1000)),
    "two messages": _ends(message(REF) + message(REF)),
    "a reset in a prefix": _leaves(message(b"")[:3]),
    "a reset in a message": _leaves(message(REF, size=1000)),
    "a reset after a message": _leaves(message(REF)),
    "a message marked as compressed": _ends(message(REF, flag=1)),
    "an unknown mark": _ends(message(REF, flag=7)),
    "not protobuf": _ends(message(b"\xff" * 40)),
    "text that isn't UTF-8": _ends(message(b"\x0a\x02\xff\xfe\x22\x02\xff\xfe")),
    "nested without end": _ends(message(b"\x0b" * 5000)),
    "a message that is too large": _ends(message(b"x" * 20, size=2**32 - 1)),
    "a timeout that is none": _with("grpc-timeout", "soon"),
    "a timeout of nothing": _with("grpc-timeout", "0n"),
    "the longest timeout": _with("grpc-timeout", "99999999H"),
    "binary metadata that isn't base64": _with("some-bin", "****"),
    "an unknown encoding": _with("grpc-encoding", "zip"),
    "a trace that is none": _with("traceparent", "00-" + "z" * 300),
    "a strange name": _with("x-request-id", "\x7f" * 200),
    "less than it says": _with("content-length", "4000"),
}


def paged(registry: CollectorRegistry) -> Counter[str]:
    """How many RPCs ended by a code that calls an operator."""
    found = Counter[str]()
    for rpc in RPCS:
        for code, count in ended(registry, rpc).items():
            if code.split()[0] in PAGED:
                found[f"{rpc} {code}"] += count
    return found


@dataclass(frozen=True)
class Server:
    """What clients break their RPCs at."""

    port: int
    registry: CollectorRegistry
    tenant: Tenant


@pytest.fixture(params=["own", "grpcio", "agent"])
async def server(
    folder_fleet: Fleet, tenant: str, request: pytest.FixtureRequest
) -> AsyncIterator[Server]:
    """A frontend on each of the transports, and an agent in front of one."""
    behind = request.param == "agent"
    frontend = await folder_fleet.frontend(transport="own" if behind else request.param)
    if not behind:
        registry = frontend.running.frontend.metrics.registry
        yield Server(frontend.port, registry, frontend.tenant(tenant))
        return
    async with agent_of([f"127.0.0.1:{frontend.port}"], tenant) as agent:
        yield Server(agent.port, agent.running.parts.metrics.registry, agent.tenant)


async def _end(client: RawClient) -> None:
    """Waits until the server has answered what was sent behind it."""
    await client.send(headers(3, request_fields("/no.such/Rpc"), end=True))
    async for received in client.frames():
        if received.stream == 3:
            return


@pytest.mark.parametrize("rpc", RPCS)
async def test_no_client_calls_an_operator(
    server: Server, tenant: str, rpc: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """An RPC that its client breaks, in any way, ends by no code of ours, and isn't our error."""
    fields = request_fields(RPCS[rpc], (HEADER, tenant))
    found = {}
    for name, broken in BREAKS.items():
        before = paged(server.registry)
        async with connected(server.port) as client:
            await client.greet()
            await client.send(broken(fields))
            await _end(client)
        await check_rpcs(server.registry)
        if new := paged(server.registry) - before:
            found[name] = dict(new)
    assert not found
    await server.tenant.commit("another", b"served all the same")
    assert "unexpected" not in capfd.readouterr().err
