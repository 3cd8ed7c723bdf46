"""Roles: what each may do, and what becomes of the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from holdfast.protos import fleet_pb2, fleet_pb2_grpc
from holdfast.service.listeners import parse
from holdfast.service.rpc.grpcio import OPTIONS
from tests.service.conftest import Fill
from tests.service.fleet import HEADER, Fleet, Tenant, refused, sha256
from tests.service.trusting import Trusting, caller, trusting
from tests.trust.issuing import AUDIENCE, ISSUER, Signer, jwks

DENIED = StatusCode.PERMISSION_DENIED


@pytest.fixture
async def door(folder_fleet: Fleet, tmp_path: Path) -> Trusting:
    """A frontend that knows its clients by their certificates."""
    return await trusting(folder_fleet, tmp_path)


def asked(tenant: Tenant, rpc: str, digest: str, ref: str) -> Awaitable[Any]:
    """The answer to an RPC."""
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "Info": lambda: tenant.info(digest),
        "Update": lambda: tenant.update(digest, {"a": "b"}),
        "List": tenant.list,
        "Delete": lambda: tenant.delete(digest),
        "Read": lambda: tenant.read(digest),
        "Status": lambda: tenant.status(ref),
        "ListStatuses": tenant.statuses,
        "Write": lambda: tenant.write(ref).send(pb.STAT),
        "Abort": lambda: tenant.abort(ref),
    }
    return calls[rpc]()


WRITES = ("Write", "Update", "Delete", "Abort")
READS = ("Info", "List", "Read", "Status", "ListStatuses")


async def test_a_reader_reads_and_changes_nothing(door: Trusting, fill: Fill, unique: str) -> None:
    """A reader sees what its tenant has, and each RPC that would change it is refused."""
    data, ref = fill(1000), f"{unique}-open"
    async with (
        door.client(f"system:node:{unique}") as node,
        door.client(f"reader:{unique}") as reader,
    ):
        await node.commit(unique, data)
        stream = node.write(ref)
        await stream.send(pb.STAT, total=10)
        for rpc in READS:
            assert await asked(reader, rpc, sha256(data), ref)
        for rpc in WRITES:
            text = await refused(DENIED, asked(reader, rpc, sha256(data), ref))
            assert f"{rpc} needs the role node" in text
            assert "rule 'readers'" in text
            line = door.line(action="refuse", rpc=rpc)
            assert (line["tenant"], line["role"], line["outcome"]) == (
                unique,
                "reader",
                "PERMISSION_DENIED",
            )
        assert (await stream.send(pb.WRITE, data=b"x")).offset == 1
        await stream.half_close()
        assert await node.read(sha256(data)) == data


async def test_a_reader_s_question_makes_no_hold(door: Trusting, fill: Fill, unique: str) -> None:
    """What only others hold is NOT_FOUND for a reader's Info, and stays what others hold."""
    data = fill(1000)
    async with (
        door.client(f"system:node:{unique}-a") as node,
        door.client(f"reader:{unique}-b") as reader,
        door.client(f"system:node:{unique}-b") as other,
    ):
        await node.commit(unique, data)
        await refused(StatusCode.NOT_FOUND, reader.info(sha256(data)))
        assert await reader.list() == []
        assert (await other.info(sha256(data))).size == 1000
        assert (await reader.info(sha256(data))).size == 1000


async def test_an_operator_is_no_tenant(door: Trusting, fill: Fill, unique: str) -> None:
    """An operator has what concerns the fleet, and no content."""
    data = fill(1000)
    async with door.client(f"system:node:{unique}") as node, door.client("operator") as operator:
        await node.commit(unique, data)
        for rpc in (*READS, *WRITES):
            text = await refused(DENIED, asked(operator, rpc, sha256(data), "r"))
            assert "gives this client the role operator" in text
        stub = operator.fleet
        flights = (await stub.Flights(fleet_pb2.FlightsRequest())).flights
        assert [one for one in flights if unique in one.leader] == []
        reply = await stub.Warm(fleet_pb2.WarmRequest(digest=sha256(data)))
        assert reply.size == 1000
        assert (await stub.Overview(fleet_pb2.OverviewRequest())).frontends


async def test_a_reader_warms_nothing(door: Trusting, unique: str) -> None:
    """A reader may see what the fleet is writing, and has nothing retained."""
    async with door.client(f"reader:{unique}") as reader:
        stub = reader.fleet
        flights = (await stub.Flights(fleet_pb2.FlightsRequest())).flights
        assert [one for one in flights if unique in one.leader] == []
        warm = stub.Warm(fleet_pb2.WarmRequest(digest=sha256(b"")))
        assert "Warm needs the role node or operator" in await refused(DENIED, warm)


@pytest.mark.parametrize("rpc", ["Flights", "Warm", "Overview"])
async def test_the_fleet_s_rpcs_ask_who_calls(folder_fleet: Fleet, rpc: str) -> None:
    """What concerns the fleet is for those whom the listener knows, as all other RPCs are."""
    frontend = await folder_fleet.frontend()
    stub = fleet_pb2_grpc.FleetStub(frontend.channel)
    requests: dict[str, Any] = {
        "Flights": fleet_pb2.FlightsRequest(),
        "Warm": fleet_pb2.WarmRequest(digest=sha256(b"")),
        "Overview": fleet_pb2.OverviewRequest(),
    }
    await refused(DENIED, getattr(stub, rpc)(requests[rpc]))


@pytest.mark.parametrize("transport", ["own", "grpcio"])
async def test_tokens_are_accepted_on_both_transports(
    folder_fleet: Fleet, tmp_path: Path, fill: Fill, unique: str, transport: str
) -> None:
    """A token names its tenant for all kinds of RPCs, and without one nothing is answered."""
    frontend = await folder_fleet.frontend(transport=transport, audit=str(tmp_path / "audit"))
    signer, data = Signer(), fill(1000)
    (tmp_path / "keys").write_bytes(jwks(signer))
    url = (
        f"tcp://127.0.0.1:0?token=node:(.+)&token-issuer={ISSUER}&token-audience={AUDIENCE}"
        f"&token-keys={tmp_path}/keys"
    )
    port = await frontend.servers.listen(parse(url))
    token = signer.token(sub=f"node:{unique}", exp=4e9, iat=1)
    metadata = (("authorization", f"Bearer {token}"),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        node = caller(channel, *metadata)
        await node.commit(unique, data)
        assert await node.read(sha256(data)) == data
        assert [info.size for info in await node.list()] == [1000]
        assert (await node.info(sha256(data))).size == 1000
        node.metadata = ((HEADER, unique),)
        for rpc in (*READS, *WRITES):
            await refused(DENIED, asked(node, rpc, sha256(data), "r"))


@pytest.mark.parametrize("rpc", WRITES)
async def test_a_reader_with_a_new_token_changes_nothing_either(
    folder_fleet: Fleet, tmp_path: Path, unique: str, rpc: str
) -> None:
    """The role counts for the first call with a token, whose verification it waits for."""
    frontend = await folder_fleet.frontend()
    signer = Signer()
    (tmp_path / "keys").write_bytes(jwks(signer))
    url = (
        f"tcp://127.0.0.1:0?token=(.+)&token-issuer={ISSUER}&token-audience={AUDIENCE}"
        f"&token-keys={tmp_path}/keys&role=reader"
    )
    port = await frontend.servers.listen(parse(url))
    token = signer.token(sub=unique, exp=4e9, iat=1)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        reader = caller(channel, ("authorization", f"Bearer {token}"))
        text = await refused(DENIED, asked(reader, rpc, sha256(b""), "r"))
    assert f"{rpc} needs the role node" in text
