"""What a flow is, and what its clients do.

A flow is prepared without faults, acts once through the frontend with faults, and is finished
through another frontend, as a determined client would do it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from holdfast.protos import content_pb2 as pb
from tests.faults.plans import EVERYTHING, Plan, Point, Strike
from tests.faults.stage import Stage
from tests.service.fleet import Tenant, sha256
from tests.stores.faulty import FaultyStore

Step = Callable[[Stage], Awaitable[None]]

PART = 8 * 2**20
INLINE, SINGLE, TAIL, PARTS = 1000, 100_000, 200_000, PART + 100_000
LABELS = {"k": "v"}


async def nothing(_: Stage) -> None:
    """No preparation."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What is done: faults strike `act`.

    `large`: it sends more than a part, which takes time; most large flows run on demand.
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
    ref: str = "ref",
    digest: str = "",
    total: bool = True,
    announced: bool = True,
    labels: Mapping[str, str] = LABELS,
) -> None:
    """One attempt of a client: STAT, continue from there, COMMIT."""
    digest = digest or sha256(data)
    stream = client.write(ref)
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
    """Writes and leaves."""
    stream = client.write("ref")
    status = await stream.send(pb.STAT, total=total)
    await stream.write_all(data, start=status.offset)
    await stream.half_close()


async def freeze(stage: Stage, data: bytes) -> None:
    """Leaves a frozen commit: its record can't be written."""
    plan = Plan(Strike(Point("cas blobs", 1), EVERYTHING))
    plan.arm()
    saboteur = await stage.fleet.frontend(FaultyStore(stage.backends.clean, plan))
    with pytest.raises(AioRpcError):
        await push(saboteur.tenant(f"a-{stage.name}"), data)
    await saboteur.stop()
    if not plan.fired:  # it didn't get that far: it lost its lease on a slow machine
        await freeze(stage, data)
