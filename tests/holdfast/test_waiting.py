"""A client that is told that another tenant writes the same bytes waits for them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import pytest

from holdfast import BeingWritten, ContentStore
from holdfast.digests import Digest
from holdfast.errors import FLIGHT
from tests.holdfast.conftest import Clock, Connect
from tests.holdfast.fake_store import FakeFrontend, Fault, State

DATA = os.urandom(100_000)
DIGEST = Digest.of(DATA)


def ahead(offset: int, then: Callable[[], None] | None = None, *, leader: str = "node-a") -> Fault:
    """The answer to a stream's first message while LEADER has OFFSET bytes."""
    return Fault(1, trailers=((FLIGHT, f"{leader} {offset} {len(DATA)}"),), then=then)


def committed(state: State) -> Callable[[], None]:
    """Another tenant's commit."""

    def commit() -> None:
        state.hold("node-a", DATA)

    return commit


def test_bytes_that_another_tenant_writes_are_not_sent(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """The client says whom it waits for and how far that is, and takes the blob over in the end."""
    frontend.write_faults += [ahead(0), ahead(42_000), ahead(90_000, committed(state))]
    seen: list[BeingWritten] = []
    pushed = store.push(io.BytesIO(DATA), waits=seen.append)
    assert (pushed.digest, pushed.already_there, pushed.sent) == (DIGEST, True, 0)
    assert [(one.leader, one.offset, one.percent) for one in seen] == [
        ("node-a", 0, 0),
        ("node-a", 42_000, 42),
        ("node-a", 90_000, 90),
    ]
    assert ("a", str(DIGEST)) in state.holds
    assert state.received == 0


def test_labels_are_set_on_what_was_waited_for(
    store: ContentStore, state: State, frontend: FakeFrontend
) -> None:
    """A blob that is taken over gets the labels that it was pushed with."""
    frontend.write_faults += [ahead(0, committed(state))]
    store.push(io.BytesIO(DATA), labels={"k": "v"})
    assert state.holds["a", str(DIGEST)] == {"k": "v"}


def test_a_leader_that_gives_up(store: ContentStore, state: State, frontend: FakeFrontend) -> None:
    """If the client is admitted at last, it sends the bytes itself."""
    frontend.write_faults += [ahead(0), ahead(42_000)]
    pushed = store.push(io.BytesIO(DATA))
    assert (pushed.already_there, pushed.sent) == (False, len(DATA))
    assert state.blobs[str(DIGEST)] == DATA


def test_patience_lasts_as_long_as_the_leader_moves(
    connect: Connect, frontend: FakeFrontend, clock: Clock, state: State
) -> None:
    """A wait that makes progress may last longer than calls are retried without any."""

    def later() -> None:
        clock.now += 50

    frontend.write_faults += [ahead(10_000 * step, later) for step in range(9)]
    frontend.write_faults.append(ahead(90_000, committed(state)))
    assert connect(frontend).push(io.BytesIO(DATA)).already_there


def test_a_leader_that_stands_still_is_not_waited_for_ever(
    connect: Connect, frontend: FakeFrontend, clock: Clock
) -> None:
    """If the leader doesn't move for as long as calls are retried, the push fails, saying why."""

    def later() -> None:
        clock.now += 50

    frontend.write_faults += [ahead(10_000, later)] * 9
    with pytest.raises(BeingWritten) as caught:
        connect(frontend).push(io.BytesIO(DATA))
    assert caught.value.leader == "node-a"


@pytest.mark.parametrize("text", ["", "node-a", "node-a 1", "node-a -1 5", "A 1 5", "a 1 2 3"])
def test_a_malformed_hint_is_only_a_failure(
    store: ContentStore, frontend: FakeFrontend, text: str
) -> None:
    """A trailer that says nothing of use leaves an error that is retried like any other."""
    frontend.write_faults += [Fault(1, trailers=((FLIGHT, text),))]
    seen: list[BeingWritten] = []
    pushed = store.push(io.BytesIO(DATA), waits=seen.append)
    assert (pushed.sent, seen) == (len(DATA), [])
