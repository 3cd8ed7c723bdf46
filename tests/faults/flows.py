"""The flows that faults strike: every RPC, and every way through the write path.

A flow is prepared where nothing fails, acts once through the frontend that faults
strike, and is finished, as a client would that means it, through another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from protos import content_pb2 as pb
from tests.faults.faulty_store import FaultyStore
from tests.faults.plans import EVERYTHING, Plan, Point, Strike
from tests.faults.stage import Held, Stage, persist
from tests.service.fleet import Tenant, refused, sha256

Step = Callable[[Stage], Awaitable[None]]

PART = 8 * 2**20
INLINE, SINGLE, TAIL, PARTS = 1000, 100_000, 200_000, PART + 100_000
LABELS = {"k": "v"}


async def nothing(_: Stage) -> None:
    """No preparation."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What is done: `act` is what faults strike.

    `large`: more than a part is sent, which takes its time; most of those run on demand.
    """

    name: str
    act: Step
    finish: Step
    prepare: Step = nothing
    large: bool = False


async def push(
    client: Tenant,
    data: bytes,
    *,
    digest: str = "",
    total: bool = True,
    announced: bool = True,
    labels: Mapping[str, str] = LABELS,
) -> None:
    """One attempt of a client: STAT, go on from there, COMMIT."""
    digest = digest or sha256(data)
    stream = client.write("ref")
    try:
        status = await stream.send(
            pb.STAT, total=len(data) if total else 0, expected=digest if announced else ""
        )
        assert status.offset <= len(data)
        await stream.write_all(data, start=status.offset)
        reply = await stream.send(pb.COMMIT, offset=len(data), expected=digest, labels=labels)
    except AioRpcError as error:
        if error.code() is not StatusCode.ALREADY_EXISTS:
            raise
    else:
        assert (reply.digest, reply.offset) == (digest, len(data))
        assert await stream.ended()


async def suspend(client: Tenant, data: bytes, total: int = 0) -> None:
    """Writes and goes away."""
    stream = client.write("ref")
    status = await stream.send(pb.STAT, total=total)
    await stream.write_all(data, start=status.offset)
    await stream.half_close()


def pushing(
    name: str,
    size: int,
    *,
    before: int = 0,
    adopting: bool = False,
    total: bool = True,
    algorithm: str = "sha256",
) -> Flow:
    """A push of `size` bytes, of which `before` were sent by an earlier stream."""

    def digest(data: bytes) -> str:
        return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"

    async def prepare(stage: Stage) -> None:
        data = stage.content(size)
        if adopting:
            await stage.other.commit("theirs", data, labels={"theirs": "1"})
            stage.other_held[sha256(data)] = Held(data, {"theirs": "1"})
        if before:
            await suspend(stage.clean, data[:before])
        stage.hold(data, LABELS, digest(data))

    async def act(stage: Stage) -> None:
        data = stage.content(size)
        await push(stage.faulty, data, digest=digest(data), total=total, announced=False)

    async def finish(stage: Stage) -> None:
        data = stage.content(size)
        await persist(lambda: push(stage.clean, data, digest=digest(data)))

    return Flow(name, act, finish, prepare, large=size > PART)


def suspending(name: str, size: int) -> Flow:
    """A stream that ends early after `size` bytes; another one goes on."""
    more = 1000

    async def prepare(stage: Stage) -> None:
        stage.hold(stage.content(size + more), LABELS)

    async def act(stage: Stage) -> None:
        await suspend(stage.faulty, stage.content(size + more)[:size])

    async def finish(stage: Stage) -> None:
        await persist(lambda: push(stage.clean, stage.content(size + more)))

    return Flow(name, act, finish, prepare, large=size > PART)


def restarting(name: str, before: int) -> Flow:
    """A stream that finds `before` bytes and begins anew at 0, with other ones."""

    async def prepare(stage: Stage) -> None:
        await suspend(stage.clean, stage.content(before, "old"))
        stage.hold(stage.content(SINGLE, "new"), LABELS)

    async def once(client: Tenant, data: bytes) -> None:
        stream = client.write("ref")
        try:
            await stream.write_all(data)
            await stream.send(pb.COMMIT, expected=sha256(data), labels=LABELS)
        except AioRpcError as error:
            if error.code() is not StatusCode.ALREADY_EXISTS:
                raise

    async def act(stage: Stage) -> None:
        await once(stage.faulty, stage.content(SINGLE, "new"))

    async def finish(stage: Stage) -> None:
        await persist(lambda: once(stage.clean, stage.content(SINGLE, "new")))

    return Flow(name, act, finish, prepare, large=before > PART)


async def freeze(stage: Stage, data: bytes) -> None:
    """Leaves a commit frozen: its record can't be written."""
    plan = Plan(Strike(Point("cas blobs", 1), EVERYTHING))
    plan.arm()
    saboteur = await stage.fleet.frontend(FaultyStore(stage.backends.clean, plan))
    with pytest.raises(AioRpcError):
        await push(saboteur.tenant(f"a-{stage.name}"), data)
    await saboteur.stop()
    if not plan.fired:  # it didn't get as far: its lease was lost on a slow machine
        await freeze(stage, data)


