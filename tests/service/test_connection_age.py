"""Clients connect again from time to time, so that they spread over frontends that were added."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.service.listeners import parse
from holdfast.service.rpc import own
from tests.service.fleet import Fleet, Frontend, Tenant, eventually, sha256

AGE = 0.5
"""Seconds."""
NEVER = float("inf")


@pytest.fixture
async def frontend(folder_fleet: Fleet) -> Frontend:
    """A frontend with which connections soon are old."""
    return await folder_fleet.frontend(transport="own", connection_age=AGE)


async def test_an_old_connection_is_replaced(frontend: Frontend, tenant: str) -> None:
    """A client over TCP connects again and again, while each of its calls is answered."""
    client = frontend.tenant(tenant)
    await client.commit("ref", b"hello")

    async def replaced() -> bool:
        await client.info(sha256(b"hello"))
        return frontend.counted("holdfast_transport_accepted_total") >= 4

    await eventually(replaced)
    assert frontend.counted("holdfast_transport_drained_total") >= 3


async def test_a_stream_outlives_its_connections_age(frontend: Frontend, tenant: str) -> None:
    """A WRITE continues for as long as it likes on a connection that takes no new calls."""
    client = frontend.tenant(tenant)
    stream = client.write("ref")
    await stream.send(pb.STAT)
    await eventually(lambda: frontend.counted("holdfast_transport_drained_total") >= 1)
    await stream.send(pb.WRITE, offset=0, data=b"hello")
    assert (await stream.send(pb.COMMIT, offset=5)).digest == sha256(b"hello")


async def test_a_socket_of_this_machine_is_kept(
    frontend: Frontend, tenant: str, socket_folder: Path
) -> None:
    """A node's own connection never ends: there is nothing else that it could connect to."""
    await frontend.servers.listen(parse(f"unix://{socket_folder}/s?tenant={tenant}"))
    await frontend.tenant(tenant).commit("ref", b"hello")
    async with grpc.aio.insecure_channel(f"unix:{socket_folder}/s") as channel:
        local = Tenant(content_pb2_grpc.ContentStub(channel), ())
        await local.info(sha256(b"hello"))
        # The connection over TCP is older, and drained; nothing else may be.
        await eventually(lambda: frontend.counted("holdfast_transport_drained_total") >= 1)
        await asyncio.wait_for(_several_ages(frontend, tenant), 60)
        state = channel.get_state()
        assert state is grpc.ChannelConnectivity.READY
        await local.info(sha256(b"hello"))


async def _several_ages(frontend: Frontend, tenant: str) -> None:
    """Waits until a client over TCP has connected three more times."""
    client = frontend.tenant(tenant)
    until = frontend.counted("holdfast_transport_drained_total") + 3
    while frontend.counted("holdfast_transport_drained_total") < until:
        await client.info(sha256(b"hello"))


@pytest.mark.parametrize(
    ("url", "asked", "age", "grace"),
    [
        ("tcp://127.0.0.1:0?tenant=a", 300.0, 300.0, NEVER),
        ("tcp://127.0.0.1:0?tenant=a", 0.0, NEVER, NEVER),
        ("unix:///a?tenant=a", 300.0, NEVER, NEVER),
        ("tls://127.0.0.1:0?tenant=a&cert=/c&key=/k", 300.0, 300.0, NEVER),
        ("tls://127.0.0.1:0?tenant=a&cert=/c&key=/k&client-ca=/i", 300.0, 300.0, 3900.0),
        ("tls://127.0.0.1:0?tenant=a&cert=/c&key=/k&client-ca=/i", 0.0, 3600.0, 600.0),
        ("tls://127.0.0.1:0?tenant=a&cert=/c&key=/k&client-ca=/i", 7200.0, 3600.0, 600.0),
    ],
)
async def test_who_is_old_when(
    frontend: Frontend, url: str, asked: float, age: float, grace: float
) -> None:
    """Whoever has shown a certificate is gone 70 minutes later at the latest, as before."""
    limits = own.limits_of(frontend.running.frontend.overload, parse(url), asked)
    assert (limits.age, limits.age_grace) == (age, grace)
