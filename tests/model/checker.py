"""Every interleaving of a few processes' requests, under a bounded number of faults.

A state consists of a world (what the store and Redis hold), the slots (clients and collectors,
each at a node of the program that it is running, or idle), and the requests that are still in
flight although nobody waits for them any more.

From each state the checker tries:

    a request is performed and answered
    no reply: the request stays in flight, and its sender gets UNKNOWN
    a late request arrives (one that never does is a state in which it hasn't yet)
    a crash: the operation ends here, with its request in flight or not
    given up: the caller continues, and so does the operation
    whatever the model's environment does: time passes, Redis fails over

It searches breadth first, so no counterexample is shorter than the one it reports.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from tests.model.programs import UNKNOWN, Automaton, Note, Request
from tests.model.protocol import Model

IDLE = -1
STRAY = -1
"""The slot of an operation whose caller has given up."""


@dataclass(slots=True)
class Outcome:
    """What a search has found, in seconds of CPU; `trace` is empty if nothing is wrong."""

    states: int
    steps: int
    seconds: float
    wrong: str = ""
    trace: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = f"{self.states} states, {self.steps} steps, {self.seconds:.1f} s"
        if not self.wrong:
            return counts
        lines = [f"{number:3}  {line}" for number, line in enumerate(self.trace, start=1)]
        return "\n".join([f"{self.wrong}  ({counts})", *lines])


class _State(NamedTuple):
    """world; (operations left, node, binding) per slot; late requests; faults left."""

    world: int
    slots: tuple[tuple[int, int, bool], ...]
    strays: tuple[int, ...]
    late: tuple[int, ...]
    faults: tuple[int, int, int, int]


class _Move(NamedTuple):
    """What a running program can do in a world; `lost`: the request whose reply doesn't arrive."""

    label: str
    world: int
    node: int
    lost: int | None = None


class TooLarge(Exception):  # noqa: N818 -- the size of a search, not a fault
    """A search has reached more states than it may."""


def check(model: Model, limit: int = 2_000_000) -> Outcome:
    """Searches all states.

    Raises:
        TooLarge: there are more than `limit`.
    """
    with _no_garbage_collection():
        return _Search(model, limit).run()


