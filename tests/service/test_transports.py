"""Whichever transport carries them, the RPCs are the same."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.errors import ConfigurationError
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.service.listeners import parse
from holdfast.service.rpc import health, reflection
from holdfast.service.rpc.content import SERVICE
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, Tenant, eventually, refused, sha256

MIB = 2**20


@pytest.fixture(params=["own", "grpcio"])
async def frontend(folder_fleet: Fleet, request: pytest.FixtureRequest) -> Frontend:
    """A frontend on each of the transports."""
    return await folder_fleet.frontend(transport=request.param)


async def test_a_blob(frontend: Frontend, tenant: str, fill: Fill) -> None:
    """A blob of several parts is written, broken off, continued, committed, read and deleted."""
    client, data = frontend.tenant(tenant), fill(20 * MIB)
    stream = client.write("ref")
    await stream.send(pb.STAT, total=len(data))
    await stream.write_all(data[: 9 * MIB + 7])
    await stream.half_close()
    again = client.write("ref")
    assert (await again.send(pb.STAT)).offset == 9 * MIB + 7
    await again.send(pb.WRITE, offset=9 * MIB + 7, data=data[9 * MIB + 7 : 15 * MIB])
    await again.send(pb.WRITE, offset=15 * MIB, data=data[15 * MIB :])
    reply = await again.send(pb.COMMIT, offset=len(data), labels={"a": "b"})
    assert reply.digest == sha256(data)
    assert await again.ended()
    assert (await client.info(reply.digest)).labels == {"a": "b"}
    assert await client.read(reply.digest, 3, 17 * MIB) == data[3 : 3 + 17 * MIB]
    assert [info.digest for info in await client.list()] == [reply.digest]
    await client.delete(reply.digest)
    assert await client.list() == []


async def test_many_small_messages(frontend: Frontend, tenant: str) -> None:
    """A thousand WRITEs of a few bytes are answered one by one, each with its offset."""
    client = frontend.tenant(tenant)
    stream = client.write("ref")
    await stream.send(pb.STAT)
    for number in range(1000):
        reply = await stream.send(pb.WRITE, offset=3 * number, data=b"abc")
        assert reply.offset == 3 * number + 3
    assert (await stream.send(pb.COMMIT, offset=3000)).digest == sha256(b"abc" * 1000)


async def test_errors(frontend: Frontend, tenant: str) -> None:
    """An error has its status and its text, signs of percent included."""
    client = frontend.tenant(tenant)
    assert "of 5%25" in await refused(StatusCode.NOT_FOUND, client.status("of 5%25"))
    await refused(StatusCode.INVALID_ARGUMENT, client.info("sha256:zz"))
    stream = client.write("ref")
    await refused(StatusCode.OUT_OF_RANGE, stream.send(pb.WRITE, offset=5, data=b"x"))


@pytest.mark.parametrize(
    ("path", "request_kind"),
    [
        (f"/{SERVICE}/Info", "InfoRequest"),
        (f"/{SERVICE}/Read", "ReadContentRequest"),
        (f"/{SERVICE}/Write", "WriteContentRequest"),
        (f"/{health.SERVICE}/Check", "HealthCheckRequest"),
        (f"/{health.SERVICE}/Watch", "HealthCheckRequest"),
        (f"/{reflection.SERVICE}/ServerReflectionInfo", "ServerReflectionRequest"),
    ],
)
async def test_bytes_that_are_no_request(
    frontend: Frontend, tenant: str, path: str, request_kind: str
) -> None:
    """Bytes that aren't the RPC's request are INVALID_ARGUMENT, and name what was expected."""
    call: Any = frontend.channel.stream_unary(path)
    metadata = (("x-holdfast-tenant", tenant),)
    answer = call(iter([b"\xff\xff"]), metadata=metadata, timeout=30)
    assert request_kind in await refused(StatusCode.INVALID_ARGUMENT, answer)


async def test_a_first_message_has_its_room(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """On our own transport a large message waits for the intake, even if it is a stream's first."""
    frontend = await folder_fleet.frontend(transport="own")
    intake, data = frontend.running.frontend.intake, fill(MIB)
    others = intake.stream()
    others.came(intake.size)
    stream = frontend.tenant(tenant).write("ref")
    writing = asyncio.ensure_future(stream.send(pb.WRITE, data=data))
    await eventually(lambda: intake.waiting == 1)
    assert not writing.done()
    others.handled()
    assert (await writing).offset == len(data)


async def test_a_client_that_leaves(frontend: Frontend, tenant: str, fill: Fill) -> None:
    """A stream whose client leaves keeps what it has received, and frees its ref."""
    stream = frontend.tenant(tenant).write("ref")
    await stream.write_all(fill(3 * MIB))
    stream.cancel()
    await eventually(lambda: frontend.counted("holdfast_streams") == 0)
    assert (await frontend.tenant(tenant).write("ref").send(pb.STAT)).offset == 3 * MIB


