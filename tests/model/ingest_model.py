"""Model C: one ref in Redis, its upload and its objects: whose bytes end up in a blob.

Streams write two parts, or one object, of bytes that show which stream sent them. A digest is
what was hashed: the bytes that the ingest says it has, in order. The record is written once and
stays (model A covers its later life).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.model.programs import OK, UNKNOWN, Call, Note, Program, Request
from tests.model.protocol import Faults, Slot, Step
from tests.model.storage_rules import FAILED

PARTS = 2
Bytes = tuple[str, ...]


class IngestRules(NamedTuple):
    """The rules of an ingest; a broken variant differs in one of them."""

    nonce: bool = True
    compares_key: bool = True
    fresh_restart_key: bool = True
    fresh_open_key: bool = True
    minds_frozen: bool = True
    ends_own: bool = True
    """A stream that adopts or drops ends only the ingest under its own lease."""
    ends_frozen: bool = True
    """A frontend that has completed a commit ends a frozen ingest, and no other."""
    minds_etags: bool = True
    minds_object_etag: bool = True
    """A completed object is recognised by the ETag of its parts, not only by its size."""


class Ingest(NamedTuple):
    """An ingest in Redis."""

    key: str
    parts: Bytes = ()
    frozen: Bytes | None = None
    single: bool = False


class Redis(NamedTuple):
    """One ref."""

    lease: str = ""
    ingest: Ingest | None = None


class IngestWorld(NamedTuple):
    """Redis, what it was before its last change, and the store."""

    redis: Redis = Redis()
    before: Redis = Redis()
    uploaded: frozenset[tuple[str, int, str]] = frozenset()
    objects: frozenset[tuple[str, Bytes]] = frozenset()
    record: tuple[str, Bytes] | None = None
    wrong: str = ""

    def changed(self, redis: Redis) -> IngestWorld:
        """The world after a change of Redis."""
        if redis == self.redis:
            return self
        return self._replace(redis=redis, before=self.redis)

    def stored(self, key: str) -> Bytes | None:
        """The bytes of an object."""
        return dict(self.objects).get(key)


# -- programs


def write_ref(
    rules: IngestRules, name: str, single: bool, restarts: bool, adopts: bool = False
) -> Program:
    """`Session`: opens the ref, completes a frozen commit, sends its bytes, commits or adopts."""
    opened = yield Request("run", "open", name)
    if opened in {UNKNOWN, FAILED}:
        return
    key, parts, frozen, was_single = opened
    if frozen is not None:
        yield from carry_out(key, frozen, was_single, False)
        yield Request("run", "release", name)
        return
    if restarts:
        fresh = f"r{name}" if rules.fresh_restart_key else key
        restarted = yield Request("run", "restart", name, None, (key, fresh))
        if restarted != OK:
            return
        key, parts = fresh, ()
    parts = yield from send(name, key, parts, single)
    if parts is None:
        return
    if adopts:  # or drops: the fleet, or the tenant, has the content already
        dropped = yield Request("run", "drop", name, None, key)
        if dropped == OK:
            yield Request("run", "release", name)
        return
    done = yield Request("run", "freeze", name, None, (key, parts, single))
    if done != OK:
        return
    yield from carry_out(key, parts, single, single, releases=name)
    yield Request("run", "release", name)  # only if the end of the commit had no reply


def send(name: str, key: str, parts: Bytes, single: bool) -> Program:
    """Sends what the ingest doesn't have yet; returns all its bytes, or None if it was lost."""
    if single:
        sent = yield Request("put", "data", key, None, (name,))
        return (name,) if sent == OK else None
    for number in range(len(parts), PARTS):
        sent = yield Request("put_part", "data", key, None, (number, name))
        if sent != OK:
            return None
        kept = yield Request("run", "checkpoint", name, None, (key, number, name))
        if kept != OK:
            return None
        parts = (*parts, name)
    return parts


def carry_out(
    key: str, parts: Bytes, single: bool, there: bool, *, releases: str | None = None
) -> Program:
    """`Commits.carry_out`, without the hold."""
    if single and not there:
        found = yield Request("head", "data", key, None, len(parts))
        if not found:
            yield Request("run", "forget", None, None, key)
            return
    if not single:
        reply = yield Request("complete_upload", "data", key, None, parts)
        if reply != OK:
            found = yield Request("head", "data", key, None, parts)
            if not found and reply == UNKNOWN:
                return
            if not found:
                yield Request("run", "forget", None, None, key)
                return
    reply = yield Request("put", "record", None, None, (key, parts))
    if reply == OK:
        yield Request("run", "forget", releases, None, key)


