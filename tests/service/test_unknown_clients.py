"""Clients that nobody vouches for, or not any more, have nothing of what all clients share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from holdfast.protos import fleet_pb2
from holdfast.service.listeners import parse
from holdfast.service.rpc import first_messages
from holdfast.service.rpc.grpcio import OPTIONS
from holdfast.service.rpc.overload import RpcKind
from holdfast.service.trust.bearer import VerifiedToken
from holdfast.service.trust.rulebook import rulebook
from holdfast.service.trust.rules_in_force import RulesInForce
from holdfast.service.trust.tokens import Tokens
from tests.service.conftest import Fill
from tests.service.fleet import DEADLINE, Fleet, Frontend, eventually, refused, sha256
from tests.service.trusting import Caller, caller, trusting
from tests.trust.issuing import AUDIENCE, ISSUER, Signer, jwks

DENIED = StatusCode.PERMISSION_DENIED
FAR = {"exp": 4_000_000_000, "iat": 1}


def under_way(frontend: Frontend) -> dict[str, int]:
    """How much of each kind has passed its gate."""
    gates = frontend.running.frontend.overload.gates.items()
    return {kind.value: gate.under_way for kind, gate in gates if gate.under_way}


async def test_strangers_keep_no_stream_from_others(
    folder_fleet: Fleet, tmp_path: Path, unique: str, fill: Fill
) -> None:
    """Writes of a client that no rule matches are refused and logged, though it sends nothing."""
    door = await trusting(folder_fleet, tmp_path, max_streams=2)
    async with door.client("nobody") as stranger, door.client(f"system:node:{unique}") as node:
        silent = [stranger.write("r") for _ in range(3)]
        await eventually(lambda: len(door.lines(action="refuse", rpc="Write")) == len(silent))
        assert under_way(door.frontend) == {}
        await node.commit(unique, fill(100))
        for stream in silent:
            assert await stream.call.code() is DENIED


async def test_a_stranger_s_stream_gets_its_status(
    folder_fleet: Fleet, tmp_path: Path, fill: Fill
) -> None:
    """A client that no rule matches learns it, however large its first message is."""
    door = await trusting(folder_fleet, tmp_path)
    async with door.client("nobody") as stranger:
        for data in (b"", fill(4 * 2**20)):
            said = await refused(DENIED, stranger.write("r").send(pb.WRITE, data=data))
            assert "no rule of this listener matches" in said


@asynccontextmanager
async def with_tokens(
    fleet: Fleet, folder: Path, signer: Signer, **settings: Any
) -> AsyncIterator[tuple[Frontend, Callable[[str], Caller]]]:
    """A frontend that knows clients by tokens, and what calls it with one."""
    frontend = await fleet.frontend(audit=str(folder / "audit"), **settings)
    (folder / "keys").write_bytes(jwks(signer))
    url = (
        f"tcp://127.0.0.1:0?token=(.+)&token-issuer={ISSUER}&token-audience={AUDIENCE}"
        f"&token-keys={folder}/keys"
    )
    port = await frontend.servers.listen(parse(url))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        yield frontend, lambda token: caller(channel, ("authorization", f"Bearer {token}"))


CALLS: dict[str, Callable[[Caller], Awaitable[Any]]] = {
    "Info": lambda client: client.info(sha256(b"")),
    "List": lambda client: client.list(),
    "Read": lambda client: client.read(sha256(b"")),
    "Write": lambda client: client.write("r").send(pb.STAT),
    "Warm": lambda client: client.fleet.Warm(
        fleet_pb2.WarmRequest(digest=sha256(b"")), metadata=client.metadata
    ),
}


@pytest.mark.parametrize("rpc", CALLS)
async def test_who_waits_for_keys_is_not_under_way(
    folder_fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rpc: str
) -> None:
    """A call whose token waits for its issuer's keys passes no gate, and ends in time."""
    waiting = asyncio.Event()

    async def verify(_: Tokens, __: str) -> VerifiedToken:
        waiting.set()
        return await asyncio.Event().wait()  # type: ignore[return-value]  # it never ends

    signer = Signer()
    monkeypatch.setattr(Tokens, "verify", verify)
    async with with_tokens(folder_fleet, tmp_path, signer, call_deadline=1.0) as (frontend, by):
        asked = asyncio.ensure_future(CALLS[rpc](by(signer.token(**FAR))))
        await waiting.wait()
        assert under_way(frontend) == {}
        said = await refused(StatusCode.UNAVAILABLE, asked)
        assert f"{rpc} hasn't ended within 1 s" in said


