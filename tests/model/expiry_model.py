"""Model D: a tenant that comes back while its holds are dropped because it seems gone.

There are one tenant, one digest whose record stays live (another tenant holds it), and clocks:
the ages of what a process believes, of the mark `missing`, and of what the tenant was told.
Whether a tenant seems to be gone is arbitrary: an expiry may miss it at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.model.expiry_programs import ExpiryRules, ask, expire, find, sweep
from tests.model.programs import ABSENT, OK, Call, Note, Request
from tests.model.protocol import Faults, Slot, Step, alone
from tests.model.storage_rules import FAILED

FORGOTTEN = 2
"""Ticks after which a tenant's hold may be dropped, if it has made no request since."""
OLDEST = 5
"""The age in ticks beyond which a greater age makes no difference."""
Ages = frozenset[tuple[str, int]]


class Missing(NamedTuple):
    """The mark `missing`."""

    seen: str
    name: str
    age: int


class ExpiryWorld(NamedTuple):
    """The store, Redis, and what processes remember."""

    seen: str = "A"
    missing: Missing | None = None
    holds: frozenset[str] = frozenset({"old"})
    marks: frozenset[str] = frozenset()
    entry: bool = True
    token: str = ""
    changes: frozenset[str] = frozenset()
    beliefs: Ages = frozenset()
    pins: Ages = frozenset()
    told: int | None = None

    def older(self) -> ExpiryWorld:
        """The world one tick later."""
        missing, told = self.missing, self.told
        if missing is not None:
            missing = missing._replace(age=min(missing.age + 1, OLDEST))
        if told is not None:
            told = told + 1 if told + 1 < FORGOTTEN else None
        return self._replace(
            missing=missing, told=told, beliefs=_older(self.beliefs), pins=_older(self.pins)
        )


def _older(ages: Ages) -> Ages:
    return frozenset((name, min(age + 1, OLDEST)) for name, age in ages)


def _aged(ages: Ages, name: object, age: int | None) -> Ages:
    kept = frozenset(pair for pair in ages if pair[0] != name)
    return kept if age is None else kept | {(str(name), age)}


AWAKE = ExpiryWorld(beliefs=frozenset({("f", 0)}))
"""A frontend believes a sighting, and the tenant isn't marked as missing."""
DUE = ExpiryWorld(missing=Missing("A", "m", OLDEST))
"""The tenant was marked as missing long ago: the next look drops it."""


