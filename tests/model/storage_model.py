"""Model A: one digest's record, holds, data, and the frozen commits of its tenants.

docs/model.md describes its abstractions, and why they are sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.collector_programs import collect, collect_data, sweep_marks
from tests.model.programs import ABSENT, OK, Call, Note, Request
from tests.model.protocol import Faults, Slot, Step, alone
from tests.model.storage_rules import (
    AGED,
    CORRUPT,
    FAILED,
    FRESH,
    INLINE,
    LIVE,
    OFF,
    OR_NOTHING,
    READABLE,
    TOMBSTONE,
    TOO_OLD,
    UNSEEN,
    WARMED,
    WARMING,
    Record,
    Rules,
)

YOUNG, LATE, OLD = 0, 1, 2
"""Ages of an ingest's bytes: may be committed; older than L; older than G."""


class Frozen(NamedTuple):
    """A commit that a frontend has begun to carry out."""

    record: Record
    kind: str


class World(NamedTuple):
    """What the store and Redis contain. Keys and names are short strings."""

    record: Record | None = None
    holds: frozenset[tuple[str, str]] = frozenset()
    marks: frozenset[tuple[str, str]] = frozenset()
    data: frozenset[str] = frozenset()
    bad: frozenset[str] = frozenset()
    """Data whose bytes aren't those that were hashed, though their number is right."""
    uploads: frozenset[str] = frozenset()
    ages: frozenset[tuple[str, int]] = frozenset()
    unseen: frozenset[str] = frozenset()
    """Data last seen complete so long ago that collectors may have run twice since."""
    doomed: tuple[str, ...] | None = None
    """Doomed by earlier runs of data collectors; None: they may have doomed anything."""
    known: tuple[Record, int] | None = None
    """The record as a collector last read it, and how many runs have read it so."""
    marker: str = OFF
    """The digest's marker of retention, or "" if it has none."""
    recent: bool = False
    """Whether the record was written so lately that this alone retains it."""
    warmth: str = ""
    """Whether the digest is being warmed, or somebody was told that it is retained from now on."""
    frozen: frozenset[tuple[str, Frozen]] = frozenset()
    acknowledged: frozenset[str] = frozenset()
    worse: bool = False
    """A record of good bytes was replaced by one of bad bytes."""
    promised: frozenset[str] = frozenset()
    """Damage that the bytes don't have: a client was told so, and keeps no copy."""

    def age(self, key: str) -> int:
        """How old an ingest's bytes are."""
        return dict(self.ages).get(key, YOUNG)


EMPTY = World()


