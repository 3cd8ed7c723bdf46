"""Traces: one request, from its client through an agent and a frontend to Redis and S3."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from grpc import StatusCode
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast.client import ContentStore
from holdfast.service.process.trace_export import TracedOutages
from holdfast.service.process.traces import PER_SECOND, STEPS, Traces, context_of
from holdfast.transport.status import Code
from tests.agent.stage import agent_of
from tests.project import pages
from tests.servers.otlp import ReceivedSpan, Receiver, receiver
from tests.servers.process import free_port, wait_until
from tests.servers.s3 import S3Server
from tests.service.conftest import Fill
from tests.service.fleet import HEADER, Fleet, refused, sha256
from tests.service.log_lines import logged
from tests.service.processes import serving

CONTENT = "containerd.services.content.v1.Content"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
"""The example of W3C's specification."""


@pytest.fixture
def spans() -> Iterator[Receiver]:
    """A collector."""
    with receiver() as running:
        yield running


def ended(received: Receiver, rpc: str, count: int = 1) -> list[ReceivedSpan]:
    """Waits for the spans of an RPC."""
    name = f"{CONTENT}/{rpc}"
    wait_until(lambda: len(received.named(name)) >= count, f"{count} spans of {rpc}")
    return received.named(name)


async def traced(fleet: Fleet, received: Receiver, **settings: Any) -> Any:
    """A frontend of this process that sends its spans to a collector."""
    return await fleet.frontend(traces=received.url, **settings)


async def test_a_client_decides(folder_fleet: Fleet, spans: Receiver, tenant: str) -> None:
    """An RPC is recorded in its client's trace, or not at all if the client doesn't record it."""
    frontend = await traced(folder_fleet, spans, traces_sampled=1.0)
    client = frontend.tenant(tenant)
    for parent in (SAMPLED.removesuffix("01") + "00", SAMPLED):
        client.metadata = ((HEADER, tenant), ("traceparent", parent))
        await refused(StatusCode.NOT_FOUND, client.info(sha256(b"nothing")))
    shown, _ = frontend.running.frontend.metrics.exposed("application/openmetrics-text")
    assert f'# {{trace_id="{TRACE}"}}' in shown.decode()
    await frontend.stop()
    (info,) = ended(spans, "Info")
    assert (info.trace, info.parent, info.kind) == (TRACE, SPAN, "server")
    assert info.attributes["rpc.system.name"] == "grpc"
    assert info.attributes["rpc.method"] == f"{CONTENT}/Info"
    assert info.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert info.attributes["holdfast.tenant"] == tenant
    assert info.attributes["holdfast.digest"] == sha256(b"nothing")
    assert not info.failed


@pytest.mark.parametrize("transport", ["own", "grpcio"])
async def test_steps_are_spans(
    folder_fleet: Fleet, spans: Receiver, tenant: str, fill: Fill, transport: str
) -> None:
    """What is asked of the backends for an RPC are the children of its span, and nothing else."""
    frontend = await traced(folder_fleet, spans, traces_sampled=1.0, transport=transport)
    data = fill(100_000)
    await frontend.tenant(tenant).commit("ref", data)
    assert await frontend.tenant(tenant).read(sha256(data)) == data
    await frontend.stop()
    (write,) = ended(spans, "Write")
    (read,) = ended(spans, "Read")
    assert {one.trace for one in spans.spans} == {write.trace, read.trace}
    assert all(one.parent in {write.id, read.id} for one in spans.spans if one.kind == "client")
    of_write = [one.name for one in spans.spans if one.parent == write.id]
    assert {"EVALSHA open", "folder/PutObject", "EVALSHA freeze"} <= set(of_write)
    assert all(write.start <= one.start for one in spans.spans if one.parent == write.id)


