"""Compares what the code requests of the store and of Redis with what a program allows.

The program runs in the model's world alongside the code. Each request of the code must be one that
the program may make next in that world, with a reply that the world allows (or none, if the test
has lost it); at the end the program must have ended. Each name of the code stands for one name of
the model: a delete removes the hold that it has marked, and no name stands for two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tests.model.programs import ABSENT, UNKNOWN, Automaton, Call, Note, Request
from tests.model.protocol import Model
from tests.model.recording import Made
from tests.model.storage_rules import Record

View = Callable[[str, str], bool]
"""Whether requests of an op and a kind are compared; the program's others are ignored."""
Names = frozenset[tuple[object, str]]
NOT_COMPARED = {"absence", "doomed", "known", "age", "recent"}
"""What collectors keep of earlier runs, and what a listing says besides names."""


class _Place(NamedTuple):
    """Where a program may be: its node, its world, and the names found so far."""

    node: int
    world: object
    names: Names = frozenset()


def of_the_store(op: str, kind: str) -> bool:
    """Model A's requests, without Redis."""
    return op not in {"run", "abort_upload"} and kind not in NOT_COMPARED


def of_a_commit(op: str, kind: str) -> bool:
    """Model A's requests, and the Redis scripts of a commit."""
    return kind in {"freeze", "forget"} or of_the_store(op, kind)


def of_the_cache(op: str, kind: str) -> bool:
    """Model B's requests: the cache, and which holds exist."""
    if op == "run":
        return kind.startswith(("change_", "hold_"))
    return kind in {"hold", "mark"} and op in {"list", "put", "delete"}


def of_an_expiry(op: str, kind: str) -> bool:
    """Model D's requests: sightings, the cache, and which holds exist."""
    return kind in {"seen", "missing", "tenants"} or of_the_cache(op, kind)


def refusal(
    model: Model, call: Call, made: Iterable[Made], view: View = of_the_store
) -> str | None:
    """Why a program, in the model's first world, doesn't allow what was made; None if it does."""
    search = _Search(model, view)
    places = search.settled({_Place(search.automaton.start(call), model.first())})
    so_far: list[str] = []
    for request in made:
        if not view(request.op, request.kind):
            continue
        after = {place for before in places for place in search.follow(before, request)}
        if not after:
            allowed = sorted({str(ask) for place in places for ask in search.asks(place)})
            return f"after {so_far}, {request} isn't one of {allowed}"
        places = search.settled(after)
        so_far.append(str(request))
    if any(search.automaton.done(place.node) for place in places):
        return None
    return f"after {so_far}, the program isn't through"


class _Search:
    def __init__(self, model: Model, view: View) -> None:
        self.automaton = Automaton()
        self._model = model
        self._view = view

    def asks(self, place: _Place) -> list[Request | Note]:
        """What the program asks at a place."""
        return [ask for _, ask in self.automaton.enabled(place.node)]

    def follow(self, place: _Place, made: Made) -> Iterable[_Place]:
        """The places after a request that the code has made."""
        for side, ask in self.automaton.enabled(place.node):
            if not isinstance(ask, Request) or not _matches(ask, made):
                continue
            names = _met(place.names, ask, made)
            if names is not None:
                yield from self._after(place._replace(names=names), side, ask, made.answered)

    def _after(self, place: _Place, side: int, ask: Request, answered: bool) -> Iterable[_Place]:
        for reply, changed in self._model.apply(place.world, ask, late=False):
            if answered:
                node = self.automaton.advance(place.node, side, reply)
                yield place._replace(node=node, world=changed)
            else:
                lost = place._replace(node=self.automaton.advance(place.node, side, UNKNOWN))
                yield lost
                yield lost._replace(world=changed)

    def settled(self, places: set[_Place]) -> set[_Place]:
        """The places from which a request that is compared leads on, or none."""
        settled, waiting = set(), list(places)
        while waiting:
            place = waiting.pop()
            seen = not (enabled := self.automaton.enabled(place.node))
            for side, ask in enabled:
                if isinstance(ask, Note):
                    node = self.automaton.advance(place.node, side, None)
                    waiting.append(place._replace(node=node))
                elif self._view(ask.op, ask.kind):
                    seen = True
                else:
                    waiting += self._after(place, side, ask, answered=True)
            if seen:
                settled.add(place)
        return settled


def _matches(ask: Request, made: Made) -> bool:
    condition = ""
    if ask.condition is not None:
        condition = "IfAbsent" if ask.condition == ABSENT else "IfMatch"
    state = ask.body.state if isinstance(ask.body, Record) else ""
    return (ask.op, ask.kind, condition, state) == made[:4]


def _met(names: Names, ask: Request, made: Made) -> Names | None:
    """With the pair of names that a request tells of; None if they stand for others already."""
    if ask.op in {"list", "run"} or ask.kind == "record":
        return names
    if any((ours == ask.name) != (theirs == made.name) for ours, theirs in names):
        return None
    return names | {(ask.name, made.name)}
