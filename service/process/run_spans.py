"""The spans of runs, by OpenTelemetry; see `runs`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer, set_span_in_context

from holdfast.service.process.traces import RpcSpan, note_failure


class RunSpan:
    """The span of one run, and those of its phases: an `Origin`.

    Attributes:
        request_id: none: nobody has asked for a run.
        headers: none: a run calls no other program of ours.
        trace_id: the trace's name, 32 hex digits.
    """

    def __init__(self, tracer: Tracer, program: str, span: Span, steps: Mapping[str, str]) -> None:
        self.request_id = ""
        self.headers: tuple[tuple[str, str], ...] = ()
        self._tracer = tracer
        self._program = program
        self._steps = steps
        self._context = set_span_in_context(span, Context())
        self._now = RpcSpan(tracer, span, steps)
        self.trace_id = self._now.trace_id

    def step(self, system: str, operation: str, subject: str) -> AbstractContextManager[None]:
        """Records a step of the phase that the run is in, unless that has had too many."""
        return self._now.step(system, operation, subject)

    @contextmanager
    def phase(self, name: str, attributes: Mapping[str, str]) -> Iterator[None]:
        """Records a phase; phases follow each other, or are within one another."""
        named = {f"holdfast.{key}": value for key, value in attributes.items()}
        name = f"{self._program}/{name}"
        span = self._tracer.start_span(name, self._context, SpanKind.INTERNAL, named)
        around, self._now = self._now, RpcSpan(self._tracer, span, self._steps)
        try:
            yield
        except BaseException as error:
            note_failure(span, error)
            raise
        finally:
            self._now.finish()
            self._now = around

    def finish(self) -> None:
        """Ends the run's span."""
        self._now.finish()


class RunSpans:
    """Records the runs of one program."""

    def __init__(self, tracer: Tracer, program: str, bucket: str) -> None:
        """Begins without a run.

        Args:
            tracer: records all that it is asked to.
            program: what runs.
            bucket: of S3; "" for a folder.
        """
        self._tracer = tracer
        self._program = program
        self._steps = {"aws.s3.bucket": bucket} if bucket else {}

    @contextmanager
    def run(self, found: Mapping[str, str | float | bool]) -> Iterator[RunSpan]:
        """Records a run, which has failed if it raises; at its end, `found` has what it did."""
        name = f"{self._program}/run"
        span = self._tracer.start_span(name, Context(), SpanKind.INTERNAL)
        recorded = RunSpan(self._tracer, self._program, span, self._steps)
        try:
            yield recorded
        except BaseException as error:
            note_failure(span, error)
            raise
        finally:
            span.set_attributes({f"holdfast.run.{key}": value for key, value in found.items()})
            recorded.finish()
