"""Sends traces to an OpenTelemetry collector, from a thread of its own.

    span ends → a queue of 2,048; beyond, the oldest is dropped → batches, by OTLP over gRPC
                                                              └ no answer: the batch is lost

Nothing else waits for it. If the collector doesn't answer, that is logged once, and again once it
does. This is the only module that needs the packages of the extra `tracing`; they are imported
once traces are asked for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import structlog

from holdfast.clocks import uptime
from holdfast.errors import ConfigurationError
from holdfast.service.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Tracer

    from holdfast.service.process.traces import Traces

log = structlog.get_logger(__name__)

MISSING: Final = (
    "HOLDFAST_TRACES needs packages that aren't installed: pip install 'holdfast[server,tracing]'"
)
QUEUE: Final = 2048
"""Spans that wait to be sent, some 2 KiB each."""
BATCH: Final = 128
"""Spans that are sent at once: encoding them holds up the interpreter for a few ms."""
PERIOD: Final = 2.0
"""Seconds after which spans are sent if there are fewer."""
TIMEOUT: Final = 5.0
"""Seconds that a batch may take, with what is tried again."""
FLUSH: Final = 3.0
"""Seconds that the last spans may take at the end."""


class TracedOutages:
    """A `SpanExporter` that logs when a collector is lost, and when it is back."""

    def __init__(self, inner: SpanExporter, url: str, clock: Callable[[], float]) -> None:
        """Sends nothing yet.

        Args:
            inner: sends spans.
            url: of the collector.
            clock: monotonic, in s.
        """
        self._inner = inner
        self._url = url
        self._clock = clock
        self._since: float | None = None
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends some spans."""
        began = self._clock()
        try:
            result = self._inner.export(spans)
        except Exception:  # the SDK continues with the next spans, and its own log is off
            self._lose(len(spans), began)
            raise
        if result.name != "SUCCESS":
            self._lose(len(spans), began)
        elif self._since is not None:
            seconds = round(self._clock() - self._since, 1)
            log.warning("traces exported again", url=self._url, seconds=seconds, omitted=self._lost)
            self._since, self._lost = None, 0
        return result

    def _lose(self, spans: int, began: float) -> None:
        self._lost += spans
        if self._since is None:
            self._since = began
            log.warning("traces not exported; they are lost", url=self._url)

    def shutdown(self) -> None:
        """Ends what is under way, and sends nothing more."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Keeps nothing back."""
        return self._inner.force_flush(timeout_millis)


@asynccontextmanager
async def traces_of(settings: Settings, program: str) -> AsyncIterator[Traces | None]:
    """Opens what settings ask for; None if that is nothing. At the end, the last spans are sent.

    Args:
        settings: say where to, and how many.
        program: what runs: its spans have it as `service.name`.

    Raises:
        ConfigurationError: the packages aren't installed.
    """
    if not settings.traces:
        yield None
        return
    try:
        from holdfast.service.process.traces import Traces  # noqa: PLC0415 -- see above

        provider, exporter = await asyncio.to_thread(_provider, settings, program)
    except ImportError as error:
        raise ConfigurationError(MISSING) from error
    try:
        yield Traces(
            provider.get_tracer("holdfast"),
            settings.traces_sampled,
            uptime,
            random.random,
            settings.s3_bucket,
        )
    finally:
        await _close(provider, exporter)


def _provider(settings: Settings, program: str) -> tuple[TracerProvider, TracedOutages]:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

    # It logs each try, and each span that it drops.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
    inner = OTLPSpanExporter(endpoint=settings.traces, timeout=TIMEOUT)
    exporter = TracedOutages(inner, settings.traces, uptime)
    resource = Resource.create(
        {
            "service.name": f"holdfast-{program}",
            "service.instance.id": f"{socket.gethostname()}/{os.getpid()}",
        }
    )
    # `Traces` has decided already.
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,  # type: ignore[arg-type]
            max_queue_size=QUEUE,
            schedule_delay_millis=PERIOD * 1000,
            max_export_batch_size=BATCH,
        )
    )
    return provider, exporter


async def _close(provider: TracerProvider, exporter: TracedOutages) -> None:
    """Sends the last spans, for `FLUSH` seconds at most."""
    loop, sent = asyncio.get_running_loop(), asyncio.Event()
    _shut_down(provider, lambda: loop.call_soon_threadsafe(sent.set))
    try:
        async with asyncio.timeout(FLUSH):
            await sent.wait()
    except TimeoutError:
        exporter.shutdown()


def _shut_down(provider: TracerProvider, told: Callable[[], object]) -> None:
    """Sends the last spans in a thread; `told` is called when that is done."""

    def shut_down() -> None:
        provider.shutdown()
        told()

    # No thread of a pool: the program's end would wait for it.
    threading.Thread(target=shut_down, name="traces-close", daemon=True).start()


@contextmanager
def opened(settings: Settings, program: str) -> Iterator[Tracer]:
    """Yields what records spans for a program that blocks; at the end, the last ones are sent.

    Args:
        settings: say where to.
        program: what runs.

    Raises:
        ConfigurationError: the packages aren't installed.
    """
    try:
        provider, exporter = _provider(settings, program)
    except ImportError as error:
        raise ConfigurationError(MISSING) from error
    try:
        yield provider.get_tracer("holdfast")
    finally:
        sent = threading.Event()
        _shut_down(provider, sent.set)
        if not sent.wait(FLUSH):
            exporter.shutdown()