@pytest.mark.parametrize("rpc", ["Flights", "Warm", "Blocks"])
async def test_the_fleet_s_rpcs_have_a_limit(folder_fleet: Fleet, tenant: str, rpc: str) -> None:
    """Where as many calls are under way as may be, the fleet's RPCs are refused too."""
    frontend = await folder_fleet.frontend(max_calls=1)
    digest = sha256(b"hello")
    await frontend.tenant(tenant).commit("r", b"hello")
    stub = caller(frontend.channel).fleet
    metadata = frontend.tenant(tenant).metadata
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "Flights": lambda: stub.Flights(fleet_pb2.FlightsRequest(), metadata=metadata),
        "Warm": lambda: stub.Warm(fleet_pb2.WarmRequest(digest=digest), metadata=metadata),
        "Blocks": lambda: stub.Blocks(fleet_pb2.BlocksRequest(digest=digest), metadata=metadata),
    }
    with ExitStack() as full:
        full.enter_context(frontend.running.frontend.overload.gates[RpcKind.CALLS])
        said = await refused(StatusCode.RESOURCE_EXHAUSTED, calls[rpc]())
        assert "HOLDFAST_MAX_CALLS" in said
    await calls[rpc]()


async def test_a_stream_without_a_message_ends(
    folder_fleet: Fleet, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A known client's stream that sends nothing ends too, and makes room for others."""
    frontend = await folder_fleet.frontend(max_streams=1, transport="own")
    client = frontend.tenant(tenant)
    monkeypatch.setattr(first_messages, "STILL", 0.05)
    silent = client.stub.Write(metadata=client.metadata, timeout=DEADLINE)
    assert await silent.code() is StatusCode.UNAVAILABLE
    assert "nothing of this stream's first message" in (await silent.details() or "")
    await client.commit("r", b"hello")


async def test_a_token_that_has_ended_commits_nothing(
    folder_fleet: Fleet, tmp_path: Path, unique: str, fill: Fill
) -> None:
    """A stream whose token ends can't commit; with a new token the ingest continues."""
    signer, data = Signer(), fill(1000)
    async with with_tokens(folder_fleet, tmp_path, signer) as (frontend, by):
        client = by(signer.token(sub=unique, exp=3_000_000_000, iat=1))
        stream = client.write("r")
        await stream.send(pb.STAT, total=len(data))
        await stream.send(pb.WRITE, data=data)
        [source] = frontend.running.frontend.recognizers._sources
        assert source.in_force.tokens is not None
        source.in_force.tokens._now = lambda: 3_000_000_061.0
        said = await refused(DENIED, stream.send(pb.COMMIT, offset=len(data)))
        assert "the bearer token ended" in said
        renewed = by(signer.token(sub=unique, **FAR))
        stream = renewed.write("r")
        assert (await stream.send(pb.STAT)).offset == len(data)
        assert (await stream.send(pb.COMMIT)).digest == sha256(data)


OTHERS = """
[[rules]]
name = "others"
cn = "system:node:.+"
tenant = "another"
"""


@pytest.mark.parametrize("action", [pb.COMMIT, pb.ABORT])
@pytest.mark.parametrize("changed", ["no rule", "another tenant"])
async def test_a_client_without_its_rule_ends_no_ingest(
    folder_fleet: Fleet, tmp_path: Path, unique: str, action: int, changed: str
) -> None:
    """On an open stream, COMMIT and ABORT need the rules by which it could be opened now."""
    door = await trusting(folder_fleet, tmp_path)
    rules = door.frontend.running.frontend.recognizers._file
    assert rules is not None
    async with door.client(f"system:node:{unique}") as node:
        stream = node.write(unique)
        await stream.send(pb.WRITE, data=b"hello")
        before = rules.in_force
        others = [rule for rule in rulebook(OTHERS.encode()).rules if changed != "no rule"]
        rules.in_force = RulesInForce(tuple(others), None)
        await refused(DENIED, stream.send(action))
        assert [line["rpc"] for line in door.lines(action="refuse")] == ["Write"]
        rules.in_force = before
        [kept] = await node.statuses()
        assert (kept.ref, kept.offset) == (unique, 5)