async def test_a_failed_step_says_why(
    own_fleet: Fleet, spans: Receiver, tenant: str, redis: Any
) -> None:
    """A request that a backend doesn't answer is a failed span, and so is its RPC."""
    frontend = await traced(own_fleet, spans, traces_sampled=1.0)
    redis.stop()
    await refused(StatusCode.UNAVAILABLE, frontend.tenant(tenant).status("ref"))
    (status,) = ended(spans, "Status")
    (step,) = spans.named("EVALSHA find")
    assert (step.parent, step.failed, status.failed) == (status.id, True, True)
    assert step.attributes["error.type"] == "Unavailable"


async def test_a_share_of_the_rest(folder_fleet: Fleet, spans: Receiver, tenant: str) -> None:
    """Of RPCs whose clients send no context, none is recorded at a share of 0."""
    frontend = await traced(folder_fleet, spans, traces_sampled=0.0)
    client = frontend.tenant(tenant)
    await refused(StatusCode.NOT_FOUND, client.info(sha256(b"nothing")))
    client.metadata = ((HEADER, tenant), ("traceparent", SAMPLED))
    await refused(StatusCode.NOT_FOUND, client.info(sha256(b"nothing")))
    await frontend.stop()
    assert [one.trace for one in ended(spans, "Info")] == [TRACE]


