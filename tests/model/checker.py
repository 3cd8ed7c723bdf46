"""Every interleaving of a few processes' requests, under a bounded number of faults.

A state is a world (what the store and Redis hold), the slots (clients and
collectors, each at a node of the program it is running, or idle), and the requests
that are still on their way although nobody waits for them any more.

From each state the checker tries:

    a request is carried out and answered
    no reply: the request stays on its way, its sender is told UNKNOWN
    a late request lands (one that never does is a state where it hasn't yet)
    a crash: the operation ends here, its request on its way or not
    given up: the caller goes on, the operation does too
    whatever the model's environment does: time passes, Redis fails over

Breadth first, so that a counterexample is as short as any.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from tests.model.programs import UNKNOWN, Automaton, Call, Note, Request

IDLE = -1
Step = tuple[Any, Hashable]


class Slot(NamedTuple):
    """Who starts operations, one at a time.

    Attributes:
        name: for traces.
        operations: how many it may start.
        menu: what it may start now: label and program, by the world and the operation's number.
        tenant: whose client it is, or "".
    """

    name: str
    operations: int
    menu: Callable[[Any, int], Iterable[tuple[str, Call]]]
    tenant: str = ""


class Faults(NamedTuple):
    """How often each fault may happen in one run."""

    no_reply: int = 0
    crash: int = 0
    given_up: int = 0
    environment: int = 0


class Model(Protocol):
    """What a model tells the checker. Worlds are hashable and never changed."""

    slots: Sequence[Slot]
    faults: Faults

    def first(self) -> Any:
        """The world at the beginning."""
        ...

    def apply(self, world: Any, request: Request, late: bool) -> Iterable[Step]:
        """What a request can do: its reply, and the world after it."""
        ...

    def note(self, world: Any, note: Note, tenant: str, binding: bool) -> Any:
        """The world after a note; `binding`: no delete of the tenant overlaps."""
        ...

    def changes(self, world: Any, request: Request) -> bool:
        """Whether a request, sent now, may change something when it lands later."""
        ...

    def environment(self, world: Any, waiting: tuple[Request, ...]) -> Iterable[tuple[str, Any]]:
        """What else can happen, while `waiting` are on their way."""
        ...

    def violation(self, world: Any) -> str | None:
        """What is wrong with a world, if anything."""
        ...

    def at_rest(self, world: Any) -> str | None:
        """What is wrong with a world in which everything has ended, if anything."""
        ...


@dataclass(slots=True)
class Outcome:
    """What a search has found, in seconds of CPU; `trace` is empty where nothing is wrong."""

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


class TooLarge(Exception):  # noqa: N818 -- the size of a search, not a fault
    """A search has seen more states than it may."""


def check(model: Model, limit: int = 2_000_000) -> Outcome:
    """Searches all states.

    Raises:
        TooLarge: there are more than `limit`.
    """
    return _Search(model, limit).run()


class _Search:
    def __init__(self, model: Model, limit: int) -> None:
        self.model = model
        self.limit = limit
        self.automaton = Automaton()
        self.worlds: list[Any] = []
        self.requests: list[Request] = []
        self._world_numbers: dict[Any, int] = {}
        self._request_numbers: dict[Request, int] = {}
        self._applied: dict[tuple[int, int, bool], list[tuple[Any, int]]] = {}
        self._menus: dict[tuple[int, int, int], list[tuple[str, int]]] = {}
        self._wrong: dict[int, str | None] = {}

    def run(self) -> Outcome:
        began = time.process_time()
        slots = tuple((slot.operations, IDLE, False) for slot in self.model.slots)
        first = _State(self._world(self.model.first()), slots, (), (), tuple(self.model.faults))
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

    # -- interning

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

    def _apply(self, world: int, request: int, late: bool) -> list[tuple[Any, int]]:
        key = (world, request, late)
        found = self._applied.get(key)
        if found is None:
            made = self.model.apply(self.worlds[world], self.requests[request], late)
            found = self._applied[key] = [(reply, self._world(after)) for reply, after in made]
        return found

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
        for number, (left, node, binding) in enumerate(state.slots):
            if node == IDLE:
                if left:
                    yield from self._begin(state, number, left)
            else:
                slot = self.model.slots[number]
                for label, world, after, rest in self._requests(state, node, slot.tenant, binding):
                    yield f"{slot.name}: {label}", _put(rest, world, number, left, after, binding)
                yield from self._abandon(state, number)
        for number, node in enumerate(state.strays):
            others = state.strays[:number] + state.strays[number + 1 :]
            for label, world, after, rest in self._requests(state, node, "", False):
                strays = others if after == IDLE else tuple(sorted((*others, after)))
                yield f"(given up): {label}", rest._replace(world=world, strays=strays)
        for number, request in enumerate(state.late):
            rest = state._replace(late=state.late[:number] + state.late[number + 1 :])
            for _, world in self._apply(state.world, request, True):
                yield f"late: {_show(self.requests[request])}", rest._replace(world=world)
        yield from self._environment(state)

    def _begin(self, state: _State, number: int, left: int) -> Iterable[tuple[str, _State]]:
        slot = self.model.slots[number]
        key = (state.world, number, left)
        if key not in self._menus:
            menu = slot.menu(self.worlds[state.world], left)
            self._menus[key] = [(label, self.automaton.start(call)) for label, call in menu]
        for label, node in self._menus[key]:
            slots = list(state.slots)
            same = [n for n, other in enumerate(self.model.slots) if other.tenant == slot.tenant]
            deletes = label.startswith("delete")
            binding = not any(
                state.slots[n][1] != IDLE and self._deleting(state.slots[n][1])
                for n in same
                if n != number
            )
            if deletes:
                for n in same:
                    slots[n] = (*slots[n][:2], False)
            world, after = self._notes(state.world, node, slot.tenant, binding)
            slots[number] = (left - 1, after, binding and not deletes)
            yield f"{slot.name}: begins {label}", state._replace(world=world, slots=tuple(slots))

    def _deleting(self, node: int) -> bool:
        return "delete" in self.automaton.nodes[node].call.program.__name__

    def _requests(
        self, state: _State, node: int, tenant: str, binding: bool
    ) -> Iterable[tuple[str, int, int, _State]]:
        """Each request of a node: answered, or not: label, world, next node, state's rest."""
        for side, ask in self.automaton.enabled(node):
            assert isinstance(ask, Request)
            request = self._request(ask)
            for reply, changed in self._apply(state.world, request, False):
                after = self.automaton.advance(node, side, reply)
                world, after = self._notes(changed, after, tenant, binding)
                yield f"{_show(ask)} → {reply}", world, after, state
            if state.faults[0] and self.model.changes(self.worlds[state.world], ask):
                after = self.automaton.advance(node, side, UNKNOWN)
                world, after = self._notes(state.world, after, tenant, binding)
                late = tuple(sorted((*state.late, request)))
                faults = (state.faults[0] - 1, *state.faults[1:])
                rest = state._replace(late=late, faults=faults)
                yield f"{_show(ask)} → no reply", world, after, rest

    def _abandon(self, state: _State, number: int) -> Iterable[tuple[str, _State]]:
        slot, (left, node, _) = self.model.slots[number], state.slots[number]
        no_reply, crash, given_up, environment = state.faults
        idle = _put(state, state.world, number, left, IDLE, False)
        if crash:
            faults = (no_reply, crash - 1, given_up, environment)
            yield f"{slot.name}: crashes", idle._replace(faults=faults)
            for _, ask in self.automaton.enabled(node):
                now = self.worlds[state.world]
                if isinstance(ask, Request) and self.model.changes(now, ask):
                    late = tuple(sorted((*state.late, self._request(ask))))
                    label = f"{slot.name}: crashes after sending {_show(ask)}"
                    yield label, idle._replace(faults=faults, late=late)
        if given_up and slot.tenant:
            faults = (no_reply, crash, given_up - 1, environment)
            strays = tuple(sorted((*state.strays, node)))
            yield (
                f"{slot.name}: gives up, its operation goes on",
                idle._replace(faults=faults, strays=strays),
            )

    def _environment(self, state: _State) -> Iterable[tuple[str, _State]]:
        if not state.faults[3]:
            return
        waiting = tuple(self.requests[number] for number in state.late)
        faults = (*state.faults[:3], state.faults[3] - 1)
        for label, after in self.model.environment(self.worlds[state.world], waiting):
            yield label, state._replace(world=self._world(after), faults=faults)

    def _notes(self, world: int, node: int, tenant: str, binding: bool) -> tuple[int, int]:
        """Takes in what a program notes before its next request; IDLE where it has ended."""
        while True:
            asks = self.automaton.nodes[node].asks
            if not isinstance(asks, Note):
                return world, IDLE if self.automaton.done(node) else node
            noted = self.model.note(self.worlds[world], asks, tenant, binding)
            world, node = self._world(noted), self.automaton.advance(node, 0, None)


def _put(state: _State, world: int, number: int, left: int, node: int, binding: bool) -> _State:
    slots = list(state.slots)
    slots[number] = (left, node, binding and node != IDLE)
    return state._replace(world=world, slots=tuple(slots))


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