@dataclass(frozen=True)
class ExpiryModel:
    """Expiries under a set of rules."""

    rules: ExpiryRules
    slots: Sequence[Slot]
    faults: Faults
    start: ExpiryWorld = DUE

    def first(self) -> ExpiryWorld:
        """The world at the beginning."""
        return self.start

    def changes(self, world: ExpiryWorld, request: Request) -> bool:
        """Whether it leaves the process, and a missing reply to it is a fault."""
        del world
        return request.op in {"put", "delete", "run"} and request.kind not in {"belief", "promise"}

    def note(self, world: ExpiryWorld, note: Note, tenant: str, binding: bool) -> ExpiryWorld:
        """Records what the tenant was told."""
        del note, tenant
        return world._replace(told=0) if binding else world

    def apply(self, world: ExpiryWorld, request: Request, late: bool) -> Iterable[Step]:
        """What a request does."""
        del late
        return [getattr(self, f"_{request.op}_{request.kind}")(world, request)]

    # -- what a frontend remembers; the pin is the age of what an answer relies on

    def _get_belief(self, world: ExpiryWorld, request: Request) -> Step:
        age = dict(world.beliefs).get(str(request.body), OLDEST)
        believed = age < self.rules.believed
        pins = _aged(world.pins, request.name, age if believed else 0)
        return believed, world._replace(pins=pins)

    def _put_belief(self, world: ExpiryWorld, request: Request) -> Step:
        age = dict(world.pins)[str(request.name)]
        return OK, world._replace(beliefs=_aged(world.beliefs, request.body, age))

    def _run_promise(self, world: ExpiryWorld, request: Request) -> Step:
        age = dict(world.pins).get(str(request.name), 0)
        if not self.rules.pins:
            age = dict(world.beliefs).get(str(request.body), OLDEST)
        return age < self.rules.answered, world._replace(pins=_aged(world.pins, request.name, None))

    # -- sightings and the mark

    def _list_tenants(self, world: ExpiryWorld, _request: Request) -> Step:
        there = bool(world.holds or world.marks)
        return (there, world.seen, world.missing is not None), world

    def _put_seen(self, world: ExpiryWorld, request: Request) -> Step:
        return OK, world._replace(seen=str(request.body))

    def _head_seen(self, world: ExpiryWorld, _request: Request) -> Step:
        return world.seen, world

    def _get_missing(self, world: ExpiryWorld, _request: Request) -> Step:
        if world.missing is None:
            return None, world
        seen, name, age = world.missing
        return (seen, name, age >= self.rules.grace), world

    def _head_missing(self, world: ExpiryWorld, _request: Request) -> Step:
        return world.missing and world.missing.name, world

    def _put_missing(self, world: ExpiryWorld, request: Request) -> Step:
        stands = world.missing.name if world.missing else ABSENT
        if request.condition != stands:
            return FAILED, world
        seen, name = request.body
        return OK, world._replace(missing=Missing(seen, name, 0))

    def _delete_missing(self, world: ExpiryWorld, _request: Request) -> Step:
        return OK, world._replace(missing=None)

    # -- holds

    def _list_hold(self, world: ExpiryWorld, _request: Request) -> Step:
        names = sorted(world.holds | world.marks)
        return tuple((name, name in world.marks) for name in names), world

    def _list_mark(self, world: ExpiryWorld, _request: Request) -> Step:
        return tuple(sorted(world.marks)), world

    def _get_hold(self, world: ExpiryWorld, request: Request) -> Step:
        return request.name in world.holds, world

    def _put_hold(self, world: ExpiryWorld, request: Request) -> Step:
        return OK, world._replace(holds=world.holds | {str(request.name)})

    def _delete_hold(self, world: ExpiryWorld, request: Request) -> Step:
        return OK, world._replace(holds=world.holds - {str(request.name)})

    def _put_mark(self, world: ExpiryWorld, request: Request) -> Step:
        return OK, world._replace(marks=world.marks | {str(request.name)})

    def _delete_mark(self, world: ExpiryWorld, request: Request) -> Step:
        return OK, world._replace(marks=world.marks - {str(request.name)})

    # -- Redis: its `gen`, its failovers and late fills are model B's

    def _run_hold_look_up(self, world: ExpiryWorld, _request: Request) -> Step:
        return (world.token, world.entry), world

    def _run_hold_fill(self, world: ExpiryWorld, request: Request) -> Step:
        taken = request.body == world.token and not world.changes
        return OK, world._replace(entry=world.entry or taken)

    def _run_change_begin(self, world: ExpiryWorld, request: Request) -> Step:
        name = str(request.name)
        changes = world.changes | {name}
        return OK, world._replace(entry=False, token=f"{name} begun", changes=changes)

    def _run_change_confirm(self, world: ExpiryWorld, request: Request) -> Step:
        return OK if request.name in world.changes else "forgotten", world

    def _run_change_end(self, world: ExpiryWorld, request: Request) -> Step:
        name = str(request.name)
        changes = world.changes - {name}
        return OK, world._replace(entry=False, token=f"{name} ended", changes=changes)

    def environment(
        self, world: ExpiryWorld, waiting: tuple[Request, ...]
    ) -> Iterable[tuple[str, ExpiryWorld]]:
        """Hours pass; no request is in flight then, because none can arrive after so long."""
        if not waiting:
            yield "hours pass", world.older()

    # -- what must be so

    def violation(self, world: ExpiryWorld) -> str | None:
        """A tenant that was told recently that it holds the digest has a hold."""
        if world.told is not None and not world.holds:
            return "the tenant was told that it holds the digest, and has no hold"
        return None

    def at_rest(self, world: ExpiryWorld) -> str | None:
        """A tenant that stays away loses all its holds, by two looks that are the grace apart."""
        for turn in ("y", "z"):
            world = alone(self, world, Call(expire, (self.rules, turn)))
            for _ in range(self.rules.grace):
                world = world.older()
        if world.holds or world.marks:
            return f"{sorted(world.holds | world.marks)} of a tenant that stays away are left"
        return None


def returning(
    rules: ExpiryRules,
    faults: Faults,
    start: ExpiryWorld = DUE,
    asks: Sequence[tuple[str, str]] = (("f", "isolated"),),
    looks: Sequence[int] = (1,),
    finds: bool = False,
    sweeps: bool = False,
) -> ExpiryModel:
    """A tenant makes requests while expiries look and a collector ends interrupted deletes.

    Args:
        rules: of all processes.
        faults: how often each may happen.
        start: the world at the beginning.
        asks: the concurrent RPCs: the frontend of each, and its sort.
        looks: how many looks each expiry takes.
        finds: whether one expiry may be told that the tenant exists.
        sweeps: whether a collector runs.
    """

    def one(name: str, count: int, tenant: str, *calls: tuple[Any, ...]) -> Slot:
        def menu(_world: Any, left: int) -> Iterable[tuple[str, Call]]:
            for program, *arguments in calls:
                yield program.__name__, Call(program, _given(rules, f"{name}{left}", *arguments))

        return Slot(name, count, menu, tenant)

    slots = [
        one(f"rpc{n}", 1, "a", (ask, frontend, sort)) for n, (frontend, sort) in enumerate(asks)
    ]
    slots += [one(f"expiry{n}", count, "", (expire,)) for n, count in enumerate(looks)]
    slots += [one("finder", 1, "", (find,))] * finds + [one("collector", 1, "", (sweep,))] * sweeps
    return ExpiryModel(rules, slots, faults, start)


def _given(rules: ExpiryRules, name: str, *of: str) -> tuple[Any, ...]:
    """A program's arguments: `ask` has a frontend before its name and a sort after it."""
    return (rules, of[0], name, of[1]) if of else (rules, name)
