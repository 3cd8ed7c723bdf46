"""The log's lines of RPCs: one for each, as long as there aren't too many."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.client import ContentStore
from holdfast.errors import NotFound
from holdfast.protos import content_pb2 as pb
from holdfast.service.process.logs import LEVELS
from holdfast.service.rpc.accounts import Accounts
from holdfast.service.rpc.call_log import CallLog
from holdfast.service.rpc.content import SERVICE
from holdfast.transport.peers import Peer
from holdfast.transport.status import Code, Status
from tests.agent.stage import agent_of
from tests.servers.process import wait_until
from tests.service.conftest import Fill
from tests.service.fleet import HEADER, Fleet, Frontend, eventually, refused, sha256
from tests.service.log_lines import ended, logged
from tests.service.processes import Served, connected, serving

MIB = 2**20
EXPECTED = Status(Code.NOT_FOUND, "there is none")
FAILURE = Status(Code.UNAVAILABLE, "Redis is away")


class Asked:
    """A call that has one request."""

    def __init__(self, rpc: str = "Info", digest: str = "", **metadata: str) -> None:
        self.attachment: Any = None
        self.path = f"/{SERVICE}/{rpc}"
        self.metadata = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
        self.peer = Peer("unix:")
        self.request = pb.InfoRequest(digest=digest).SerializeToString()
        self.received = self.sent_bytes = 0


class Clock:
    """A clock that tests set, in s."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def told(accounts: Accounts, status: Status | None = None, call: Asked | None = None) -> Any:
    """Carries out a call; returns what is added to its trailers."""
    call = call or Asked()
    accounts.begins(call)
    return accounts.ends(call, status)


@pytest.fixture(params=["own", "grpcio"])
async def frontend(folder_fleet: Fleet, request: pytest.FixtureRequest) -> Frontend:
    """A frontend on each of the transports."""
    return await folder_fleet.frontend(transport=request.param, log_rpcs=1000.0)


async def test_each_rpc_has_one_line(frontend: Frontend, tenant: str, fill: Fill) -> None:
    """A line says who asked, by which RPC, for what, how many bytes moved, and how it ended."""
    client, data = frontend.tenant(tenant), fill(2 * MIB)
    digest = sha256(data)
    with logged() as lines:
        await client.commit("a ref", data)
        await client.info(digest)
        await client.read(digest)
        await client.list()
        await refused(StatusCode.NOT_FOUND, client.status("another ref"))
        await client.delete(digest)
        await eventually(lambda: len(ended(lines)) == 6)
    found = ended(lines)
    assert [(line["rpc"], line["code"]) for line in found] == [
        ("Write", "OK"),
        ("Info", "OK"),
        ("Read", "OK"),
        ("List", "OK"),
        ("Status", "NOT_FOUND"),
        ("Delete", "OK"),
    ]
    about = [(line.get("ref"), line.get("digest")) for line in found]
    assert about == [
        ("a ref", None),
        (None, digest),
        (None, digest),
        (None, None),
        ("another ref", None),
        (None, digest),
    ]
    assert {line["tenant"] for line in found} == {tenant}
    assert {line["role"] for line in found} == {"node"}
    assert {line["log_level"] for line in found} == {"info"}
    assert all(line["peer"].startswith("ipv4:127.0.0.1:") for line in found)
    assert all(0 <= line["seconds"] < 30 for line in found)
    assert len({line["request_id"] for line in found}) == 6
    assert len(data) < found[0]["received_bytes"] < len(data) + 2000
    assert len(data) < found[2]["sent_bytes"] < len(data) + 100


async def test_a_stream_has_one_line_however_many_messages(frontend: Frontend, tenant: str) -> None:
    """A Write of a hundred messages is one line."""
    with logged() as lines:
        stream = frontend.tenant(tenant).write("ref")
        for number in range(100):
            await stream.send(pb.WRITE, offset=number, data=b"x")
        await stream.half_close()
        await eventually(lambda: ended(lines))
    assert [line["code"] for line in ended(lines)] == ["OK"]


