"""Flows that write: push, resume, restart, leave, or find a frozen commit."""

from __future__ import annotations

import hashlib

from grpc import StatusCode
from grpc.aio import AioRpcError

from holdfast.protos import content_pb2 as pb
from tests.faults.flows.flow import (
    INLINE,
    LABELS,
    PART,
    PARTS,
    SINGLE,
    TAIL,
    Flow,
    freeze,
    push,
    suspend,
)
from tests.faults.stage import Held, Stage, persist
from tests.service.fleet import Tenant, sha256


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
    """A stream that ends early after `size` bytes; another one continues."""
    more = 1000

    async def prepare(stage: Stage) -> None:
        stage.hold(stage.content(size + more), LABELS)

    async def act(stage: Stage) -> None:
        await suspend(stage.faulty, stage.content(size + more)[:size])

    async def finish(stage: Stage) -> None:
        await persist(lambda: push(stage.clean, stage.content(size + more)))

    return Flow(name, act, finish, prepare, large=size > PART)


def restarting(name: str, before: int) -> Flow:
    """A stream that finds `before` bytes and restarts at 0 with other bytes."""

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


def frozen_opened(name: str, size: int) -> Flow:
    """A STAT that finds a frozen commit of `size` bytes and completes it."""

    async def prepare(stage: Stage) -> None:
        data = stage.content(size)
        await freeze(stage, data)
        stage.hold(data, LABELS)

    async def act(stage: Stage) -> None:
        await push(stage.faulty, stage.content(size))

    async def finish(stage: Stage) -> None:
        await persist(lambda: push(stage.clean, stage.content(size)))

    return Flow(name, act, finish, prepare, large=size > PART)


WRITING = (
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
)
