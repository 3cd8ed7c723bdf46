"""Model B with labels: the labels that Redis remembers, compared with those of the tenant's hold.

If an update is given up, its announcement stays: its write may still arrive later, and labels that
a reader cached before would be reported for as long as somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.model.cache_model import HELD, CacheModel, CacheRules
from tests.model.programs import OK, UNKNOWN, Call, Program, Request
from tests.model.protocol import Faults, Slot, Step


class Labelled(NamedTuple):
    """The labels of the hold, and those that its entry in Redis was filled with."""

    stored: str = ""
    filled: str = ""


def update(name: str) -> Program:
    """`Catalogue.update`: announced, written over the existing hold, ended."""
    begun = yield Request("run", "change_begin", name, None, "no delete")
    if begun != OK:
        return
    written = yield Request("put", "labels", name)
    if written == OK:
        yield Request("run", "change_end", name)


def info() -> Program:
    """`Catalogue.info`: asks the cache, reads the hold, fills the cache."""
    ticket = yield Request("run", "hold_look_up")
    if ticket == UNKNOWN or ticket[3]:
        return
    labels = yield Request("get", "labels")
    yield Request("run", "hold_fill", None, None, (ticket[:3], labels))


@dataclass(frozen=True)
class LabelsModel(CacheModel):
    """The cache of a hold that nobody deletes; a world is the cache's world and the labels."""

    def first(self) -> Any:
        """The world at the beginning."""
        return self.start, Labelled()

    def apply(self, world: Any, request: Request, late: bool) -> Iterable[Step]:
        """What a request does."""
        cache, labelled = world
        if (request.op, request.kind) == ("get", "labels"):
            return [(labelled.stored, world)]
        if (request.op, request.kind) == ("put", "labels"):
            return [(OK, (cache, labelled._replace(stored=str(request.name))))]
        if request.kind == "hold_fill":
            ticket, labels = request.body
            ((reply, after),) = super().apply(cache, request._replace(body=ticket), late)
            if after != cache:
                labelled = labelled._replace(filled=str(labels))
            return [(reply, (after, labelled))]
        return [(reply, (after, labelled)) for reply, after in super().apply(cache, request, late)]

    def violation(self, world: Any) -> str | None:
        """The cached labels are the hold's, while no change of it is announced."""
        cache, labelled = world
        redis = cache.redis
        believed = redis.entry == (redis.gen, redis.server)
        if believed and not redis.changes and labelled.filled != labelled.stored:
            return f"the hold's labels are {labelled.stored!r}, Redis says {labelled.filled!r}"
        return None


def relabelling(rules: CacheRules, faults: Faults) -> LabelsModel:
    """One tenant asks and updates through two frontends."""

    def slot(name: str, operations: int) -> Slot:
        def menu(_world: Any, left: int) -> Iterable[tuple[str, Call]]:
            yield "info", Call(info)
            yield "update", Call(update, (f"{name}{left}",))

        return Slot(name, operations, menu, "a")

    return LabelsModel(rules, [slot("1", 2), slot("2", 2)], faults, HELD)