async def test_a_failure_names_its_request(frontend: Frontend, tenant: str) -> None:
    """The trailers of a failure have the name under which the log has more."""
    with logged() as lines:
        call = frontend.tenant(tenant).stub.Status(
            pb.StatusRequest(ref=""), metadata=frontend.tenant(tenant).metadata
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        await eventually(lambda: ended(lines))
    (line,) = ended(lines)
    assert line["code"] == "INVALID_ARGUMENT"
    assert line["reason"] == caught.value.details()
    assert dict(caught.value.trailing_metadata())["x-request-id"] == line["request_id"]


async def test_the_clients_error_has_the_name(frontend: Frontend, tenant: str) -> None:
    """An exception of the client has the name under which the log has more."""

    def fail(store: ContentStore) -> list[str]:
        names = []
        for call in (store.info, store.get):
            with pytest.raises(NotFound) as caught:
                call(sha256(b"nothing"))
            names.append(caught.value.request_id)
        return names

    address = f"127.0.0.1:{frontend.port}"
    with logged() as lines, ContentStore(address, tenant=tenant, tenant_header=HEADER) as store:
        names = await asyncio.to_thread(fail, store)
        await eventually(lambda: set(names) <= {line["request_id"] for line in ended(lines)})
    assert len(set(names)) == 2


async def test_a_client_names_its_request(frontend: Frontend, tenant: str) -> None:
    """A client's own name of its request is used, in lines of other events, too."""
    client = frontend.tenant(tenant)
    client.metadata = (*client.metadata, ("x-request-id", "from-a-proxy"))
    with logged() as lines:
        await refused(StatusCode.NOT_FOUND, client.info(sha256(b"nothing")))
        await eventually(lambda: ended(lines))
    assert [line["request_id"] for line in ended(lines)] == ["from-a-proxy"]


async def test_an_agent_passes_the_name_on(folder_fleet: Fleet, tenant: str) -> None:
    """A request has one name in the log of the agent and in that of the frontend."""
    frontend = await folder_fleet.frontend(log_rpcs=1000.0)
    with logged() as lines:
        async with agent_of([f"127.0.0.1:{frontend.port}"], tenant, log_rpcs=1000.0) as agent:
            await refused(StatusCode.NOT_FOUND, agent.tenant.info(sha256(b"nothing")))
            await agent.tenant.commit("ref", b"some bytes")
            await eventually(lambda: len(ended(lines)) == 4)
    for rpc in ("Info", "Write"):
        both = [line for line in ended(lines) if line["rpc"] == rpc]
        assert len(both) == 2
        assert len({line["request_id"] for line in both}) == 1


@pytest.mark.parametrize(
    "name",
    ["", "x" * 65, "a b", "a\tb", "a;b", "ä", '"', "a,b"],
)
def test_a_malformed_name_is_replaced(name: str) -> None:
    """A name that is too long, or that isn't one word, isn't used."""
    accounts = Accounts(Clock(), [])
    (trailer,) = told(accounts, FAILURE, Asked(x_request_id=name))
    assert trailer[0] == "x-request-id"
    assert trailer[1] != name
    assert len(trailer[1]) == 16


def test_two_requests_have_two_names() -> None:
    """Names that are made here differ."""
    accounts = Accounts(Clock(), [])
    assert len({told(accounts, FAILURE)[0][1] for _ in range(1000)}) == 1000


def test_too_many_are_counted_instead() -> None:
    """Beyond the allowance there are no lines, and the next one says how many were omitted."""
    clock = Clock()
    accounts = Accounts(clock, [CallLog(1.0, clock)])
    with logged() as lines:
        for _ in range(100):
            told(accounts)
        assert len(ended(lines)) == 5
        assert not any("omitted" in line for line in lines)
        clock.now = 10.0
        told(accounts)
        told(accounts)
    assert [line.get("omitted") for line in ended(lines)[5:]] == [95, None]


def test_failures_come_first() -> None:
    """Half of the allowance is left for failures, whatever else there was."""
    clock = Clock()
    accounts = Accounts(clock, [CallLog(1.0, clock)])
    with logged() as lines:
        for _ in range(100):
            told(accounts, EXPECTED)
        for _ in range(100):
            told(accounts, FAILURE)
    codes = [line["code"] for line in ended(lines)]
    assert codes == ["NOT_FOUND"] * 5 + ["UNAVAILABLE"] * 5


def test_an_omitted_line_costs_no_name() -> None:
    """Nothing is made for a line that isn't written."""
    clock = Clock()
    accounts = Accounts(clock, [CallLog(1.0, clock)])
    with logged():
        for _ in range(10):
            told(accounts)
        call = Asked()
        told(accounts, None, call)
    assert call.attachment._name == ""


@pytest.mark.parametrize(("level", "per_second"), [("warning", 10.0), ("info", 0.0)])
def test_lines_that_nobody_wants(level: str, per_second: float) -> None:
    """Above level info, and with a rate of 0, there are no lines."""
    clock = Clock()
    accounts = Accounts(clock, [CallLog(per_second, clock)])
    with logged(level) as lines:
        told(accounts, FAILURE)
    assert lines == []


@pytest.mark.parametrize(
    "text", ["a\nb", "\x1b[2J", "\u202egnp.exe", "\x00", "\u2028x", "\x9b31m", "\udcff"]
)
def test_what_a_client_sent_is_escaped(text: str) -> None:
    """No text of a client's ends a line, or steers a terminal."""
    clock = Clock()
    accounts = Accounts(clock, [CallLog(10.0, clock)])
    with logged() as lines:
        status = Status(Code.INVALID_ARGUMENT, f"not {text}")
        told(accounts, status, Asked(digest=text.encode("utf-8", "replace").decode()))
    (line,) = ended(lines)
    assert line["digest"].isprintable()
    assert line["reason"].isprintable()


def test_what_a_client_sent_is_cut() -> None:
    """A line has a bounded length, whatever a client sent."""
    clock = Clock()
    accounts = Accounts(clock, [CallLog(10.0, clock)])
    with logged() as lines:
        told(accounts, Status(Code.INVALID_ARGUMENT, "x" * 10**6), Asked(digest="y" * 10_000))
        told(accounts, None, Asked(digest="y" * 10**6))
    assert len(str(ended(lines)[0])) < 3000
    assert "digest" not in ended(lines)[1]


async def test_health_checks_have_no_line(frontend: Frontend, tenant: str) -> None:
    """Probes are answered without a line."""
    with logged() as lines:
        health = health_pb2_grpc.HealthStub(frontend.channel)
        await health.Check(health_pb2.HealthCheckRequest())
        await refused(StatusCode.NOT_FOUND, frontend.tenant(tenant).info(sha256(b"nothing")))
        await eventually(lambda: ended(lines))
    assert [line["rpc"] for line in ended(lines)] == ["Info"]


async def test_signals_change_the_level(tmp_path: Path, tenant: str) -> None:
    """SIGUSR1 has a running frontend log everything, and SIGUSR2 what its settings say again."""
    with serving(tmp_path / "log", data_dir=tmp_path / "data") as served:

        async def ask() -> None:
            async with connected(served.address, tenant) as client:
                await refused(StatusCode.NOT_FOUND, client.info(sha256(b"nothing")))

        await ask()
        wait_until(lambda: served.event("RPC ended") is not None, "the line of an RPC")
        for number, to in ((signal.SIGUSR1, "debug"), (signal.SIGUSR2, "info")):
            served.process.send_signal(number)
            wait_until(partial(changed, served, to), f"level {to}")
        await ask()
        wait_until(lambda: len(ended(served.events())) == 2, "another line")
        assert served.terminate() == 0


def changed(served: Served, to: str) -> bool:
    """Whether a level was set."""
    return any(line.get("to") == to for line in served.events())


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_a_level_can_be_changed(level: str) -> None:
    """Events from the level up are logged, however often the level changes."""
    log = structlog.get_logger("holdfast.tests")
    for now in ("error", level):
        with logged(now) as lines:
            for method in ("debug", "info", "warning", "error"):
                getattr(log, method)("something happened")
        levels = list(LEVELS)
        assert [line["log_level"] for line in lines] == levels[levels.index(now) :]


async def test_an_account_that_fails_ends_no_rpc(
    frontend: Frontend, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients are answered although nobody can be told of their RPCs, and the log says so."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with logged() as lines:
        monkeypatch.setattr(frontend.running.frontend.accounts, "_told", (fail,))
        await refused(StatusCode.NOT_FOUND, frontend.tenant(tenant).info(sha256(b"nothing")))
        await frontend.tenant(tenant).commit("ref", b"hello")
    told_of = [line["rpc"] for line in lines if line["event"] == "RPC not accounted for"]
    assert told_of[0] == "Info"
    assert "Write" in told_of
