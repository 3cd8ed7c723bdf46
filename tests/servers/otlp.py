"""An OpenTelemetry collector in this process: takes spans by OTLP over gRPC, and keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """One span. Ids are hex; `parent` is "" for the first one of a trace; times are in ns."""

    program: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any] = field(default_factory=dict)


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """What was received."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.address = ""

    @property
    def url(self) -> str:
        """Where programs send their spans."""
        return f"http://{self.address}"

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 -- the RPC's name
        """Takes spans."""
        del context
        for resource in request.resource_spans:
            program = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_received(str(program), span) for span in scope.spans]
        return pb.ExportTraceServiceResponse()

    def named(self, name: str) -> list[ReceivedSpan]:
        """The spans of a name."""
        return [span for span in self.spans if span.name == name]


def _received(program: str, span: trace_pb2.Span) -> ReceivedSpan:
    kind = trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()
    return ReceivedSpan(
        program,
        span.name,
        kind,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        _values(span.attributes),
    )


def _values(attributes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in attributes:
        assert isinstance(attribute, KeyValue)
        found[attribute.key] = getattr(attribute.value, attribute.value.WhichOneof("value") or "")
    return found


@contextmanager
def receiver(address: str = "127.0.0.1:0") -> Iterator[Receiver]:
    """Receives spans at an address until the block is left."""
    received = Receiver()
    server = grpc.server(ThreadPoolExecutor(2), options=(("grpc.so_reuseport", 0),))
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(received, server)
    host = address.rpartition(":")[0]
    received.address = f"{host}:{server.add_insecure_port(address)}"
    server.start()
    try:
        yield received
    finally:
        server.stop(0).wait()
