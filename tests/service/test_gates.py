"""What counts as under way, without a frontend."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from holdfast.errors import Overloaded
from holdfast.protos import content_pb2, fleet_pb2
from holdfast.service.rpc.overload import KINDS, LONGEST, QUEUING, SPELL, Most, Overload, RpcKind


class Doors:
    """Gates of two for each kind, a queue and a clock."""

    def __init__(self) -> None:
        self.queued = 0
        self.now = 0.0
        self.refused: Counter[str] = Counter()
        self.overload = Overload(
            Most(streams=2, reads=2, calls=2),
            lambda: self.queued,
            lambda kind: self.refused.update([kind]),
            clock=lambda: self.now,
            spread=max,
        )


def test_every_rpc_is_counted() -> None:
    """Each RPC of the services belongs to one kind."""
    services = (
        content_pb2.DESCRIPTOR.services_by_name["Content"],
        fleet_pb2.DESCRIPTOR.services_by_name["Fleet"],
    )
    assert set(KINDS) == {method.name for service in services for method in service.methods}
    assert set(KINDS.values()) == set(RpcKind)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.booleans(), st.integers(0, 3))))
def test_never_more_than_the_limit(steps: list[tuple[str, bool, int]]) -> None:
    """In whatever order calls come, end or fail, only those under way count: up to the limit."""
    doors, inside = Doors(), list[str]()
    for rpc, comes, doors.queued in steps:
        entrance = doors.overload.admit(rpc)
        if comes:
            of_kind = sum(KINDS[other] is KINDS[rpc] for other in inside)
            full = of_kind == 2 or (rpc in QUEUING and doors.queued >= 2)
            if full:
                with pytest.raises(Overloaded) as caught, entrance:
                    raise AssertionError
                assert caught.value.pause == LONGEST
            else:
                entrance.__enter__()
                inside.append(rpc)
        elif rpc in inside:
            entrance.__exit__(ValueError, ValueError(), None)
            inside.remove(rpc)
        counted = {kind: gate.under_way for kind, gate in doors.overload.gates.items()}
        assert counted == {kind: sum(KINDS[rpc] is kind for rpc in inside) for kind in RpcKind}


def test_a_line_for_each_spell() -> None:
    """A spell of refusals is logged once, however many there are; the next one again."""
    doors = Doors()
    gate = doors.overload.gates[RpcKind.READS]
    gate.under_way = 2

    def refuse(at: float) -> None:
        doors.now = at
        with pytest.raises(Overloaded), doors.overload.admit("Read"):
            raise AssertionError

    with capture_logs() as logs:
        for at in (1.0, 2.0, SPELL, 2 * SPELL - 1, 3 * SPELL - 1):
            refuse(at)
    assert [line["event"] for line in logs] == ["requests refused"] * 2
    assert logs[0]["kind"] == "reads"
    assert doors.refused == {"reads": 5}


async def test_few_refused_streams_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of streams that are refused only so many wait for a message; others end at once."""
    monkeypatch.setattr("holdfast.service.rpc.overload.ANSWERED", 2)
    doors, message = Doors(), asyncio.Event()
    heard = [asyncio.create_task(doors.overload.hear(message.wait)) for _ in range(3)]
    await asyncio.wait(heard, return_when=asyncio.FIRST_COMPLETED)
    assert [task.done() for task in heard] == [False, False, True]
    message.set()
    await asyncio.gather(*heard)
    await doors.overload.hear(message.wait)