async def test_a_dead_collector_hurts_nobody(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """Without a collector everything is served, and a frontend ends in time."""
    url = f"http://127.0.0.1:{free_port()}"
    frontend = await folder_fleet.frontend(traces=url, traces_sampled=1.0)
    data = fill(100_000)
    await frontend.tenant(tenant).commit("ref", data)
    assert await frontend.tenant(tenant).read(sha256(data)) == data
    async with asyncio.timeout(20):
        await frontend.stop()


class Collector:
    """Stands in for what sends spans: it succeeds, or doesn't."""

    def __init__(self) -> None:
        self.up = True
        self.broken = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        del spans
        if self.broken:
            raise ValueError("a span that can't be encoded")
        return SpanExportResult.SUCCESS if self.up else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        pass


def test_an_outage_is_two_lines() -> None:
    """A lost collector is logged once, and once it is back, with what was lost and for how long."""
    collector, now = Collector(), [0.0]
    outages = TracedOutages(cast("SpanExporter", collector), "http://c:4317", lambda: now[0])
    span = cast("ReadableSpan", None)
    with logged() as lines:
        for up in (True, False, False, False, True, True):
            collector.up = up
            outages.export([span] * 7)
            now[0] += 10
    assert [(line["event"], line.get("omitted"), line.get("seconds")) for line in lines] == [
        ("traces not exported; they are lost", None, None),
        ("traces exported again", 21, 30.0),
    ]


def test_spans_that_cannot_be_encoded_are_lost_not_unnoticed() -> None:
    """The log says that spans are lost, whatever has become of them."""
    collector = Collector()
    outages = TracedOutages(cast("SpanExporter", collector), "http://c:4317", lambda: 0.0)
    span = cast("ReadableSpan", None)
    collector.broken = True
    with logged() as lines:
        with pytest.raises(ValueError, match="encoded"):
            outages.export([span] * 7)
        collector.broken = False
        outages.export([span])
    assert [line.get("omitted") for line in lines] == [None, 7]


def test_a_listing_that_is_left_early_is_no_failure() -> None:
    """Who looks for the first entry alone has found it."""
    traces, exporter = recorded()
    span = traces.begin("/x/Y", [])
    assert span is not None

    def entries() -> Iterator[int]:
        with span.step("S3", "ListObjectsV2", "key"):
            yield from range(10)

    assert next(entries()) == 0
    [listing] = exporter.get_finished_spans()
    assert listing.status.status_code is trace.StatusCode.UNSET


def test_whatever_an_error_says_can_be_sent() -> None:
    """The text of a failure is escaped and cut, so that its batch can be encoded."""
    traces, exporter = recorded()
    span = traces.begin("/x/Y", [])
    assert span is not None
    with pytest.raises(OSError, match="name"), span.step("folder", "GetObject", "key"):
        raise OSError("name \udc80\x1b[2J" + "x" * 2000)
    span.end(Code.INTERNAL, "\udc80\n", {})
    texts = [one.status.description or "" for one in exporter.get_finished_spans()]
    assert texts[0].startswith("name \\udc80\\x1b[2Jxxx")
    assert len(texts[0]) < 1100
    assert texts[1] == "\\udc80\\n"


def recorded(share: float = 1.0) -> tuple[Traces, InMemorySpanExporter]:
    """Traces whose spans are kept, and where; the clock stands still."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider.get_tracer("tests"), share, lambda: 0.0, lambda: 0.5), exporter


def test_a_client_cannot_have_everything_recorded() -> None:
    """Only so many RPCs are recorded in a second, whatever contexts clients send."""
    traces, _ = recorded()
    begun = [traces.begin("/x/Y", [("traceparent", SAMPLED)]) for _ in range(1000)]
    assert sum(one is not None for one in begun) == PER_SECOND


@pytest.mark.parametrize(("share", "found"), [(0.4, False), (0.6, True)])
def test_chance_decides_about_the_rest(share: float, found: bool) -> None:
    """An RPC without a context is recorded if chance falls into the share."""
    traces, _ = recorded(share)
    assert (traces.begin("/x/Y", []) is not None) is found


def test_an_rpc_has_a_bounded_number_of_steps() -> None:
    """Further steps are counted; those after the RPC's end aren't recorded at all."""
    traces, exporter = recorded()
    span = traces.begin("/x/Y", [])
    assert span is not None
    for _ in range(STEPS + 10):
        with span.step("S3", "GetObject", "key"):
            pass
    span.end(Code.OK, "", {})
    with span.step("S3", "GetObject", "key"):
        pass
    finished = exporter.get_finished_spans()
    assert len(finished) == STEPS + 1
    assert dict(finished[-1].attributes or {})["holdfast.omitted_steps"] == 10


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "garbage",
        SAMPLED[:-1],
        SAMPLED + "0",
        SAMPLED.upper(),
        SAMPLED.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
    ],
)
def test_a_malformed_context_is_none(parent: str) -> None:
    """What isn't a context of W3C's specification is ignored, as if nothing had been sent."""
    assert context_of([("traceparent", parent)]) is None
    assert context_of([("traceparent", SAMPLED), ("traceparent", SAMPLED)]) is None


def test_the_state_of_a_trace_is_passed_on() -> None:
    """What other vendors have put into the context stays there; a state too long for it doesn't."""
    for state, kept in (("a=1,b=2", True), ("a=" + "1" * 600, False)):
        traces, _ = recorded()
        span = traces.begin("/x/Y", [("traceparent", SAMPLED), ("tracestate", state)])
        assert span is not None
        headers = dict(span.headers)
        assert str(headers["traceparent"]).startswith(f"00-{TRACE}-")
        assert headers.get("tracestate") == (state if kept else None)


async def test_an_agent_without_traces_passes_the_context_on(
    folder_fleet: Fleet, spans: Receiver, tenant: str
) -> None:
    """A frontend continues the trace of a client whose agent records nothing."""
    frontend = await traced(folder_fleet, spans, traces_sampled=0.0)
    async with agent_of([f"127.0.0.1:{frontend.port}"], tenant) as agent:
        agent.tenant.metadata = (("traceparent", SAMPLED),)
        await refused(StatusCode.NOT_FOUND, agent.tenant.info(sha256(b"nothing")))
    await frontend.stop()
    assert [(one.trace, one.parent) for one in ended(spans, "Info")] == [(TRACE, SPAN)]


async def test_an_agent_decides_for_its_frontends(
    folder_fleet: Fleet, spans: Receiver, tenant: str
) -> None:
    """What an agent doesn't record, its frontends don't either, whatever their share is."""
    frontend = await traced(folder_fleet, spans, traces_sampled=1.0)
    where = [f"127.0.0.1:{frontend.port}"]
    async with agent_of(where, tenant, traces=spans.url, traces_sampled=0.0) as agent:
        await refused(StatusCode.NOT_FOUND, agent.tenant.info(sha256(b"nothing")))
    await refused(StatusCode.NOT_FOUND, frontend.tenant(tenant).status("ref"))
    await frontend.stop()
    ended(spans, "Status")
    assert spans.named(f"{CONTENT}/Info") == []


@pytest.fixture
def application() -> Iterator[InMemorySpanExporter]:
    """An application's own set-up of OpenTelemetry: this process's."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "_TRACER_PROVIDER", provider)
        yield exporter
    provider.shutdown()


@pytest.mark.minio
@pytest.mark.usefixtures("minio")
def test_one_trace_through_all(
    minio: S3Server,
    redis_url: str,
    spans: Receiver,
    application: InMemorySpanExporter,
    tmp_path: Path,
    unique: str,
    fill: Fill,
) -> None:
    """A push is one trace: the application, an agent, a frontend, Redis and S3, as documented."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        for name, value in minio.environment().items():
            patch.setenv(name, value)
        frontend = stack.enter_context(
            serving(
                tmp_path / "frontend.log",
                s3_bucket=minio.bucket,
                s3_endpoint=minio.endpoint,
                s3_region="us-east-1",
                s3_prefix=f"{unique}/",
                s3_path_style="true",
                redis_url=redis_url,
                data_dir=tmp_path,
                traces=spans.url,
                traces_sampled=0,
            )
        )
        agent = stack.enter_context(
            serving(
                tmp_path / "agent.log",
                command="agent",
                listen=f"tcp://127.0.0.1:0?tenant=node-{unique}",
                agent_frontends=frontend.address,
                agent_tenant_header=HEADER,
                data_dir=tmp_path / "agent",
                traces=spans.url,
                traces_sampled=0,
            )
        )
        with (
            trace.get_tracer("application").start_as_current_span("deploy") as deploy,
            ContentStore(agent.address) as store,
        ):
            store.put(fill(200_000))
        assert agent.terminate() == 0
        assert frontend.terminate() == 0
    found = [*of_application(application), *spans.spans]
    assert {span.trace for span in found} == {f"{deploy.get_span_context().trace_id:032x}"}
    shown = as_shown(found)
    (block,) = pages.blocks(pages.text("docs/traces.md"), "json")
    example = json.loads(block)
    assert names(shown) == names(example), json.dumps(shown, indent=1)


def of_application(exporter: InMemorySpanExporter) -> list[ReceivedSpan]:
    """The spans that the application's own exporter was given."""
    return [
        ReceivedSpan(
            "application",
            span.name,
            span.kind.name.lower(),
            f"{span.context.trace_id:032x}",
            f"{span.context.span_id:016x}",
            f"{span.parent.span_id:016x}" if span.parent else "",
            span.start_time or 0,
            span.end_time or 0,
            not span.status.is_ok and span.status.status_code.name == "ERROR",
            dict(span.attributes or {}),
        )
        for span in exporter.get_finished_spans()
    ]


def as_shown(spans: list[ReceivedSpan]) -> list[dict[str, Any]]:
    """Spans as the documentation shows them: in order, with times from the first one on."""
    ordered = sorted(spans, key=lambda span: span.start)
    first = ordered[0].start
    return [
        {
            "program": span.program,
            "name": span.name,
            "kind": span.kind,
            "id": span.id,
            "parent": span.parent,
            "ms": [round((at - first) / 1e6, 2) for at in (span.start, span.end)],
            "attributes": span.attributes,
        }
        for span in ordered
    ]


def names(shown: list[dict[str, Any]]) -> set[tuple[str, ...]]:
    """What is the same in each run: who did what for whom, and what is said of it."""
    by_id = {span["id"]: f"{span['program']} {span['name']}" for span in shown}
    return {
        (
            span["program"],
            span["name"],
            span["kind"],
            by_id.get(span["parent"], ""),
            *sorted(span["attributes"]),
        )
        for span in shown
    }
