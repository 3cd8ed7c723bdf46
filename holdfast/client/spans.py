"""Spans of the client's RPCs, in the traces of an application that uses OpenTelemetry.

The client needs none of its packages: it looks whether the application has imported the API, and
uses the tracer and the propagator that the application has set up. Without a set-up, the API itself
records nothing and sends nothing.

Names follow OpenTelemetry's semantic conventions for gRPC.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import grpc

API: Final = "opentelemetry.trace"
Foreign = Any
"""What gRPC and OpenTelemetry pass on: its types have no public names, or aren't installed."""


class _Details(NamedTuple):
    """What gRPC asks of the description of a call."""

    method: str
    timeout: float | None
    metadata: Iterable[tuple[str, str | bytes]]
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


def traced(channel: grpc.Channel, target: str) -> grpc.Channel:
    """Returns a channel whose calls are spans, if the application uses OpenTelemetry.

    Args:
        channel: makes the calls.
        target: where it leads.
    """
    if API not in sys.modules:
        return channel
    return grpc.intercept_channel(channel, _Spans(target))


class _Spans(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Has each call be a span."""

    def __init__(self, target: str) -> None:
        self._target = target

    def intercept_unary_unary(
        self, continuation: Foreign, client_call_details: Foreign, request: Foreign
    ) -> Foreign:
        """See gRPC."""
        span, details = self._begin(client_call_details)
        call = continuation(details, request)
        call.add_done_callback(lambda done: _end(span, done.code()))
        return call

    def intercept_unary_stream(
        self, continuation: Foreign, client_call_details: Foreign, request: Foreign
    ) -> Foreign:
        """See gRPC."""
        return self._stream(continuation, client_call_details, request)

    def intercept_stream_stream(
        self, continuation: Foreign, client_call_details: Foreign, request_iterator: Foreign
    ) -> Foreign:
        """See gRPC."""
        return self._stream(continuation, client_call_details, request_iterator)

    def _stream(
        self, continuation: Callable[..., Any], details: Foreign, messages: Foreign
    ) -> Foreign:
        span, described = self._begin(details)
        call = continuation(described, messages)
        if not call.add_callback(lambda: _end(span, call.code())):
            _end(span, call.code())
        return call

    def _begin(self, details: Foreign) -> tuple[Foreign, _Details]:
        """Begins a span; the call's metadata says so to the frontend."""
        from opentelemetry import propagate, trace  # noqa: PLC0415 -- the application has it

        method = str(details.method).lstrip("/")
        span = trace.get_tracer("holdfast.client").start_span(
            method,
            kind=trace.SpanKind.CLIENT,
            attributes={
                "rpc.system.name": "grpc",
                "rpc.method": method,
                "server.address": self._target,
            },
        )
        headers: dict[str, str] = {}
        propagate.inject(headers, trace.set_span_in_context(span))
        metadata = [
            *(details.metadata or ()),
            *((name.lower(), value) for name, value in headers.items()),
        ]
        return span, _Details(
            details.method,
            details.timeout,
            metadata,
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )


def _end(span: Foreign, code: grpc.StatusCode | None) -> None:
    """Ends a span; any status but OK is an error for a client, by the conventions."""
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    name = (code or grpc.StatusCode.UNKNOWN).name
    span.set_attribute("rpc.response.status_code", name)
    if name != "OK":
        span.set_attribute("error.type", name)
        span.set_status(StatusCode.ERROR)
    span.end()
