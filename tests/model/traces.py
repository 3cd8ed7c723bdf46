"""Holds what the code asks of the store against what a program allows.

The program runs in the model's world beside the code. Each request that the code
has made must be one that the program may make next, there, with a reply that the
world gives (or none, where the test has lost it); at the end the program must be
through. Scripts, which the store doesn't see, run in between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from holdfast.errors import OutcomeUnknown
from storage.port import IfAbsent, IfMatch, ObjectStore
from tests.model.programs import ABSENT, UNKNOWN, Automaton, Call, Note, Request
from tests.model.storage_model import StorageModel, World

KINDS = {"blobs": "record", "holds": "hold", "data": "data"}
ASKED = {"put", "get", "head", "delete", "list", "complete_upload"}
"""What the model knows of; parts and tails come before a commit and are model C's."""


class Made(NamedTuple):
    """A request that the code has made."""

    op: str
    kind: str
    condition: str = ""
    answered: bool = True


class RecordingStore:
    """Hands every call on to a store, and writes down what the model knows of.

    `lose` says of a request whether it is lost ("request"), its reply is ("reply"),
    or neither ("").
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.made: list[Made] = []
        self.lose: Callable[[Made], str] = lambda _made: ""

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)
        if name not in ASKED:
            return operation

        def call(key: str, *args: Any, **kwargs: Any) -> Any:
            condition = next((given for given in args if isinstance(given, IfAbsent | IfMatch)), "")
            made = Made(name, _kind(key), type(condition).__name__ if condition else "")
            lost = self.lose(made)
            if made.kind:
                with self._lock:
                    self.made.append(made._replace(answered=not lost))
            if lost == "request":
                raise OutcomeUnknown("the request was lost")
            result = operation(key, *args, **kwargs)
            if lost:
                raise OutcomeUnknown("the reply was lost")
            return result

        return call


def _kind(key: str) -> str:
    if key.endswith(".deleting"):
        return "mark"
    return KINDS.get(key.partition("/")[0], "")


def refusal(model: StorageModel, call: Call, made: Iterable[Made]) -> str | None:
    """Why a program, in the model's first world, doesn't allow what was made; None if it does."""
    automaton = Automaton()
    places = _settled(model, automaton, {(automaton.start(call), model.first())})
    so_far: list[Made] = []
    for request in made:
        after = set()
        for node, world in places:
            after |= _follow(model, automaton, node, world, request)
        if not after:
            allowed = sorted({str(ask) for place in places for ask in _asks(automaton, place[0])})
            return f"after {so_far}, {request} isn't one of {allowed}"
        places = _settled(model, automaton, after)
        so_far.append(request)
    if any(automaton.done(node) for node, _ in places):
        return None
    return f"after {so_far}, the program isn't through"


def _asks(automaton: Automaton, node: int) -> list[Request | Note]:
    return [ask for _, ask in automaton.enabled(node)]


def _follow(
    model: StorageModel, automaton: Automaton, node: int, world: World, made: Made
) -> set[tuple[int, World]]:
    after = set()
    for side, ask in automaton.enabled(node):
        if not isinstance(ask, Request) or not _matches(ask, made):
            continue
        for reply, changed in model.apply(world, ask, late=False):
            if made.answered:
                after.add((automaton.advance(node, side, reply), changed))
            else:
                lost = automaton.advance(node, side, UNKNOWN)
                after |= {(lost, world), (lost, changed)}
    return after


def _matches(ask: Request, made: Made) -> bool:
    if ask.condition is None:
        condition = ""
    else:
        condition = "IfAbsent" if ask.condition == ABSENT else "IfMatch"
    return (ask.op, ask.kind, condition) == (made.op, made.kind, made.condition)


def _settled(
    model: StorageModel, automaton: Automaton, places: set[tuple[int, World]]
) -> set[tuple[int, World]]:
    """The places from which only a request that the store sees leads on."""
    settled, waiting = set(), list(places)
    while waiting:
        node, world = waiting.pop()
        (side, ask), *others = automaton.enabled(node) or ((0, None),)
        if isinstance(ask, Note):
            waiting.append((automaton.advance(node, side, None), world))
        elif not others and ask is not None and ask.op in {"run", "abort_upload"}:
            ((reply, changed),) = model.apply(world, ask, late=False)
            waiting.append((automaton.advance(node, side, reply), changed))
        else:
            settled.add((node, world))
    return settled