def frozen_opened(name: str, size: int) -> Flow:
    """A STAT that finds a frozen commit of `size` bytes and carries it out."""

    async def prepare(stage: Stage) -> None:
        data = stage.content(size)
        await freeze(stage, data)
        stage.hold(data, LABELS)

    async def act(stage: Stage) -> None:
        await push(stage.faulty, stage.content(size))

    async def finish(stage: Stage) -> None:
        await persist(lambda: push(stage.clean, stage.content(size)))

    return Flow(name, act, finish, prepare, large=size > PART)


def aborting(name: str, size: int, *, frozen: bool = False) -> Flow:
    """An Abort of an ingest that was left with `size` bytes."""

    async def prepare(stage: Stage) -> None:
        data = stage.content(size)
        if frozen:
            await freeze(stage, data)
            stage.maybe[sha256(data)] = Held(data, LABELS)
        else:
            await suspend(stage.clean, data)

    async def act(stage: Stage) -> None:
        await stage.faulty.abort("ref")

    async def finish(stage: Stage) -> None:
        await persist(lambda: stage.clean.abort("ref"))

    return Flow(name, act, finish, prepare, large=size > PART)


def abort_active() -> Flow:
    """An Abort of a ref that another frontend's stream writes."""

    async def prepare(stage: Stage) -> None:
        stream = stage.notes["stream"] = stage.clean.write("ref")
        await stream.send(pb.STAT)
        await stream.send(pb.WRITE, data=stage.content(TAIL))

    async def act(stage: Stage) -> None:
        await stage.faulty.abort("ref")

    async def finish(stage: Stage) -> None:
        await persist(lambda: stage.clean.abort("ref"))
        stream = stage.notes["stream"]
        await refused(StatusCode.ABORTED, stream.send(pb.COMMIT, expected=sha256(b"")))

    return Flow("abort, active", act, finish, prepare)


def abort_in_stream() -> Flow:
    """The ABORT action of a stream that has written."""

    async def act(stage: Stage) -> None:
        stream = stage.faulty.write("ref")
        await stream.send(pb.STAT)
        await stream.write_all(stage.content(TAIL))
        await stream.send(pb.ABORT)
        assert await stream.ended()

    async def finish(stage: Stage) -> None:
        await persist(lambda: stage.clean.abort("ref"))

    return Flow("abort, action", act, finish)


def holding(size: int, *, theirs: bool = False, asked: bool = False) -> Step:
    """Has the tenant hold `size` bytes (or another tenant, before `act` adopts them)."""

    async def prepare(stage: Stage) -> None:
        data = stage.content(size)
        if theirs:
            await stage.other.commit("theirs", data, labels=LABELS)
            stage.other_held[sha256(data)] = Held(data, LABELS)
            stage.hold(data)
        else:
            await stage.clean.commit("ours", data, labels=LABELS)
            stage.hold(data, LABELS)
        if asked:
            await stage.clean.info(sha256(data))

    return prepare


def asking(name: str, *, theirs: bool = False, asked: bool = False) -> Flow:
    """An Info."""

    async def ask(client: Tenant, stage: Stage) -> None:
        info = await client.info(sha256(stage.content(SINGLE)))
        assert info.size == SINGLE

    return Flow(
        name,
        lambda stage: ask(stage.faulty, stage),
        lambda stage: persist(lambda: ask(stage.clean, stage)),
        holding(SINGLE, theirs=theirs, asked=asked),
    )


def announcing() -> Flow:
    """A STAT that expects what the tenant holds already."""

    async def announce(client: Tenant, stage: Stage) -> None:
        digest = sha256(stage.content(SINGLE))
        try:
            await client.write("ref").send(pb.STAT, expected=digest)
        except AioRpcError as error:
            if error.code() is not StatusCode.ALREADY_EXISTS:
                raise
        else:
            raise AssertionError("what the tenant holds is to be written again")

    async def finish(stage: Stage) -> None:
        await persist(lambda: announce(stage.clean, stage))

    return Flow(
        "stat of what is held",
        lambda stage: announce(stage.faulty, stage),
        finish,
        holding(SINGLE, asked=True),
    )


