"""Traces: which RPCs are recorded, as spans of OpenTelemetry.

    RPC → sampled: by its client's context, or by chance ─▶ a span; each step of its work another
        └ not: nothing is made

A client's context comes in the headers `traceparent` and `tracestate` (W3C Trace Context). If it is
sampled, the RPC's span continues it; if it isn't, the RPC isn't recorded here either. Whatever
clients send, only so many RPCs a second are recorded, and so many steps of each.

Names follow OpenTelemetry's semantic conventions for RPC, for AWS S3 and for Redis.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from holdfast.errors import NotFound, because
from holdfast.origins import NOTHING
from holdfast.service.process.logs import cut, printable
from holdfast.storage.port import ConditionFailed
from holdfast.transport.status import Code, Metadata

PARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
"""A `traceparent` of any version, of which the first four fields never change."""
LONGEST_STATE: Final = 512
"""Characters of a `tracestate` that are passed on, as many as the specification asks for."""
PER_SECOND: Final = 100.0
"""RPCs that are recorded in a second at most: a span costs as much as a tenth of a small RPC."""
STEPS: Final = 256
"""Steps of one RPC that are recorded: a Write has one or more for each of up to 10,000 parts."""
FAILURES: Final = frozenset(
    {
        *(Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED),
        *(Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS),
    }
)
"""Codes that are a server's failure, by the semantic conventions for gRPC."""


ANSWERS: Final = (NotFound, ConditionFailed, GeneratorExit)
"""What a step may raise that is an answer, and no failure: it has asked what is there, or needed
no more of a listing."""


class RpcSpan:
    """The span of one RPC, and those of its steps."""

    __slots__ = ("_context", "_ended", "_left", "_span", "_steps", "_tracer", "trace_id")

    def __init__(self, tracer: Tracer, span: Span, steps: Mapping[str, str]) -> None:
        self._tracer = tracer
        self._span = span
        self._context: Context = set_span_in_context(span, Context())
        self._steps = steps
        self._left = STEPS
        self._ended = False
        self.trace_id = f"{span.get_span_context().trace_id:032x}"

    @property
    def headers(self) -> Metadata:
        """The context that is sent to the next program."""
        context = self._span.get_span_context()
        parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
        state = context.trace_state.to_header() if context.trace_state else ""
        return (("traceparent", parent), *((("tracestate", state),) if state else ()))

    def step(self, system: str, operation: str, subject: str) -> AbstractContextManager[None]:
        """Records a step, unless the RPC has ended, or has had too many."""
        if self._ended or self._left <= 0:
            self._left -= 1
            return NOTHING
        self._left -= 1
        return self._step(*_described(system, operation, subject, self._steps))

    @contextmanager
    def _step(self, name: str, attributes: Mapping[str, str]) -> Iterator[None]:
        span = self._tracer.start_span(name, self._context, SpanKind.CLIENT, attributes)
        try:
            yield
        except ANSWERS:
            raise
        except BaseException as error:
            note_failure(span, error)
            raise
        finally:
            span.end()

    def end(self, code: Code, message: str, attributes: Mapping[str, str | int]) -> None:
        """Ends the RPC's span."""
        span = self._span
        span.set_attributes({**attributes, "rpc.response.status_code": code.name})
        if code in FAILURES:
            span.set_attribute("error.type", code.name)
            span.set_status(StatusCode.ERROR, cut(printable(message)))
        self.finish()

    def finish(self) -> None:
        """Ends the span; later steps aren't recorded."""
        self._ended = True
        if self._left < 0:
            self._span.set_attribute("holdfast.omitted_steps", -self._left)
        self._span.end()


def note_failure(span: Span, error: BaseException) -> None:
    """Notes what has made a span fail."""
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(StatusCode.ERROR, cut(printable(because(error))))


class Traces:
    """Decides which RPCs are recorded, and records them."""

    def __init__(
        self,
        tracer: Tracer,
        share: float,
        clock: Callable[[], float],
        chance: Callable[[], float],
        bucket: str = "",
    ) -> None:
        """Records nothing yet.

        Args:
            tracer: records all that it is asked to.
            share: of the RPCs whose clients send no context, from 0 to 1.
            clock: monotonic, in s.
            chance: returns a random number from 0 to 1.
            bucket: of S3.
        """
        self._tracer = tracer
        self._share = share
        self._clock = clock
        self._chance = chance
        self._steps = {"aws.s3.bucket": bucket} if bucket else {}
        self._allowed, self._at = PER_SECOND, clock()

    def begin(self, path: str, metadata: Metadata) -> RpcSpan | None:
        """Begins the span of an RPC; None if it isn't recorded."""
        parent = None
        for name, _ in metadata:
            if name == "traceparent":
                parent = context_of(metadata)
                break
        if parent is None:
            if self._chance() >= self._share:
                return None
        elif not parent.trace_flags.sampled:
            return None
        if not self._admit():
            return None
        above = Context() if parent is None else set_span_in_context(NonRecordingSpan(parent))
        method = path[1:]
        span = self._tracer.start_span(
            method, above, SpanKind.SERVER, {"rpc.system.name": "grpc", "rpc.method": method}
        )
        return RpcSpan(self._tracer, span, self._steps)

    def _admit(self) -> bool:
        now = self._clock()
        self._allowed = min(PER_SECOND, self._allowed + (now - self._at) * PER_SECOND)
        self._at = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True


def context_of(metadata: Metadata) -> SpanContext | None:
    """Returns the context that a client has sent; None if there is none, or it is malformed."""
    given = dict[str, str | bytes]()
    for name, value in metadata:
        if name in {"traceparent", "tracestate"}:
            if name == "traceparent" and name in given:
                return None
            given[name] = value
    text = given.get("traceparent")
    if not isinstance(text, str) or not (found := PARENT.fullmatch(text)):
        return None
    state = given.get("tracestate")
    known = isinstance(state, str) and len(state) <= LONGEST_STATE
    context = SpanContext(
        trace_id=int(found[1], 16),
        span_id=int(found[2], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(found[3], 16) & TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([str(state)]) if known else TraceState(),
    )
    return context if context.is_valid else None


def _described(
    system: str, operation: str, subject: str, steps: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """Returns the name and the attributes of a step's span."""
    if system == "Redis":
        attributes = {"db.system.name": "redis"}
        if operation.isupper():  # a command
            return operation, attributes | {"db.operation.name": operation}
        script = {"db.operation.name": "EVALSHA", "db.stored_procedure.name": operation}
        return f"EVALSHA {operation}", attributes | script
    attributes = {"aws.s3.key": subject, **steps} if subject else dict(steps)
    if system == "S3":
        attributes["rpc.system.name"] = "aws-api"
    attributes["rpc.method"] = f"S3/{operation}"
    return f"{system}/{operation}", attributes
