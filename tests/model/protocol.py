"""What a model tells the checker: the processes, the world, and what must be true."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from tests.model.programs import Call, Note, Request

World = TypeVar("World")
Step = tuple[Any, Any]
"""A reply, and the world after it; both are hashable, and each model has its own types."""


class Slot(NamedTuple):
    """A process that begins operations, one at a time.

    Attributes:
        name: for traces.
        operations: how many it may begin.
        menu: what it may begin now: label and program, by the world and the operation's number.
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

    @property
    def slots(self) -> Sequence[Slot]:
        """The processes."""
        ...

    @property
    def faults(self) -> Faults:
        """How often each fault may happen."""
        ...

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
        """Whether a request, sent now, may change something if it arrives later."""
        ...

    def environment(self, world: Any, waiting: tuple[Request, ...]) -> Iterable[tuple[str, Any]]:
        """What else can happen, while the requests `waiting` are in flight."""
        ...

    def violation(self, world: Any) -> str | None:
        """What is wrong with a world, if anything."""
        ...

    def at_rest(self, world: Any) -> str | None:
        """What is wrong with a world in which everything has ended, if anything."""
        ...


def alone(model: Model, world: World, call: Call) -> World:
    """The world after a program that runs alone, whose requests have one outcome each."""
    running = call.program(*call.arguments)
    try:
        asks = next(running)
        while True:
            ((reply, world),) = model.apply(world, asks, late=False)
            asks = running.send(reply)
    except StopIteration:
        return world