async def test_a_stream_that_was_accepted_is_served(folder_fleet: Fleet, tenant: str) -> None:
    """On our own transport a stream that begins just before a drain is served to its end."""
    frontend = await folder_fleet.frontend(transport="own")
    stream = frontend.tenant(tenant).write("ref")
    await eventually(lambda: frontend.counted("holdfast_transport_streams") == 1)
    drain = asyncio.ensure_future(frontend.servers.drain(60.0))
    await eventually(lambda: frontend.counted("holdfast_transport_drained_total") == 1)
    await stream.send(pb.STAT)
    assert (await stream.send(pb.COMMIT, data=b"hello")).digest == sha256(b"hello")
    assert await stream.ended()
    await drain
    assert frontend.running.frontend.sessions.draining


async def test_health_of_all(frontend: Frontend) -> None:
    """Health lists the statuses of all services, and those who watch learn of a drain."""
    stub = health_pb2_grpc.HealthStub(frontend.channel)
    listed = await stub.List(health_pb2.HealthListRequest())
    assert {name: one.status for name, one in listed.statuses.items()} == {"": 1, SERVICE: 1}
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    unknown = stub.Watch(health_pb2.HealthCheckRequest(service="no.such.Service"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    assert (await unknown.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    async with asyncio.timeout(60):  # not for the grace: there is nothing to wait for
        await frontend.servers.drain(600.0)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await watch.code() is StatusCode.UNAVAILABLE


async def test_a_unix_socket(frontend: Frontend, tenant: str, tmp_path: Path) -> None:
    """A unix socket has its mode, serves its tenant, and can't be taken while it is served."""
    path = tmp_path / "socket"
    listener = parse(f"unix://{path}?tenant={tenant}&mode=0620")
    assert await frontend.servers.listen(listener) == 0
    assert path.stat().st_mode & 0o777 == 0o620
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        client = Tenant(content_pb2_grpc.ContentStub(channel), ())
        await client.commit("ref", b"hello")
    assert await frontend.tenant(tenant).read(sha256(b"hello")) == b"hello"
    with pytest.raises(ConfigurationError, match="another server"):
        await frontend.servers.listen(listener)


async def test_users_that_grpcio_does_not_know(folder_fleet: Fleet, tmp_path: Path) -> None:
    """Rules by user are refused at the start on grpcio's server, where they'd match nobody."""
    (tmp_path / "rules").write_text('[[rules]]\nname = "r"\nuid = 0\ntenant = "a"\n')
    for transport, refused_ in (("own", False), ("grpcio", True)):
        one = await folder_fleet.frontend(transport=transport, identities=str(tmp_path / "rules"))
        for n, options in enumerate(("tenant=a&uids=0", "identities=1")):
            listener = parse(f"unix://{tmp_path}/{transport}{n}?{options}")
            if refused_:
                with pytest.raises(ConfigurationError, match=r"by user .* HOLDFAST_TRANSPORT=own"):
                    await one.servers.listen(listener)
            else:
                await one.servers.listen(listener)


async def test_a_socket_has_one_server_after_another(
    folder_fleet: Fleet, frontend: Frontend, tenant: str, tmp_path: Path
) -> None:
    """A frontend may take over the socket of one that drains, which leaves it alone at its end."""
    path = tmp_path / "socket"
    listener = parse(f"unix://{path}?tenant={tenant}")
    await frontend.servers.listen(listener)
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        stream = Tenant(content_pb2_grpc.ContentStub(channel), ()).write("ref")
        await stream.send(pb.STAT)
        drain = asyncio.ensure_future(frontend.servers.drain(60.0))
        await eventually(lambda: not path.exists())
        following = await folder_fleet.frontend()
        await following.servers.listen(listener)
        assert (await stream.send(pb.COMMIT, data=b"hello")).digest == sha256(b"hello")
        assert await stream.ended()
    await drain
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        client = Tenant(content_pb2_grpc.ContentStub(channel), ())
        assert await client.read(sha256(b"hello")) == b"hello"


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
async def test_all_addresses(frontend: Frontend, tenant: str, host: str) -> None:
    """A listener on all addresses serves those of both families, where there are two."""
    port = await frontend.servers.listen(parse(f"tcp://{host}:0?tenant={tenant}&insecure=1"))
    for address in ["127.0.0.1", "[::1]"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]:
        async with grpc.aio.insecure_channel(f"{address}:{port}") as channel:
            client = Tenant(content_pb2_grpc.ContentStub(channel), ())
            assert await client.list() == []


async def test_a_port_that_is_taken(frontend: Frontend) -> None:
    """A port that another server has is refused, with what to look at."""
    with pytest.raises(ConfigurationError, match="in use"):
        await frontend.servers.listen(parse(f"tcp://127.0.0.1:{frontend.port}?tenant=a"))
