"""Metrics: what docs/operations.md says of them is what a scrape finds, and RPCs add up."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

import grpc
import pytest
from grpc import StatusCode
from prometheus_client import CollectorRegistry

from holdfast import request_counts
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc, fleet_pb2
from holdfast.request_counts import Outcome, RetryCause
from holdfast.service.holdings.quotas import Quota
from holdfast.service.process.frontend_metrics import BOUNDS, DAMAGE
from holdfast.service.process.metrics import REFUSED
from holdfast.service.process.request_figures import RequestFigures
from holdfast.service.process.rpc_figures import BOUNDS_OF, RpcFigures
from holdfast.service.reading.quarantine import QuarantineOutcome
from holdfast.service.rpc.content import SERVICE
from holdfast.service.rpc.overload import RpcKind
from holdfast.service.trust.identity import Role
from holdfast.storage.port import ObjectStore
from holdfast.storage.run_reports import Reporter
from holdfast.transport.status import Code, Status
from tests.agent.stage import agent_of
from tests.agent.test_tls import shown, tls_address
from tests.project import pages
from tests.servers.authority import Authority
from tests.servers.process import free_port
from tests.service.conftest import Fill
from tests.service.figures import check_rpcs, ended, samples, shapes
from tests.service.fleet import Fleet, Frontend, Tenant, eventually, refused, sha256
from tests.service.transports import TRANSPORTS
from tests.service.trusting import Trusting, trusting
from tests.storage.test_run_reports import DONE

MIB: Final = 2**20
HELLO: Final = sha256(b"hello")
TENANTS: Final = 1_000
MOST: Final = 400
"""Series of a frontend that is well …"""
MOST_AFTER_AN_OUTAGE: Final = 460
"""… and of one each of whose RPCs and requests has failed in each way of an outage."""
ENDS: Final = (Code.OK, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED)
OUTCOMES: Final[Mapping[str, Sequence[Outcome]]] = {
    "store": (Outcome.OK, Outcome.THROTTLED, Outcome.FAILED, Outcome.UNANSWERED),
    "redis": (Outcome.OK, Outcome.UNANSWERED),
}
CAUSES: Final[Mapping[str, Sequence[Outcome | RetryCause]]] = {
    "store": (
        *(Outcome.THROTTLED, Outcome.FAILED, Outcome.UNANSWERED),
        *(RetryCause.CHANGED, RetryCause.CUT, RetryCause.FOREIGN),
    ),
    "redis": (Outcome.UNANSWERED, RetryCause.MOVED),
}
ON_S3: Final = pytest.param("minio", marks=pytest.mark.minio)
ROW: Final = re.compile(r"^\| `(\w+)` \| (\w+)([^|]*) \| (frontend|agent|both) \|", re.MULTILINE)


def table(who: str) -> dict[str, tuple[str, frozenset[str]]]:
    """The metrics that the documentation lists for a kind of process, each with its labels."""
    page = pages.text("docs/operations.md")
    return {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels.partition(":")[0])))
        for name, kind, labels, of in ROW.findall(page)
        if of in {who, "both"}
    }


@pytest.fixture
async def trusted(fleet: Fleet, tmp_path: Path) -> Trusting:
    """A frontend with all that has metrics of its own."""
    (tmp_path / "quotas").write_text("")
    return await trusting(
        fleet, tmp_path, quotas=str(tmp_path / "quotas"), disk_cache_budget=64 * MIB
    )


async def use(client: Tenant, fill: Fill) -> None:
    """Calls all RPCs, each of which succeeds, and some of which fail as well."""
    blob = fill(6 * MIB)
    digest = sha256(blob)
    await refused(StatusCode.NOT_FOUND, client.info(digest))
    await client.commit("ref", blob, total=len(blob), expected=digest)
    await client.info(digest)
    await client.update(digest, {"a": "b"})
    await client.list()
    assert await client.read(digest) == blob
    stream = client.write("other")
    await stream.send(pb.WRITE, data=b"x")
    await client.status("other")
    await client.statuses()
    await stream.half_close()
    await client.abort("other")
    await client.delete(digest)


async def use_as_operator(trusted: Trusting, digest: str) -> None:
    """Calls the RPCs of the fleet as a node, as an operator and as a client that may not."""
    for name in ("system:node:a", "operator"):
        async with trusted.client(name) as client:
            await client.fleet.Flights(fleet_pb2.FlightsRequest())
            with pytest.raises(grpc.aio.AioRpcError):
                await client.fleet.Warm(fleet_pb2.WarmRequest(digest=digest))
    async with trusted.client("system:node:a") as client:
        with pytest.raises(grpc.aio.AioRpcError):
            await client.fleet.Blocks(fleet_pb2.BlocksRequest(digest=digest))
    async with trusted.client("reader:a") as client:
        await client.list()
        await refused(StatusCode.PERMISSION_DENIED, client.delete(digest))
    async with trusted.client("stranger") as client:
        await refused(StatusCode.PERMISSION_DENIED, client.info(digest))


async def show_reports(trusted: Trusting, store: ObjectStore) -> None:
    """Has a frontend show a run of each program."""
    for reporter in Reporter:
        DONE.write(store, reporter)
    await trusted.frontend.running.reports.look()


def registry_of(frontend: Frontend) -> CollectorRegistry:
    """A frontend's metrics."""
    return frontend.running.frontend.metrics.registry