class _Search:
    """One search, in which worlds, nodes and requests are numbers.

    What one program can do depends only on the world and its own node, so it is computed once
    for each such pair: most states are new combinations of known pairs.
    """

    def __init__(self, model: Model, limit: int) -> None:
        self.model = model
        self.limit = limit
        self.automaton = Automaton()
        self.worlds: list[Any] = []
        self.requests: list[Request] = []
        self._world_numbers: dict[Any, int] = {}
        self._request_numbers: dict[Request, int] = {}
        self._known: dict[tuple[Any, ...], Any] = {}
        self._wrong: dict[int, str | None] = {}

    def run(self) -> Outcome:
        began = time.process_time()
        slots = tuple((slot.operations, IDLE, False) for slot in self.model.slots)
        first = _State(self._world(self.model.first()), slots, (), (), self.model.faults)
        came: dict[_State, tuple[_State, str] | None] = {first: None}
        queue = deque([first])
        steps = 0
        while queue:
            state = queue.popleft()
            wrong = self._violation(state)
            if wrong:
                seconds = time.process_time() - began
                return Outcome(len(came), steps, seconds, wrong, _trace(came, state))
            for label, after in self._successors(state):
                steps += 1
                if after not in came:
                    came[after] = (state, label)
                    queue.append(after)
            if len(came) > self.limit:
                raise TooLarge(f"more than {self.limit} states")
        return Outcome(len(came), steps, time.process_time() - began)

    # -- numbers

    def _world(self, world: Any) -> int:
        number = self._world_numbers.get(world)
        if number is None:
            number = self._world_numbers[world] = len(self.worlds)
            self.worlds.append(world)
        return number

    def _request(self, request: Request) -> int:
        number = self._request_numbers.get(request)
        if number is None:
            number = self._request_numbers[request] = len(self.requests)
            self.requests.append(request)
        return number

    def _once(self, work: Callable[..., Iterable[Any]], *arguments: Any) -> list[Any]:
        """The result of `work` for these arguments, computed only the first time."""
        key = (work.__name__, *arguments)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = list(work(*arguments))
        return cast("list[Any]", found)

    # -- what is wrong

    def _violation(self, state: _State) -> str | None:
        if state.world not in self._wrong:
            self._wrong[state.world] = self.model.violation(self.worlds[state.world])
        wrong = self._wrong[state.world]
        if (
            wrong is None
            and not state.strays
            and all(node == IDLE and not left for left, node, _ in state.slots)
        ):
            return self.model.at_rest(self.worlds[state.world])
        return wrong

    # -- steps

    def _successors(self, state: _State) -> Iterable[tuple[str, _State]]:
        world, slots, strays, late, faults = state
        for number, (left, node, _) in enumerate(slots):
            if node != IDLE:
                yield from self._go_on(state, number)
                if faults[1] or faults[2]:
                    yield from self._abandon(state, number)
            elif left:
                yield from self._begin(state, number, left)
        for number, node in enumerate(strays):
            yield from self._stray(state, node, strays[:number] + strays[number + 1 :])
        for number, request in enumerate(late):
            rest = late[:number] + late[number + 1 :]
            for move in self._once(self._landings, world, request):
                yield move.label, _State(move.world, slots, strays, rest, faults)
        if faults[3]:
            yield from self._environment(state)

    def _go_on(self, state: _State, number: int) -> Iterable[tuple[str, _State]]:
        world, slots, strays, late, faults = state
        left, node, binding = slots[number]
        before, behind = slots[:number], slots[number + 1 :]
        for label, changed, after, lost in self._once(self._moves, world, number, node, binding):
            if lost is None or faults[0]:
                running = (*before, (left, after, binding and after != IDLE), *behind)
                yield label, _State(changed, running, strays, *_without_reply(lost, late, faults))

    def _stray(
        self, state: _State, node: int, others: tuple[int, ...]
    ) -> Iterable[tuple[str, _State]]:
        world, slots, _, late, faults = state
        for label, changed, after, lost in self._once(self._moves, world, STRAY, node, False):
            if lost is None or faults[0]:
                still = () if after == IDLE else (after,)
                running = tuple(sorted((*others, *still)))
                yield label, _State(changed, slots, running, *_without_reply(lost, late, faults))

    def _begin(self, state: _State, number: int, left: int) -> Iterable[tuple[str, _State]]:
        tenant = self.model.slots[number].tenant
        same = [n for n, other in enumerate(self.model.slots) if other.tenant == tenant]
        binding = not any(
            self._deleting(state.slots[n][1])
            for n in same
            if n != number and state.slots[n][1] != IDLE
        )
        for label, deletes, world, node in self._once(
            self._openings, state.world, number, left, binding
        ):
            slots = list(state.slots)
            if deletes:
                for n in same:
                    slots[n] = (*slots[n][:2], False)
            slots[number] = (left - 1, node, binding and not deletes)
            yield label, state._replace(world=world, slots=tuple(slots))

    def _openings(
        self, world: int, number: int, left: int, binding: bool
    ) -> Iterable[tuple[str, bool, int, int]]:
        """The operations that a slot may begin: label, whether it deletes, world, node."""
        slot = self.model.slots[number]
        for label, call in slot.menu(self.worlds[world], left):
            noted, node = self._notes(world, self.automaton.start(call), slot.tenant, binding)
            yield f"{slot.name}: begins {label}", label.startswith("delete"), noted, node

    def _deleting(self, node: int) -> bool:
        return "delete" in self.automaton.nodes[node].call.program.__name__

    def _moves(self, world: int, number: int, node: int, binding: bool) -> Iterable[_Move]:
        """Each request of a node with its reply, and without one if that is a fault."""
        stray = number == STRAY
        who = "(given up)" if stray else self.model.slots[number].name
        tenant = "" if stray else self.model.slots[number].tenant
        now = self.worlds[world]
        for side, ask in self.automaton.enabled(node):
            assert isinstance(ask, Request)
            label = f"{who}: {_show(ask)} →"
            for reply, changed in self.model.apply(now, ask, False):
                after = self.automaton.advance(node, side, reply)
                yield _Move(
                    f"{label} {reply}", *self._notes(self._world(changed), after, tenant, binding)
                )
            if self.model.changes(now, ask):
                after = self.automaton.advance(node, side, UNKNOWN)
                noted = self._notes(world, after, tenant, binding)
                yield _Move(f"{label} no reply", *noted, self._request(ask))

    def _landings(self, world: int, request: int) -> Iterable[_Move]:
        asked = self.requests[request]
        for _, changed in self.model.apply(self.worlds[world], asked, True):
            yield _Move(f"late: {_show(asked)}", self._world(changed), IDLE)

    def _abandon(self, state: _State, number: int) -> Iterable[tuple[str, _State]]:
        slot, (left, node, _) = self.model.slots[number], state.slots[number]
        no_reply, crash, given_up, environment = state.faults
        slots = (*state.slots[:number], (left, IDLE, False), *state.slots[number + 1 :])
        if crash:
            faults = (no_reply, crash - 1, given_up, environment)
            idle = state._replace(slots=slots, faults=faults)
            yield f"{slot.name}: crashes", idle
            for move in self._once(self._moves, state.world, number, node, False):
                if move.lost is not None:
                    late = tuple(sorted((*state.late, move.lost)))
                    sent = _show(self.requests[move.lost])
                    yield f"{slot.name}: crashes after sending {sent}", idle._replace(late=late)
        if given_up and slot.tenant:
            faults = (no_reply, crash, given_up - 1, environment)
            strays = tuple(sorted((*state.strays, node)))
            yield (
                f"{slot.name}: gives up, its operation goes on",
                state._replace(slots=slots, strays=strays, faults=faults),
            )

    def _environment(self, state: _State) -> Iterable[tuple[str, _State]]:
        faults = (*state.faults[:3], state.faults[3] - 1)
        for move in self._once(self._happenings, state.world, state.late):
            yield move.label, state._replace(world=move.world, faults=faults)

    def _happenings(self, world: int, late: tuple[int, ...]) -> Iterable[_Move]:
        waiting = tuple(self.requests[number] for number in late)
        for label, after in self.model.environment(self.worlds[world], waiting):
            yield _Move(label, self._world(after), IDLE)

    def _notes(self, world: int, node: int, tenant: str, binding: bool) -> tuple[int, int]:
        """Records what a program notes before its next request; IDLE if it has ended."""
        while True:
            asks = self.automaton.nodes[node].asks
            if not isinstance(asks, Note):
                return world, IDLE if self.automaton.done(node) else node
            noted = self.model.note(self.worlds[world], asks, tenant, binding)
            world, node = self._world(noted), self.automaton.advance(node, 0, None)


def _without_reply(
    lost: int | None, late: tuple[int, ...], faults: tuple[int, int, int, int]
) -> tuple[tuple[int, ...], tuple[int, int, int, int]]:
    """The requests in flight, and the faults that are left, after a move."""
    if lost is None:
        return late, faults
    return tuple(sorted((*late, lost))), (faults[0] - 1, *faults[1:])


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Disables Python's garbage collector, which takes a quarter of the time.

    Millions of states have no cycles.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _show(request: Request) -> str:
    words = [request.op, request.kind]
    words += [str(request.name)] if request.name is not None else []
    words += [f"← {request.body}"] if request.body is not None else []
    words += [f"if {request.condition}"] if request.condition is not None else []
    return " ".join(words)


def _trace(came: dict[_State, tuple[_State, str] | None], state: _State) -> list[str]:
    lines: list[str] = []
    step = came[state]
    while step is not None:
        before, label = step
        lines.append(label)
        step = came[before]
    return lines[::-1]
