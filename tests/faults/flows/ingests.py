"""Flows that query ingests, and that abort them."""

from __future__ import annotations

from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from tests.faults.flows.flow import (
    LABELS,
    PART,
    PARTS,
    SINGLE,
    TAIL,
    Flow,
    freeze,
    suspend,
)
from tests.faults.stage import Held, Stage, persist
from tests.service.fleet import Tenant, refused, sha256


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


INGESTS = (
    aborting("abort, tail", TAIL),
    aborting("abort, parts and tail", PARTS),
    aborting("abort, frozen, one object", SINGLE, frozen=True),
    aborting("abort, frozen, parts", PARTS, frozen=True),
    abort_active(),
    abort_in_stream(),
    statuses("status", every=False),
    statuses("list statuses", every=True),
)