@pytest.mark.parametrize("store", ["folder", ON_S3], indirect=True)
async def test_the_table_is_what_a_frontend_has(
    trusted: Trusting, fill: Fill, store: ObjectStore
) -> None:
    """A frontend has the metrics of the table, with its kinds and labels, and no others."""
    await show_reports(trusted, store)
    async with trusted.client("system:node:a") as client:
        await use(client, fill)
    assert shapes(registry_of(trusted.frontend)) == table("frontend")


async def test_the_table_is_what_an_agent_has(
    folder_fleet: Fleet, tenant: str, fill: Fill, tmp_path: Path
) -> None:
    """An agent has the metrics of the table that are its own, and no others."""
    authority = Authority()
    address = await tls_address(folder_fleet, authority, tmp_path)
    cache = {"data_dir": tmp_path / "agent", "disk_cache_budget": 64 * MIB}
    certificate = shown(authority, tmp_path, f"node-{tenant}")
    async with agent_of([address], tenant, **certificate, **cache) as agent:
        await use(agent.tenant, fill)
        registry = agent.running.parts.metrics.registry
        assert shapes(registry) == table("agent")
        await check_rpcs(registry)


async def test_an_agent_counts_what_frontends_dont_answer(tenant: str) -> None:
    """A call that no frontend answers is a loss, is counted once, and nothing stays under way."""
    async with agent_of([f"127.0.0.1:{free_port()}"], tenant, call_deadline=1) as agent:
        await refused(StatusCode.UNAVAILABLE, agent.tenant.info(HELLO))
        registry = agent.running.parts.metrics.registry
        assert agent.counted("holdfast_agent_frontend_losses_total") >= 1
        assert agent.counted("holdfast_agent_frontend_calls") == 0
        assert ended(registry, "Info") == {"UNAVAILABLE": 1}
        await check_rpcs(registry)


@pytest.mark.parametrize("store", [ON_S3], indirect=True)
async def test_a_thousand_tenants_have_no_series(
    trusted: Trusting, tenant: str, fill: Fill, store: ObjectStore
) -> None:
    """A frontend has 400 series at most, whoever it serves, and 460 after an outage of all."""
    await show_reports(trusted, store)
    for batch in range(0, TENANTS, 50):
        calls = [
            refused(StatusCode.NOT_FOUND, trusted.frontend.tenant(f"{tenant}-{n}").info(HELLO))
            for n in range(batch, batch + 50)
        ]
        await asyncio.gather(*calls)
    async with trusted.client("system:node:a") as client:
        await use(client, fill)
    await use_as_operator(trusted, HELLO)
    registry = registry_of(trusted.frontend)
    assert ended(registry, "Info")["NOT_FOUND"] == TENANTS + 1
    assert not any(tenant in value for one in samples(registry) for value in one.labels.values())
    check_count(registry, MOST)
    fail_in_each_way(trusted.frontend)
    check_count(registry, MOST_AFTER_AN_OUTAGE)


def check_count(registry: CollectorRegistry, most: int) -> None:
    """Checks how many series there are."""
    found = samples(registry)
    assert len(found) <= most, sorted(Counter(one.name for one in found).items())


