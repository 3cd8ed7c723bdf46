"""Flows about what is held: Info, List, Update, Delete and Read."""

from __future__ import annotations

from grpc import StatusCode
from grpc.aio import AioRpcError

from holdfast.protos import content_pb2 as pb
from tests.faults.flows.flow import INLINE, LABELS, PART, PARTS, SINGLE, Flow, Step, push
from tests.faults.stage import Held, Stage, persist
from tests.service.fleet import Tenant, sha256


def holding(size: int, *, theirs: bool = False, asked: bool = False) -> Step:
    """Makes the tenant hold `size` bytes (or another tenant, before `act` adopts them)."""

    async def prepare(stage: Stage) -> None:
        data = stage.content(size)
        if theirs:
            await push(stage.other, data, ref="theirs", announced=False)
            stage.other_held[sha256(data)] = Held(data, LABELS)
            stage.hold(data)
        else:
            await push(stage.clean, data, ref="ours", announced=False)
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
    """A STAT that expects what the tenant already holds."""

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
    """A Delete; `again`: the content is pushed once more before late requests arrive."""

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


CATALOGUE = (
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
)