@dataclass(frozen=True)
class StorageModel:
    """The storage protocol under a set of rules.

    Attributes:
        rules: the protocol, or a broken variant of it.
        slots: the processes.
        faults: how often each fault may happen.
        start: the world at the beginning.
        ages: whether time passes.
        wrong_clocks: whether collectors' clocks are so wrong that all data seems old to them.
    """

    rules: Rules
    slots: Sequence[Slot]
    faults: Faults
    start: World = EMPTY
    ages: bool = False
    wrong_clocks: bool = False

    def first(self) -> World:
        """The world at the beginning."""
        return self.start

    def changes(self, world: World, request: Request) -> bool:
        """Whether it changes anything, and isn't refused because the ingest is too old."""
        return request.op not in {"get", "head", "list"} and not self._held_back(world, request)

    def _held_back(self, world: World, request: Request) -> str:
        """Why a record isn't sent."""
        if self._too_old(world, request):
            return TOO_OLD
        return UNSEEN if self._too_long_ago(world, request) else ""

    def _too_long_ago(self, world: World, request: Request) -> bool:
        watched = request.op == "put" and request.kind == "record"
        return watched and self.rules.looks_again and request.name in world.unseen

    def _too_old(self, world: World, request: Request) -> bool:
        checked = request.op == "put" and request.kind == "record" and request.name
        return bool(checked and self.rules.lifetime and world.age(str(request.name)) != YOUNG)

    def note(self, world: World, note: Note, tenant: str, binding: bool) -> World:
        """Records what a tenant was told."""
        if note.what == "delete":
            return world._replace(acknowledged=world.acknowledged - {tenant})
        if note.what in {WARMING, WARMED}:
            return world._replace(warmth=note.what)
        world = world._replace(promised=world.promised.union(note.of or ()))
        if not binding:
            return world
        return world._replace(acknowledged=world.acknowledged | {tenant})

    def apply(self, world: World, request: Request, late: bool) -> Iterable[Step]:
        """What a request does."""
        if request.kind == "absence":  # remembered only by a frontend, and never certain
            return [(False, world), (True, world)]
        if request.body == "first":  # a bit may flip on the way, once
            return [(good, world) for good in {False, self._get_data(world, request, late)[0]}]
        handler, body = getattr(self, f"_{request.op}_{request.kind}"), str(request.body)
        if body.endswith(OR_NOTHING):
            honest = request._replace(body=body.removesuffix(OR_NOTHING))
            nothing = world._replace(holds=frozenset(), marks=frozenset())
            return [handler(world, honest, late), (handler(nothing, honest, late)[0], world)]
        told = [handler(world, request, late)]
        if request.name is True:  # the reply may be wrong
            told.append((self._lie(world, request), world))
        return told

    def _lie(self, world: World, request: Request) -> object:
        if request.kind == "data":
            return tuple(sorted(world.data))
        if request.op == "list" or world.record is None:
            return False if request.op == "list" else None
        return world.record._replace(key="misread", state=request.body or world.record.state)

    def _get_record(self, world: World, _request: Request, _late: bool) -> Step:
        return world.record, world

    def _list_record(self, world: World, request: Request, _late: bool) -> Step:
        if request.body != "known":
            return world.record is not None, world
        known, record = world.known, world.record
        fits = known and record and known[0].nonce == record.nonce
        return (record is not None, known and (*known, bool(fits))), world

    def _put_known(self, world: World, request: Request, _late: bool) -> Step:
        return OK, world._replace(known=request.name)

    def _list_marker(self, world: World, _request: Request, _late: bool) -> Step:
        return world.marker, world

    def _list_recent(self, world: World, _request: Request, _late: bool) -> Step:
        return world.recent, world

    def _put_marker(self, world: World, request: Request, _late: bool) -> Step:
        if world.marker and request.condition == ABSENT:
            return FAILED, world
        return OK, world._replace(marker=FRESH)

    def _delete_marker(self, world: World, _request: Request, _late: bool) -> Step:
        return OK, world._replace(marker="")

    def _list_age(self, world: World, request: Request, _late: bool) -> Step:
        return not self.ages or world.age(str(request.name)) == OLD, world

    def _delete_record(self, world: World, request: Request, _late: bool) -> Step:
        """An ETag serves as well as the nonce: no two bodies have the same one."""
        there = world.record.nonce if world.record else None
        if request.condition not in {None, there}:
            return FAILED, world
        return OK, world._replace(record=None)

    def _put_record(self, world: World, request: Request, late: bool) -> Step:
        if not late and (why := self._held_back(world, request)):
            return why, world
        over = None if request.condition == ABSENT else request.condition
        if request.condition is not None and world.record != over:
            return FAILED, world
        recent = world.marker != OFF and request.body.state == LIVE
        after = world._replace(record=request.body, recent=recent)
        return OK, after._replace(worse=world.worse or _worse(world, after))

    def _head_data(self, world: World, request: Request, _late: bool) -> Step:
        there = world.data & {str(request.name)}
        return bool(there), world._replace(unseen=world.unseen - there)

    def _get_data(self, world: World, request: Request, _late: bool) -> Step:
        key = str(request.name)
        return key.startswith(INLINE) or key in world.data - world.bad, world

    def _put_data(self, world: World, request: Request, _late: bool) -> Step:
        key = str(request.name)
        return OK, world._replace(data=world.data | {key}, unseen=world.unseen - {key})

    def _delete_data(self, world: World, request: Request, _late: bool) -> Step:
        return OK, world._replace(data=world.data - {str(request.name)})

    def _list_data(self, world: World, _request: Request, _late: bool) -> Step:
        least = OLD if self.rules.longer_than_life else YOUNG
        return tuple(sorted(key for key in world.data if world.age(key) >= least)), world

    def _list_doomed(self, world: World, _request: Request, _late: bool) -> Step:
        return world.doomed, world  # None: everything that is asked about

    def _put_doomed(self, world: World, request: Request, _late: bool) -> Step:
        return OK, world._replace(doomed=request.name)

    def _complete_upload_data(self, world: World, request: Request, _late: bool) -> Step:
        key = str(request.name)
        if key not in world.uploads:
            return FAILED, world
        done = world._replace(data=world.data | {key}, uploads=world.uploads - {key})
        return OK, done

    def _abort_upload_data(self, world: World, request: Request, _late: bool) -> Step:
        return OK, world._replace(uploads=world.uploads - {str(request.name)})

    def _put_hold(self, world: World, request: Request, _late: bool) -> Step:
        tenant, name = request.name
        if request.condition == ABSENT and (tenant, name) in world.holds:
            return FAILED, world
        return OK, world._replace(holds=world.holds | {(tenant, name)})

    def _get_hold(self, world: World, request: Request, _late: bool) -> Step:
        return request.name in world.holds, world

    _head_hold = _get_hold

    def _list_hold(self, world: World, request: Request, _late: bool) -> Step:
        names = {name for tenant, name in world.holds | world.marks if tenant == request.name}
        if request.body == "marks too":
            return bool(names), world
        marked = tuple(sorted(name for tenant, name in world.marks if tenant == request.name))
        if request.body == "both":
            return (bool(names), marked), world
        if request.body == "marks":
            return marked, world
        kept = sorted(name for tenant, name in world.holds if tenant == request.name)
        if request.body == "holds only":
            return bool(kept), world
        if request.body == "keys":
            return (*(("hold", name) for name in kept), *(("mark", name) for name in marked)), world
        return tuple((name, (request.name, name) in world.marks) for name in sorted(names)), world

    def _delete_hold(self, world: World, request: Request, _late: bool) -> Step:
        return OK, world._replace(holds=world.holds - {request.name})

    def _put_mark(self, world: World, request: Request, _late: bool) -> Step:
        return OK, world._replace(marks=world.marks | {request.name})

    def _delete_mark(self, world: World, request: Request, _late: bool) -> Step:
        return OK, world._replace(marks=world.marks - {request.name})

    def _run_freeze(self, world: World, request: Request, _late: bool) -> Step:
        tenant = str(request.name)
        if any(other == tenant for other, _ in world.frozen):
            return FAILED, world
        record, kind = request.body
        return OK, world._replace(
            frozen=world.frozen | {(tenant, Frozen(record, kind))},
            uploads=world.uploads | ({record.key} if kind == "parts" else set()),
        )

    def _run_forget(self, world: World, request: Request, _late: bool) -> Step:
        kept = frozenset(
            (tenant, frozen)
            for tenant, frozen in world.frozen
            if tenant != request.name or request.body not in {None, frozen.record.key}
        )
        return OK, world._replace(frozen=kept)

    # -- what else happens

    def environment(
        self, world: World, waiting: tuple[Request, ...]
    ) -> Iterable[tuple[str, World]]:
        """A marker or an ingest's bytes age, or a collector with a wrong clock deletes them."""
        if (world.marker == FRESH or world.recent) and world.warmth != WARMING:
            marker = AGED if world.marker == FRESH else world.marker
            older = world._replace(marker=marker, recent=False, warmth="")
            yield "what is retained has been for long enough", older
        if self.wrong_clocks:
            yield from self._wrong_clocks(world, waiting)
        if not self.ages:
            return
        for key in sorted(world.data | world.uploads):
            age = world.age(key)
            if age == OLD or (age == LATE and self._may_land(key, waiting)):
                continue
            ages = frozenset({**dict(world.ages), key: age + 1}.items())
            bound = "G" if age == LATE else "L"
            yield f"{key} becomes older than {bound}", world._replace(ages=ages)

    def _wrong_clocks(
        self, world: World, waiting: tuple[Request, ...]
    ) -> Iterable[tuple[str, World]]:
        record = world.record
        named = record.key if record and record.state != TOMBSTONE else ""
        for key in sorted(world.data):
            if key not in world.unseen:
                if not self._may_land(key, waiting):
                    unseen = world._replace(unseen=world.unseen | {key})
                    yield f"{key} isn't looked at for an hour", unseen
            elif key != named:
                taken = world._replace(data=world.data - {key})
                yield f"collectors whose clocks are wrong take {key}", taken

    def _may_land(self, key: str, waiting: tuple[Request, ...]) -> bool:
        if not self.rules.longer_than_landing:
            return False
        return any(
            isinstance(request.body, Record) and request.body.key == key for request in waiting
        )

    # -- what must be so

    def violation(self, world: World) -> str | None:
        """Acknowledged content is there, and held."""
        return self._of_bytes(world) or self._of_holds(world) or self._of_warmth(world)

    def _of_warmth(self, world: World) -> str | None:
        if world.warmth == WARMED and (world.record is None or world.record.state not in READABLE):
            return f"somebody was told that the digest is retained, and it is {world.record}"
        return None

    def _of_bytes(self, world: World) -> str | None:
        record = world.record
        readable = record is not None and record.state in READABLE
        stored = record is not None and not record.key.startswith(INLINE)
        if record and readable and record.damage:
            if record.damage in world.promised:
                return f"somebody was told that the bytes are there, and they are {record.damage}"
        elif record and readable and stored and record.key not in world.data:
            return f"the record is {record.state} and its data {record.key} is gone"
        if world.worse:
            return f"good bytes were given up for bad ones: the record is {record}"
        if record and record.state == CORRUPT and not (record.damage or _damaged(world)):
            return f"the record is corrupt, and its data {record.key} is good"
        return None

    def _of_holds(self, world: World) -> str | None:
        record = world.record
        for tenant in sorted(world.acknowledged):
            if record is None or record.state not in {*READABLE, CORRUPT}:
                return f"{tenant} was told that it holds the digest, and the record is {record}"
            if not any(other == tenant for other, _ in world.holds):
                return f"{tenant} was told that it holds the digest, and has no hold"
        return None

    def at_rest(self, world: World) -> str | None:
        """Collectors that run to their end leave only what is held, and tombstones."""
        tenants = tuple(sorted({tenant for tenant, _ in world.holds | world.marks}))
        keys = world.data | world.uploads
        world = world._replace(ages=frozenset((key, OLD) for key in keys), uploads=frozenset())
        for turn in ("x", "y", "z"):
            for tenant in tenants if self.rules.sweeps_marks else ():
                world = alone(self, world, Call(sweep_marks, (self.rules, tenant, turn)))
            world = alone(self, world, Call(collect, (self.rules, tenants, turn)))
            world = alone(self, world, Call(collect_data, (self.rules, turn)))
        if world.marks:
            return f"the marks {sorted(world.marks)} stay, and their tenants don't see the holds"
        if world.holds:
            return None
        if world.record and world.record.state in READABLE:
            return f"nobody holds the digest, and its record stays {world.record.state}"
        return f"nobody names the data {sorted(world.data)}, and it stays" if world.data else None


def _damaged(world: World) -> bool:
    """Whether the bytes that the record names are bad, or gone."""
    key = world.record.key if world.record else ""
    return not key.startswith(INLINE) and (key in world.bad or key not in world.data)


def _worse(before: World, after: World) -> bool:
    """Whether a write replaces good bytes, or bad ones that were marked, by bad bytes."""
    if before.record is None or after.record is None or not _damaged(after):
        return False
    if before.record.key == after.record.key:
        return before.record.state == CORRUPT and after.record.state in READABLE
    return before.record.state in READABLE and not _damaged(before)
