"""Which streams others wait for, and what is reported of them, without Redis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast.coordination.flights import Ahead
from holdfast.digests import Digest
from holdfast.errors import BeingWritten
from holdfast.service.ingest.flights import FlightGate
from holdfast.service.ingest.offers import Offers
from holdfast.service.ingest.phases import Phase
from holdfast.service.ingest.write_messages import Action, Message
from holdfast.service.process.frontend_metrics import FrontendMetrics

MIB = 2**20
DIGEST = Digest.of(b"layer")
LAYER = f"layer-{DIGEST}"


@dataclass
class Told:
    """What Redis is told, and what it answers."""

    ahead: Ahead | None = None
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    async def ask(self, digest: Digest, tenant: str, total: int) -> Ahead | None:
        self.calls.append(("ask", digest, tenant, total))
        return self.ahead

    async def move(self, digest: Digest, tenant: str, offset: int, total: int) -> bool:
        self.calls.append(("move", digest, tenant, offset, total))
        return True

    async def end(self, digest: Digest, tenant: str) -> None:
        self.calls.append(("end", digest, tenant))


@dataclass(eq=False)
class Writer:
    """A stream as others see it."""

    offset: int = 0
    total: int = MIB
    phase: Phase = Phase.OPEN
    ending: bool = False
    durable: int = 0
    committing: bool = False
    name: tuple[str, str] = ("a", LAYER)


@pytest.fixture
def told() -> Told:
    """Redis, with nothing in flight."""
    return Told()


@pytest.fixture
def metrics() -> FrontendMetrics:
    """Figures of the test's own."""
    return FrontendMetrics()


@dataclass
class Clock:
    """A clock that is set; in s."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The gate's clock."""
    return Clock()


@pytest.fixture
def gate(told: Told, metrics: FrontendMetrics, clock: Clock) -> FlightGate:
    """A gate that asks this Redis, and counts here."""
    flights: Any = told

    async def never(_: str, __: Digest) -> bool:
        return False

    return FlightGate(
        flights,
        Offers(absent=lambda _, __: False, offers=never, fresh=1.0, wait=1.0, clock=lambda: 0.0),
        absent=lambda _: True,
        least=MIB,
        patience=5.0,
        clock=clock,
        counts=metrics,
    )


def follow(gate: FlightGate, writer: Writer) -> None:
    """Has the gate report a stream."""
    session: Any = writer
    gate.follow(session, DIGEST)


def stat(**fields: Any) -> Message:
    """A stream's first message."""
    return Message(**{"action": Action.STAT, "ref": LAYER, "total": MIB, **fields})


@pytest.mark.parametrize(
    "message",
    [stat(action=Action.WRITE), stat(total=MIB - 1), stat(total=0), stat(ref="ingest-1")],
    ids=["no STAT", "small", "of unknown size", "of unknown digest"],
)
async def test_nothing_is_asked(gate: FlightGate, told: Told, message: Message) -> None:
    """Only a STAT of a large blob whose digest is known costs a request."""
    assert await gate.admit("a", message) is None
    assert told.calls == []


async def test_progress_is_reported_once(gate: FlightGate, told: Told) -> None:
    """A stream's offset is reported when it has changed, so that one that stands still lapses."""
    writer = Writer(offset=10)
    follow(gate, writer)
    for _ in range(3):
        await gate.report()
    writer.offset = 20
    await gate.report()
    assert told.calls == [("move", DIGEST, "a", 10, MIB), ("move", DIGEST, "a", 20, MIB)]


@pytest.mark.parametrize(
    "writer",
    [
        Writer(offset=MIB, phase=Phase.FROZEN),
        Writer(offset=MIB, committing=True),
        Writer(offset=MIB, phase=Phase.SEALED, committing=True),
    ],
    ids=["frozen", "not frozen yet", "sealed"],
)
async def test_a_commit_under_way_is_progress(gate: FlightGate, told: Told, writer: Writer) -> None:
    """While its commit is carried out, a stream is waited for, though its offset stays."""
    follow(gate, writer)
    for _ in range(3):
        await gate.report()
    assert told.calls == [("move", DIGEST, "a", MIB, MIB)] * 3


