"""RPCs as metrics: how many are under way, how each one ended, and how long it took.

An RPC is counted once, where it ends, whatever ends it: so the sum of `holdfast_rpcs_total` is the
count of `holdfast_rpc_seconds`. All of it happens on the event loop, for each call, and so it is
plain arithmetic; a scrape, in whichever thread, copies it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol, Self

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from holdfast.service.process.buckets import Buckets, shown
from holdfast.transport.status import Code, Status

BOUNDS: Final = (0.03, 0.3, 3.0)
"""Seconds. They are few, since each is a series for each RPC."""
QUICK: Final = (0.002, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0)
"""Seconds, of the RPC that each pull waits for. A hot Info takes about 1 ms."""
STREAMS: Final = (0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0, 2.5, 10.0, 60.0)
"""Seconds, of what lasts as long as its stream. Prometheus believes that what is in a bucket is
spread evenly in it: if all Writes took 0.2 s, a bucket from 0.1 to 1 s would make a 99th percentile
of 0.99 s of them."""
BOUNDS_OF: Final[Mapping[str, tuple[float, ...]]] = {
    "Info": QUICK,
    "Write": STREAMS,
    "Read": STREAMS,
}
UNKNOWN: Final = "unknown"
"""The role of a client that nobody vouches for."""
NAMES: Final[Mapping[Code, str]] = {code: code.name for code in Code}

ExemplarOf = Callable[[], Mapping[str, str] | None]
"""Returns what names the trace of the RPC that is just ending, such as `trace_id`; None: nothing.
No more than 128 characters in all, as OpenMetrics demands."""


class Ending(Protocol):
    """A call, as far as its end is concerned.

    Attributes:
        attachment: what is known of the call, whose `watched` says whether it is counted here.
    """

    attachment: Any

    @property
    def ended(self) -> Code | None:
        """See `service.rpc.call.Call`."""
        ...


class _Rpc:
    """The numbers of one RPC."""

    __slots__ = ("buckets", "ended", "under_way")

    def __init__(self, name: str) -> None:
        self.under_way = 0
        self.ended: dict[tuple[Code, str], int] = {}
        self.buckets = Buckets(BOUNDS_OF.get(name, BOUNDS))

    def count(self, code: Code, role: str) -> None:
        """Counts an RPC that has ended."""
        ending = (code, role)
        self.ended[ending] = self.ended.get(ending, 0) + 1


class RpcWatch:
    """One call of an RPC, counted and timed: `with` surrounds all that is done about it.

    Attributes:
        role: the client's, as soon as it is known.
        counts: False if the call isn't to be counted, because another handler will be given it.
    """

    __slots__ = ("_began", "_call", "_figures", "_rpc", "counts", "role")

    def __init__(self, figures: RpcFigures, rpc: _Rpc, call: Ending) -> None:
        self._figures = figures
        self._rpc = rpc
        self._call = call
        self._began = 0.0
        self.role: str = UNKNOWN
        self.counts = True

    def __enter__(self) -> Self:
        """Begins to count and to time."""
        if self._call.attachment is not None:
            self._call.attachment.watched = True
        self._rpc.under_way += 1
        self._began = self._figures.clock()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Counts how the call has ended: as its client learns it, if that is known."""
        rpc, figures = self._rpc, self._figures
        rpc.under_way -= 1
        if not self.counts:
            if self._call.attachment is not None:
                self._call.attachment.watched = False
            return
        code = self._call.ended
        if code is None:
            code = Code.OK if error is None else _code_of(error)
        rpc.count(code, self.role)
        rpc.buckets.note(figures.clock() - self._began, figures.exemplar())


def _code_of(error: BaseException) -> Code:
    if isinstance(error, Status):
        return error.code
    # A handler is cancelled because its client has left, or because the server is stopping.
    return Code.INTERNAL if isinstance(error, Exception) else Code.CANCELLED


def no_exemplar() -> None:
    """Names no trace."""


class RpcFigures(Collector):
    """The numbers of all RPCs.

    Attributes:
        clock: monotonic, in s.
        exemplar: names the trace of the RPC that is ending.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begins with nothing counted; `clock` is monotonic, in s."""
        self.clock = clock
        self.exemplar: ExemplarOf = no_exemplar
        self._rpcs: dict[str, _Rpc] = {}

    def watch(self, rpc: str, call: Ending) -> RpcWatch:
        """Returns what counts and times one call of an RPC."""
        return RpcWatch(self, self._rpcs.get(rpc) or self._of(rpc), call)

    def unwatched(self, rpc: str, code: Code, seconds: float) -> None:
        """Counts an RPC that has ended before a handler watched it: its request didn't come."""
        found = self._of(rpc)
        found.count(code, UNKNOWN)
        found.buckets.note(seconds, None)

    def _of(self, rpc: str) -> _Rpc:
        return self._rpcs.setdefault(rpc, _Rpc(rpc))

    def collect(self) -> Iterator[Metric]:
        """Returns what has been counted so far."""
        under_way = GaugeMetricFamily("holdfast_rpcs_under_way", "RPCs under way.", labels=["rpc"])
        ended = CounterMetricFamily(
            "holdfast_rpcs",
            "RPCs that have ended, by gRPC status and by the client's role.",
            labels=["rpc", "code", "role"],
        )
        seconds = HistogramMetricFamily(
            "holdfast_rpc_seconds",
            "Duration of RPCs; a Write or a Read lasts as long as its stream.",
            labels=["rpc"],
        )
        for name, rpc in list(self._rpcs.items()):
            under_way.add_metric([name], rpc.under_way)
            for (code, role), count in list(rpc.ended.items()):
                ended.add_metric([name, NAMES[code], role], count)
            seconds.add_metric([name], shown(rpc.buckets), rpc.buckets.sum)
        yield from (under_way, ended, seconds)