def abort() -> Program:
    """`Commits.abort`: takes the ref over; a frozen commit is completed first."""
    found = yield Request("run", "abort")
    if found in {UNKNOWN, OK}:
        return
    key, frozen, single = found
    yield from carry_out(key, frozen, single, False)


# -- the world


@dataclass(frozen=True)
class IngestModel:
    """An ingest under a set of rules."""

    rules: IngestRules
    slots: Sequence[Slot]
    faults: Faults

    def first(self) -> IngestWorld:
        """The world at the beginning."""
        return IngestWorld()

    def changes(self, world: IngestWorld, request: Request) -> bool:
        """Whether it may arrive late."""
        del world
        return request.op != "head"

    def note(self, world: IngestWorld, note: Note, tenant: str, binding: bool) -> IngestWorld:
        """There are none."""
        del note, tenant, binding
        return world

    def apply(self, world: IngestWorld, request: Request, late: bool) -> Iterable[Step]:
        """What a request does."""
        del late
        return [getattr(self, f"_{request.op}_{request.kind}")(world, request)]

    # -- Redis

    def _run_open(self, world: IngestWorld, request: Request) -> Step:
        name, (lease, ingest) = str(request.name), world.redis
        if lease and lease != name:
            return FAILED, world
        if ingest is None or (
            ingest.frozen is None and not ingest.parts and self.rules.fresh_open_key
        ):
            ingest = Ingest(f"d{name}")
        reply = (ingest.key, ingest.parts, ingest.frozen, ingest.single)
        return reply, world.changed(Redis(name, ingest))

    def _may(self, world: IngestWorld, request: Request, key: str) -> bool:
        lease, ingest = world.redis
        if ingest is None or ingest.key != key:
            return False
        if self.rules.minds_frozen and ingest.frozen is not None:
            return False
        return lease == request.name or not self.rules.nonce

    def _written(self, world: IngestWorld, request: Request, ingest: Ingest) -> Step:
        after = world.changed(world.redis._replace(ingest=ingest))
        if world.redis.lease != request.name and ingest != world.redis.ingest:
            after = after._replace(wrong=f"{request.name}, without the lease, changes the ingest")
        before = world.redis.ingest
        if before and before.frozen is not None and ingest != before:
            after = after._replace(wrong=f"{request.name} changes a frozen ingest")
        return OK, after

    def _run_restart(self, world: IngestWorld, request: Request) -> Step:
        key, fresh = request.body
        if not self._may(world, request, key):
            return FAILED, world
        return self._written(world, request, Ingest(fresh))

    def _run_checkpoint(self, world: IngestWorld, request: Request) -> Step:
        key, number, name = request.body
        ingest = world.redis.ingest
        if ingest is None or not self._may(world, request, key) or number > len(ingest.parts):
            return FAILED, world
        if number < len(ingest.parts):
            return OK, world
        return self._written(world, request, ingest._replace(parts=(*ingest.parts, name)))

    def _run_freeze(self, world: IngestWorld, request: Request) -> Step:
        key, parts, single = request.body
        ingest = world.redis.ingest
        if ingest is not None and ingest.frozen == parts and ingest.key == key:
            return OK, world
        if ingest is None or not self._may(world, request, key):
            return FAILED, world
        return self._written(world, request, ingest._replace(frozen=parts, single=single))

    def _run_forget(self, world: IngestWorld, request: Request) -> Step:
        if world.redis.lease and world.redis.lease == request.name:
            _, world = self._run_release(world, request)
        lease, ingest = world.redis
        if ingest is None or (self.rules.compares_key and ingest.key != request.body):
            return OK, world
        if ingest.frozen is None and self.rules.ends_frozen:
            return OK, world
        after = world.changed(world.redis._replace(ingest=None))
        if ingest.key != request.body:
            after = after._replace(wrong=f"the end of {request.body} drops the ref's next ingest")
        elif ingest.frozen is None and lease:
            after = after._replace(wrong=f"the end of a commit drops what {lease} writes")
        return OK, after

    def _run_drop(self, world: IngestWorld, request: Request) -> Step:
        lease, ingest = world.redis
        if self.rules.ends_own and lease != request.name:
            return FAILED, world
        if ingest is None or ingest.key != request.body:
            return OK, world
        after = world.changed(world.redis._replace(ingest=None))
        if lease != request.name:
            after = after._replace(wrong=f"{request.name} drops what {lease or 'nobody'} writes")
        return OK, after

    def _run_release(self, world: IngestWorld, request: Request) -> Step:
        if world.redis.lease != request.name:
            return OK, world
        return OK, world.changed(world.redis._replace(lease=""))

    def _run_abort(self, world: IngestWorld, _request: Request) -> Step:
        ingest = world.redis.ingest
        if ingest is not None and ingest.frozen is not None:
            return (ingest.key, ingest.frozen, ingest.single), world
        return OK, world.changed(Redis())

    # -- the store

    def _put_data(self, world: IngestWorld, request: Request) -> Step:
        key = str(request.name)
        objects = {**dict(world.objects), key: request.body}
        return OK, world._replace(objects=frozenset(objects.items()))

    def _put_part_data(self, world: IngestWorld, request: Request) -> Step:
        key, (number, body) = str(request.name), request.body
        if world.stored(key) is not None:
            return FAILED, world
        others = {part for part in world.uploaded if part[:2] != (key, number)}
        return OK, world._replace(uploaded=frozenset(others | {(key, number, body)}))

    def _complete_upload_data(self, world: IngestWorld, request: Request) -> Step:
        key = str(request.name)
        parts = sorted(part[1:] for part in world.uploaded if part[0] == key)
        bodies = tuple(body for _, body in parts)
        if world.stored(key) is not None or not bodies:
            return FAILED, world
        if self.rules.minds_etags and bodies != request.body:
            return FAILED, world
        return OK, world._replace(
            objects=world.objects | {(key, bodies)},
            uploaded=frozenset(part for part in world.uploaded if part[0] != key),
        )

    def _head_data(self, world: IngestWorld, request: Request) -> Step:
        stored = world.stored(str(request.name))
        if stored is None:
            return False, world
        if isinstance(request.body, tuple) and self.rules.minds_object_etag:
            return stored == request.body, world
        size = len(request.body) if isinstance(request.body, tuple) else request.body
        return len(stored) == size, world

    def _put_record(self, world: IngestWorld, request: Request) -> Step:
        if world.record is not None:
            return OK, world
        return OK, world._replace(record=request.body)

    # -- what else happens, and what must be so

    def environment(
        self, world: IngestWorld, waiting: tuple[Request, ...]
    ) -> Iterable[tuple[str, IngestWorld]]:
        """The lease expires; a failover loses the last change."""
        del waiting
        if world.redis.lease:
            yield "the lease runs out", world.changed(world.redis._replace(lease=""))
        if world.before != world.redis:
            yield "Redis fails over and loses a change", world._replace(redis=world.before)

    def violation(self, world: IngestWorld) -> str | None:
        """A record's bytes are the bytes that were hashed."""
        if world.wrong:
            return world.wrong
        if world.record:
            key, digest = world.record
            if world.stored(key) != digest:
                return f"the record says {digest}, its data {key} is {world.stored(key)}"
        return None

    def at_rest(self, world: IngestWorld) -> str | None:
        """Never wrong: the collector removes what is left of an ingest, see model A."""
        del world
        return None


def ingesting(rules: IngestRules, faults: Faults, single: bool, aborts: bool) -> IngestModel:
    """Two streams and a third write one ref; one may restart it, and it may be aborted."""

    def slot(name: str, operations: int, restarts: bool) -> Slot:
        def menu(_world: Any, left: int) -> Iterable[tuple[str, Call]]:
            fresh = f"{name}{left}"
            yield "a stream", Call(write_ref, (rules, fresh, single, False))
            if restarts:
                yield "a restart", Call(write_ref, (rules, fresh, single, True))
            else:
                yield "an adoption", Call(write_ref, (rules, fresh, single, False, True))
            if aborts:
                yield "an abort", Call(abort)

        return Slot(name, operations, menu)

    return IngestModel(rules, [slot("1", 1, False), slot("2", 2, True)], faults)
