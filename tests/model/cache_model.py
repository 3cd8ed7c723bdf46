"""Model B: what Redis remembers of one tenant's hold, compared with the holds themselves.

The digest's record stays live throughout, because another tenant holds it. So the only question
left is whether an answer from the cache can outlast the hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.model.programs import ABSENT, OK, UNKNOWN, Call, Note, Program, Request
from tests.model.protocol import Faults, Slot, Step

REMEMBERED = 2
"""How many changes of Redis a failover may lose."""


class CacheRules(NamedTuple):
    """The rules of the cache; a broken variant differs in one of them."""

    gen: bool = True
    server: bool = True
    guard: bool = True
    announces_first: bool = True
    """A delete announces itself in Redis before it touches the store."""
    confirms: str = "after"
    """A delete checks that it is still announced, "after" its marks, "before" them, or "never"."""
    marks_all_first: bool = True
    """All holds are marked before the first one is deleted."""
    ends_last: bool = True
    """A delete reports its end only when its holds are gone."""
    ends_only_done: bool = True
    """An unconfirmed delete stays announced."""
    bound: str = "none"
    """What a new change does to the others that are announced: "none" if they are few; "folds"
    them into one that stays, as the code does if they are many; or "drops" them."""


EARLIER = "earlier"
"""Changes folded into one, which stays announced for longer than a search lasts."""


class Redis(NamedTuple):
    """One tenant's cache of one digest."""

    gen: int = 0
    server: int = 0
    entry: tuple[int, int] | None = None
    token: str = ""
    changes: frozenset[str] = frozenset()


class CacheWorld(NamedTuple):
    """Redis, what it was before its last changes, and the tenant's holds."""

    redis: Redis = Redis()
    before: tuple[Redis, ...] = ()
    holds: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    acknowledged: bool = False

    def changed(self, redis: Redis) -> CacheWorld:
        """The world after a change of Redis."""
        if redis == self.redis:
            return self
        return self._replace(redis=redis, before=(self.redis, *self.before)[:REMEMBERED])


HELD = CacheWorld(holds=frozenset({"old"}), acknowledged=True)
"""The tenant holds the digest, and an answer has said so."""
HELD_TWICE = HELD._replace(holds=frozenset({"old", "other"}))


# -- programs


def info(_rules: CacheRules, name: str) -> Program:
    """`Catalogue.info`: answers from the cache, or from the store and then fills the cache."""
    ticket = yield Request("run", "hold_look_up")
    if ticket != UNKNOWN and ticket[3]:
        yield Note("held")
        return
    listed = yield Request("list", "hold")
    if all(marked for _, marked in listed):
        made = yield Request("put", "hold", name, ABSENT)
        if made != OK:
            return
    yield Note("held")
    if ticket != UNKNOWN:
        yield Request("run", "hold_fill", None, None, ticket[:3])


def held(_rules: CacheRules, name: str) -> Program:
    """`Catalogue.held`: a cached hold counts if the bytes are there; otherwise it is forgotten."""
    ticket = yield Request("run", "hold_look_up")
    if ticket != UNKNOWN and ticket[3]:
        whole = yield Request("get", "record")
        if whole:
            yield Note("held")
            return
        begun = yield Request("run", "change_begin", name, None, "no delete")
        if begun == OK:
            yield Request("run", "change_end", name)
        return
    listed = yield Request("list", "hold")
    if all(marked for _, marked in listed):
        return
    yield Note("held")
    if ticket != UNKNOWN:
        yield Request("run", "hold_fill", None, None, ticket[:3])


def delete(rules: CacheRules, name: str) -> Program:
    """`Catalogue.delete`: announced, marked, checked to be announced still, deleted, ended."""
    yield Note("delete")
    if rules.announces_first:
        begun = yield Request("run", "change_begin", name)
        if begun != OK:
            return
    listed = yield Request("list", "hold")
    names = tuple(hold for hold, _ in listed)
    if names:
        gone = yield from take_away(rules, name, names)
        if not gone:
            return
    if not rules.announces_first:
        yield Request("run", "change_begin", name)
    yield Request("run", "change_end", name)


def take_away(rules: CacheRules, name: str, names: tuple[str, ...]) -> Program:
    """Marks, asks Redis, deletes; returns whether the delete may report its end."""
    if rules.confirms == "before":
        confirmed = yield Request("run", "change_confirm", name)
        if confirmed != OK:
            return False
    marked: tuple[str, ...] = ()
    for hold in names:
        reply = yield Request("put", "mark", hold)
        if reply != OK:
            return False
        marked = (*marked, hold)
        if rules.marks_all_first and marked != names:
            continue
        if rules.confirms == "after" and (rules.marks_all_first or hold == names[0]):
            confirmed = yield Request("run", "change_confirm", name)
            if confirmed != OK:
                return False
        if not rules.ends_last:
            yield Request("run", "change_end", name)
        gone = yield from drop(marked)
        marked = ()
        if not gone:
            return not rules.ends_only_done
    return True


def drop(names: tuple[str, ...]) -> Program:
    """Deletes marked holds, and then their marks; returns whether all was confirmed."""
    for hold in names:
        for kind in ("hold", "mark"):
            gone = yield Request("delete", kind, hold)
            if gone != OK:
                return False
    return True