def fail_in_each_way(frontend: Frontend) -> None:
    """Counts each end that RPCs and requests have in an outage, and each cause of a retry."""
    registry = registry_of(frontend)
    for package in (pb, fleet_pb2):
        for service in package.DESCRIPTOR.services_by_name.values():
            for method, code in product(service.methods, ENDS):
                with frontend.running.frontend.metrics.watch(method.name, Call(code)) as watch:
                    watch.role = Role.NODE
    for guarded in list(registry._collector_to_names):
        figures = getattr(guarded, "_inner", None)
        if isinstance(figures, RequestFigures):
            name, counts = figures._name, figures._counts
            for operation, outcome in product(operations(name), OUTCOMES[name]):
                counts.ended(operation, outcome, 1.0)
            for cause in CAUSES[name]:
                counts.retried(cause)


def operations(backend: str) -> list[str]:
    """The operations of a backend that the documentation lists."""
    row = re.search(rf"`holdfast_{backend}_requests_total`.*", pages.text("docs/operations.md"))
    assert row
    return re.findall(r"`(\w+)`", row[0].partition("`operation` is ")[2])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_rpc_counts_once_however_it_ends(
    folder_fleet: Fleet, tenant: str, transport: str
) -> None:
    """Each end is one RPC, under the code that its client was told, and each is timed."""
    frontend = await folder_fleet.frontend(transport=transport, max_streams=3)
    client, registry = frontend.tenant(tenant), registry_of(frontend)
    await client.commit("ref", b"hello")
    # Deadlines.
    late = Tenant(client.stub, client.metadata, deadline=0.2)
    await refused(StatusCode.DEADLINE_EXCEEDED, late.write("late").call.read())
    # Clients that leave: by a reset, and by a lost connection.
    streams = [client.write("left")]
    await streams[0].send(pb.WRITE, data=b"x")
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{frontend.port}", [("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        other = Tenant(content_pb2_grpc.ContentStub(channel), client.metadata).write("lost")
        await other.send(pb.WRITE, data=b"x")
        # One too many, and one of nobody.
        streams.append(client.write("third"))
        await streams[1].send(pb.WRITE, data=b"x")
        await refused(StatusCode.RESOURCE_EXHAUSTED, client.write("more").send(pb.STAT))
        nobody = Tenant(client.stub, ())
        await refused(StatusCode.PERMISSION_DENIED, nobody.write("ref").send(pb.STAT))
    for stream in streams:
        stream.cancel()
    await check_rpcs(registry)
    found = ended(registry, "Write")
    # A client leaves at its deadline, and what comes first at the server is a matter of chance.
    found["left"] = found.pop("CANCELLED") + found.pop("DEADLINE_EXCEEDED", 0)
    assert found == {
        "OK": 1,
        "left": 4,
        "RESOURCE_EXHAUSTED": 1,
        "PERMISSION_DENIED unknown": 1,
    }


@dataclass
class Call:
    """A call that has ended as its transport says, if it says anything."""

    ended: Code | None = None
    attachment: None = None


@pytest.mark.parametrize(
    ("error", "told", "code"),
    [
        (None, None, Code.OK),
        (Status(Code.NOT_FOUND), None, Code.NOT_FOUND),
        (asyncio.CancelledError(), None, Code.CANCELLED),
        (ValueError("a bug"), None, Code.INTERNAL),
        (asyncio.CancelledError(), Code.DEADLINE_EXCEEDED, Code.DEADLINE_EXCEEDED),
        (Status(Code.CANCELLED), Code.UNAVAILABLE, Code.UNAVAILABLE),
        (None, Code.CANCELLED, Code.CANCELLED),
    ],
)
def test_the_code_is_the_one_that_the_client_was_told(
    error: BaseException | None, told: Code | None, code: Code
) -> None:
    """What the transport has told counts, else what was raised, else OK."""
    figures = RpcFigures(lambda: 1.0)

    def serve() -> None:
        with figures.watch("Info", Call(told)) as watch:
            watch.role = "node"
            if error:
                raise error

    with pytest.raises(type(error)) if error else nullcontext():
        serve()
    registry = CollectorRegistry()
    registry.register(figures)
    assert ended(registry, "Info") == {code.name: 1}