async def test_bytes_that_the_store_takes_are_progress(gate: FlightGate, told: Told) -> None:
    """A stream whose client has sent everything is waited for while its parts become durable."""
    writer = Writer(offset=MIB)
    follow(gate, writer)
    await gate.report()
    writer.durable = MIB // 2
    for _ in range(2):
        await gate.report()
    assert told.calls == [("move", DIGEST, "a", MIB, MIB)] * 2


@pytest.mark.parametrize(
    ("writer", "calls"),
    [
        (Writer(phase=Phase.DROPPED), [("end", DIGEST, "a")]),
        (Writer(phase=Phase.COMMITTED), []),
        (Writer(offset=10, ending=True), [("move", DIGEST, "a", 10, MIB)]),
    ],
    ids=["dropped", "committed", "broken off"],
)
async def test_a_stream_that_ended(
    gate: FlightGate, told: Told, writer: Writer, calls: list[tuple[Any, ...]]
) -> None:
    """A dropped ingest ends its flight at once, any other lapses; both are reported no more."""
    follow(gate, writer)
    await gate.report()
    assert told.calls == calls
    told.calls.clear()
    writer.offset += 1
    await gate.report()
    assert told.calls == []


async def test_a_stream_that_is_continued(gate: FlightGate, told: Told) -> None:
    """A stream that goes on after a loss waits for nobody, and others wait for it as before."""
    told.ahead = Ahead("b", 1, MIB, 3.0)
    assert await gate.admit("a", stat(), continues=True) == DIGEST


@pytest.mark.parametrize("adopted", [True, False])
async def test_a_wait_is_counted_once(
    gate: FlightGate, told: Told, metrics: FrontendMetrics, *, adopted: bool
) -> None:
    """However often a tenant asks, it waits once; bytes are saved only if it got the blob."""
    told.ahead = Ahead("b", 1, MIB, 3.0)
    for _ in range(3):
        with pytest.raises(BeingWritten):
            await gate.admit("a", stat())
    if adopted:
        gate.found("a", DIGEST)
    else:
        told.ahead = None
        await gate.admit("a", stat())
    value = metrics.registry.get_sample_value
    assert value("holdfast_flight_waits_total") == 1
    assert value("holdfast_flight_saved_bytes_total") == (MIB if adopted else 0)


@pytest.mark.parametrize("end", ["found", "admitted", "reported"])
async def test_a_wait_that_is_abandoned_ends_when_it_was_seen_last(
    gate: FlightGate, told: Told, metrics: FrontendMetrics, clock: Clock, end: str
) -> None:
    """A tenant that asks no longer waits no longer, and what it gets hours later saves nothing."""
    told.ahead = Ahead("b", 1, MIB, 3.0)
    for clock.now in (0.0, 4.0):
        with pytest.raises(BeingWritten):
            await gate.admit("a", stat())
    clock.now, told.ahead = 7200.0, None
    if end == "found":
        gate.found("a", DIGEST)
    elif end == "admitted":
        await gate.admit("a", stat())
    else:
        await gate.report()
    value = metrics.registry.get_sample_value
    assert value("holdfast_flight_waited_seconds_total") == 4.0
    assert value("holdfast_flight_saved_bytes_total") == 0


async def test_waits_that_go_on_are_remembered(
    gate: FlightGate, told: Told, metrics: FrontendMetrics, clock: Clock
) -> None:
    """Whoever asks again and again waits from the first time on, however long others have not."""
    told.ahead = Ahead("b", 1, MIB, 3.0)
    for clock.now in range(0, 200, 10):
        for tenant in ("a", "b" if clock.now < 50 else "a"):
            with pytest.raises(BeingWritten):
                await gate.admit(tenant, stat())
    clock.now = 200.0
    gate.found("a", DIGEST)
    value = metrics.registry.get_sample_value
    assert value("holdfast_flight_waits_total") == 2
    assert value("holdfast_flight_waited_seconds_total") == 200.0 + 40.0