# -- the world


@dataclass(frozen=True)
class CacheModel:
    """The cache under a set of rules."""

    rules: CacheRules
    slots: Sequence[Slot]
    faults: Faults
    start: CacheWorld = HELD

    def first(self) -> CacheWorld:
        """The world at the beginning."""
        return self.start

    def changes(self, world: CacheWorld, request: Request) -> bool:
        """Whether a missing reply to it counts as a fault: for all but look-ups."""
        del world
        return request.op not in {"list", "get"}

    def note(self, world: CacheWorld, note: Note, tenant: str, binding: bool) -> CacheWorld:
        """Records what the tenant was told."""
        del tenant
        if note.what == "delete":
            return world._replace(acknowledged=False)
        return world._replace(acknowledged=world.acknowledged or binding)

    def apply(self, world: CacheWorld, request: Request, late: bool) -> Iterable[Step]:
        """What a request does."""
        del late
        if request.kind == "record":  # model A covers whether the bytes are there
            return [(True, world), (False, world)]
        return [getattr(self, f"_{request.op}_{request.kind}")(world, request)]

    def _run_hold_look_up(self, world: CacheWorld, _request: Request) -> Step:
        redis = world.redis
        hit = redis.entry is not None
        if redis.entry is not None:
            gen, server = redis.entry
            hit = not (self.rules.gen and gen != redis.gen)
            hit = hit and not (self.rules.server and server != redis.server)
        return (redis.gen, redis.server, redis.token, hit), world

    def _run_hold_fill(self, world: CacheWorld, request: Request) -> Step:
        redis, (gen, server, token) = world.redis, request.body
        refused = (
            (self.rules.gen and gen != redis.gen)
            or (self.rules.server and server != redis.server)
            or (self.rules.guard and (token != redis.token or redis.changes))
        )
        if refused:
            return OK, world
        return OK, world.changed(redis._replace(entry=(gen, server)))

    def _run_change_begin(self, world: CacheWorld, request: Request) -> Step:
        redis, name = world.redis, str(request.name)
        others = redis.changes - {name}
        if others and self.rules.bound != "none":
            others = frozenset({EARLIER}) if self.rules.bound == "folds" else frozenset()
        redis = redis._replace(
            token=f"{name} begun",
            changes=others | {name},
            entry=None,
            gen=redis.gen + (request.body is None),
        )
        return OK, world.changed(redis)

    def _run_change_confirm(self, world: CacheWorld, request: Request) -> Step:
        return OK if request.name in world.redis.changes else "forgotten", world

    def _run_change_end(self, world: CacheWorld, request: Request) -> Step:
        redis, name = world.redis, str(request.name)
        redis = redis._replace(
            token=f"{name} ended",
            changes=redis.changes - {name},
            entry=None,
        )
        return OK, world.changed(redis)

    def _list_hold(self, world: CacheWorld, _request: Request) -> Step:
        names = sorted(world.holds | world.marks)
        return tuple((name, name in world.marks) for name in names), world

    def _put_hold(self, world: CacheWorld, request: Request) -> Step:
        return OK, world._replace(holds=world.holds | {str(request.name)})

    def _delete_hold(self, world: CacheWorld, request: Request) -> Step:
        return OK, world._replace(holds=world.holds - {str(request.name)})

    def _put_mark(self, world: CacheWorld, request: Request) -> Step:
        return OK, world._replace(marks=world.marks | {str(request.name)})

    def _delete_mark(self, world: CacheWorld, request: Request) -> Step:
        return OK, world._replace(marks=world.marks - {str(request.name)})

    def environment(
        self, world: CacheWorld, waiting: tuple[Request, ...]
    ) -> Iterable[tuple[str, CacheWorld]]:
        """A failover, which may lose the last changes."""
        del waiting
        for lost, redis in enumerate((world.redis, *world.before)):
            after = redis._replace(server=world.redis.server + 1)
            yield (
                f"Redis fails over and loses {lost} changes",
                world._replace(redis=after, before=()),
            )

    def violation(self, world: CacheWorld) -> str | None:
        """A tenant that was told that it holds the digest has a hold."""
        if world.acknowledged and not world.holds:
            return "the tenant was told that it holds the digest, and has no hold"
        return None

    def at_rest(self, world: CacheWorld) -> str | None:
        """Never wrong: cache misses are harmless."""
        del world
        return None


def caching(
    rules: CacheRules, faults: Faults, first: int = 2, second: int = 1, start: CacheWorld = HELD
) -> CacheModel:
    """One tenant asks and deletes through two frontends."""

    def slot(name: str, operations: int) -> Slot:
        def menu(_world: Any, left: int) -> Iterable[tuple[str, Call]]:
            yield "info", Call(info, (rules, f"{name}{left}"))
            yield "held", Call(held, (rules, f"{name}{left}"))
            yield "delete", Call(delete, (rules, f"{name}{left}"))

        return Slot(name, operations, menu, "a")

    return CacheModel(rules, [slot("1", first), slot("2", second)], faults, start)