def reading(name: str, size: int) -> Flow:
    """A Read of a whole blob."""

    async def read(client: Tenant, stage: Stage) -> None:
        data = stage.content(size)
        assert await client.read(sha256(data)) == data, "other bytes than were committed"

    return Flow(
        name,
        lambda stage: read(stage.faulty, stage),
        lambda stage: persist(lambda: read(stage.clean, stage)),
        holding(size),
        large=size > PART,
    )


def updating() -> Flow:
    """An Update of one label."""

    async def update(client: Tenant, stage: Stage) -> None:
        data = stage.content(SINGLE)
        info = await client.update(sha256(data), {"new": "1"}, "labels.new")
        assert dict(info.labels) == {**LABELS, "new": "1"}
        stage.hold(data, {**LABELS, "new": "1"})

    return Flow(
        "update",
        lambda stage: update(stage.faulty, stage),
        lambda stage: persist(lambda: update(stage.clean, stage)),
        holding(SINGLE, asked=True),
    )


def deleting(name: str, *, again: bool = False) -> Flow:
    """A Delete; `again`: what was deleted is pushed once more, before late requests land."""

    async def act(stage: Stage) -> None:
        data = stage.content(SINGLE)
        kept = stage.held.pop(sha256(data))
        stage.notes["kept"] = kept
        try:
            await stage.faulty.delete(sha256(data))
        except AioRpcError:
            stage.maybe[sha256(data)] = kept
            raise

    async def finish(stage: Stage) -> None:
        data = stage.content(SINGLE)
        await persist(lambda: stage.clean.delete(sha256(data)))
        stage.maybe.clear()
        assert await stage.clean.list() == []
        if again:
            await persist(lambda: push(stage.clean, data))
            stage.hold(data, LABELS)

    return Flow(name, act, finish, holding(SINGLE, asked=True))


def listing() -> Flow:
    """A List."""

    async def look(client: Tenant, stage: Stage) -> None:
        assert [info.digest for info in await client.list()] == list(stage.held)

    return Flow(
        "list",
        lambda stage: look(stage.faulty, stage),
        lambda stage: persist(lambda: look(stage.clean, stage)),
        holding(INLINE),
    )


def statuses(name: str, *, every: bool) -> Flow:
    """A Status, or ListStatuses, of an ingest that was left with a tail."""

    async def prepare(stage: Stage) -> None:
        await suspend(stage.clean, stage.content(TAIL))
        stage.leftover.add("ref")

    async def look(client: Tenant) -> None:
        found = await client.statuses() if every else [await client.status("ref")]
        assert [(status.ref, status.offset) for status in found] == [("ref", TAIL)]

    return Flow(
        name,
        lambda stage: look(stage.faulty),
        lambda stage: persist(lambda: look(stage.clean)),
        prepare,
    )


ALL = (
    pushing("commit, inline", INLINE),
    pushing("commit, one object", SINGLE),
    pushing("commit, parts", PARTS),
    pushing("commit, three parts of no declared total", PART + PARTS, total=False),
    pushing("commit, another algorithm, one object", SINGLE, algorithm="sha512"),
    pushing("commit, another algorithm, parts", PARTS, algorithm="sha512"),
    pushing("commit, known to the fleet, inline", INLINE, adopting=True),
    pushing("commit, known to the fleet, one object", SINGLE, adopting=True),
    pushing("commit, known to the fleet, parts", PARTS, adopting=True),
    pushing("resume, tail", 2 * TAIL, before=TAIL),
    pushing("resume, parts and tail", PARTS + TAIL, before=PARTS),
    suspending("suspend, tail", TAIL),
    suspending("suspend, parts and tail", PARTS),
    restarting("restart, tail", TAIL),
    restarting("restart, parts and tail", PARTS),
    frozen_opened("open, frozen, inline", INLINE),
    frozen_opened("open, frozen, one object", SINGLE),
    frozen_opened("open, frozen, parts", PARTS),
    aborting("abort, tail", TAIL),
    aborting("abort, parts and tail", PARTS),
    aborting("abort, frozen, one object", SINGLE, frozen=True),
    aborting("abort, frozen, parts", PARTS, frozen=True),
    abort_active(),
    abort_in_stream(),
    announcing(),
    asking("info, cold"),
    asking("info, hot", asked=True),
    asking("info, known to the fleet", theirs=True),
    updating(),
    listing(),
    deleting("delete"),
    deleting("delete, and push again", again=True),
    reading("read, inline", INLINE),
    reading("read, one object", SINGLE),
    reading("read, parts", PARTS),
    statuses("status", every=False),
    statuses("list statuses", every=True),
)


def often(names: Collection[str]) -> list[Any]:
    """All flows as a test's parameters; those that aren't named run on demand."""
    return [
        pytest.param(flow, id=flow.name, marks=[] if flow.name in names else [pytest.mark.slow])
        for flow in ALL
    ]


SMALL = frozenset(flow.name for flow in ALL if not flow.large)
