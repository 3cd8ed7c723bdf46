"""Programs: what a process requests, one request at a time, and how it continues.

A program is a generator function that yields requests and receives their replies. A checker must
copy and compare running programs, which Python's generators don't allow. So each point that a
program can reach becomes a node, which is found by running the program again with the replies that
led there. Two ways to one point (the same place in the code, the same local variables) are one
node, which keeps the state space small.

That limits what a program may do: its locals are hashable, a loop's progress is in its variable,
and it keeps no state outside.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass
from types import FrameType
from typing import Any, NamedTuple


class Request(NamedTuple):
    """One request to the object store, or one Redis script.

    Attributes:
        op: what is requested: `put`, `get`, `list`, …; `run` for a script.
        kind: of key: `record`, `hold`, `mark`, `data`; a script's name.
        name: which key, in the model's short names.
        condition: None, `ABSENT`, or the value that a compare-and-swap replaces.
        body: what is written, or a script's arguments.

    Each model has its own types for the last three; they are hashable, as a request is.
    """

    op: str
    kind: str
    name: Any = None
    condition: Any = None
    body: Any = None


class Note(NamedTuple):
    """Something that the checker must know at this point, without a request; `of` is hashable."""

    what: str
    of: Any = None


class Call(NamedTuple):
    """A program that hasn't begun yet."""

    program: Callable[..., Generator[Any, Any, Any]]
    arguments: tuple[Hashable, ...] = ()


class Both(NamedTuple):
    """Two concurrent programs; the reply is the pair of their results."""

    first: Call
    second: Call


Program = Generator[Request | Note | Both, Any, Any]
ABSENT = "absent"
OK = "ok"
UNKNOWN = "no reply"
"""No reply arrived: the request may have taken effect, may do so later, or never."""


@dataclass(slots=True)
class Node:
    """A point that a program can reach: its request there, or its result."""

    number: int
    call: Call
    history: tuple[Any, ...]
    asks: Request | Note | Both | None
    result: Any = None
    pair: tuple[int, int] | None = None


class Automaton:
    """All nodes of all programs of one model, created as they are reached."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._known: dict[Hashable, int] = {}
        self._steps: dict[tuple[int, int, Any], int] = {}
        self._starts: dict[Call, int] = {}

    def start(self, call: Call) -> int:
        """The node at which a program begins."""
        number = self._starts.get(call)
        if number is None:
            number = self._starts[call] = self._reach(call, ())
        return number

    def enabled(self, number: int) -> tuple[tuple[int, Request | Note], ...]:
        """The requests at a node: which side of a `Both` (otherwise 0), and the request."""
        node = self.nodes[number]
        if node.pair is not None:
            left, right = (self.nodes[side] for side in node.pair)
            return tuple(
                (side, ask)
                for side, inner in enumerate((left, right))
                for _, ask in (self.enabled(inner.number) if inner.asks is not None else ())
            )
        assert not isinstance(node.asks, Both)
        return () if node.asks is None else ((0, node.asks),)

    def advance(self, number: int, side: int, reply: Any) -> int:
        """The node after a reply."""
        step = (number, side, reply)
        reached = self._steps.get(step)
        if reached is None:
            reached = self._steps[step] = self._advance(*step)
        return reached

    def done(self, number: int) -> bool:
        """Whether the program has ended here."""
        return self.nodes[number].asks is None

    def result(self, number: int) -> Any:
        """The program's result."""
        return self.nodes[number].result

    def _advance(self, number: int, side: int, reply: Any) -> int:
        node = self.nodes[number]
        if node.pair is None:
            return self._reach(node.call, (*node.history, reply))
        pair = list(node.pair)
        pair[side] = self.advance(pair[side], 0, reply)
        left, right = pair
        if self.done(left) and self.done(right):
            results = (self.result(left), self.result(right))
            return self._reach(node.call, (*node.history, results))
        return self._side_by_side(node, (left, right))

    def _side_by_side(self, node: Node, pair: tuple[int, int]) -> int:
        key = (node.call, node.history, pair)
        return self._add(key, node.call, node.history, node.asks, None, pair)

    def _reach(self, call: Call, history: tuple[Any, ...]) -> int:
        running = call.program(*call.arguments)
        try:
            asks = next(running)
            for reply in history:
                asks = running.send(reply)
        except StopIteration as end:
            return self._add(("end", end.value), call, history, None, end.value, None)
        number = self._add(_place(running), call, history, asks, None, None)
        running.close()
        node = self.nodes[number]
        if isinstance(asks, Both) and node.pair is None:
            return self._side_by_side(node, (self.start(asks.first), self.start(asks.second)))
        return number

    def _add(
        self,
        key: Hashable,
        call: Call,
        history: tuple[Any, ...],
        asks: Request | Note | Both | None,
        result: Any,
        pair: tuple[int, int] | None,
    ) -> int:
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self.nodes)
            self.nodes.append(Node(number, call, history, asks, result, pair))
        return number


def _place(running: Generator[Any, Any, Any]) -> Hashable:
    """Where a program is: the code and the locals of all its frames."""
    frames = []
    inner: Any = running
    while inner is not None:
        frame: FrameType = inner.gi_frame
        frames.append((frame.f_code, frame.f_lasti, tuple(sorted(frame.f_locals.items()))))
        inner = inner.gi_yieldfrom
    return tuple(frames)