def all_ended(registry: CollectorRegistry, rpc: str, count: int) -> bool:
    """Whether so many calls of an RPC have ended."""
    return ended(registry, rpc).total() == count


async def test_rpcs_count_whose_request_does_not_come(folder_fleet: Fleet) -> None:
    """No handler begins for them: they count as their clients learn how they ended."""
    frontend = await folder_fleet.frontend(transport="own")
    registry = registry_of(frontend)
    for rpc in ("Info", "Read"):
        call: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = frontend.channel.stream_unary(
            f"/{SERVICE}/{rpc}"
        )
        await refused(StatusCode.UNIMPLEMENTED, call(iter(())))
        silent = call(timeout=0.2)
        await refused(StatusCode.DEADLINE_EXCEEDED, silent)
        left = call()
        await left.write(b"\x0a")
        left.cancel()
    for rpc in ("Info", "Read"):
        await eventually(partial(all_ended, registry, rpc, 3))
        found = ended(registry, rpc)
        # A client leaves at its deadline, and what comes first is a matter of chance.
        late = found.pop("CANCELLED unknown") + found.pop("DEADLINE_EXCEEDED unknown", 0)
        assert (late, found) == (2, {"UNIMPLEMENTED unknown": 1})
    await check_rpcs(registry)


async def test_reads_that_need_no_task_count_too(folder_fleet: Fleet, tenant: str) -> None:
    """A Read from memory counts once, and so does one that is refused there."""
    frontend = await folder_fleet.frontend(transport="own", max_reads=1)
    client, registry = frontend.tenant(tenant), registry_of(frontend)
    data = bytes(100_000)
    await client.commit("ref", data)
    for _ in range(3):
        await client.read(sha256(data), 0, 1_000)
    frontend.running.frontend.overload.gates[RpcKind.READS].under_way += 1
    await refused(StatusCode.RESOURCE_EXHAUSTED, client.read(sha256(data), 0, 1_000))
    await refused(StatusCode.PERMISSION_DENIED, Tenant(client.stub, ()).read(sha256(data), 0, 9))
    await check_rpcs(registry)
    assert ended(registry, "Read") == {
        "OK": 3,
        "RESOURCE_EXHAUSTED": 1,
        "PERMISSION_DENIED unknown": 1,
    }


async def test_exemplars(folder_fleet: Fleet, tenant: str) -> None:
    """A bucket shows the trace of an RPC that lasted so long, if OpenMetrics is asked for."""
    frontend = await folder_fleet.frontend()
    metrics = frontend.running.frontend.metrics
    metrics.rpcs.exemplar = lambda: {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
    await refused(StatusCode.NOT_FOUND, frontend.tenant(tenant).info(HELLO))
    text, kind = metrics.exposed("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    shown = re.findall(
        r'^holdfast_rpc_seconds_bucket\{.*rpc="Info"\} .* # (\{.*\})', text.decode(), re.MULTILINE
    )
    assert shown == ['{trace_id="4bf92f3577b34da6a3ce929d0e0e4736"}']
    assert text.endswith(b"# EOF\n")
    plain, kind = metrics.exposed("")
    assert kind.startswith("text/plain")
    assert b"trace_id" not in plain


def test_rare_events_are_shown_from_the_start() -> None:
    """The labels that are shown before anything has happened are all that there are."""
    assert set(REFUSED) == set(RpcKind)
    assert set(BOUNDS) <= {*Quota.__slots__, "fleet"}
    assert set(DAMAGE) == set(QuarantineOutcome)


def percentile(bounds: Sequence[float], seconds: float) -> float:
    """What Prometheus makes of the 99th percentile if all calls last so long."""
    upper = next(bound for bound in bounds if bound >= seconds)
    lower = max((bound for bound in bounds if bound < seconds), default=0.0)
    return lower + 0.99 * (upper - lower)


@pytest.mark.parametrize("bounds", [BOUNDS_OF["Write"], BOUNDS_OF["Read"], request_counts.BOUNDS])
def test_a_percentile_is_near_the_truth(bounds: Sequence[float]) -> None:
    """No bucket is so wide that calls of the usual durations look three times as long."""
    for seconds in (0.025, 0.06, 0.11, 0.15, 0.21, 0.3, 0.5):
        assert percentile(bounds, seconds) < 3 * seconds, seconds
