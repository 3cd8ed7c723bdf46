"""Calls whose requests to S3 and Redis are counted: what comes before, and what counts."""

from __future__ import annotations

from functools import partial
from typing import Final

from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from tests.service.fleet import refused
from tests.service.wire import INLINE, MIB, OBJECT, PARTS, Case, Wire
from tests.service.write_request_cases import WRITE_CASES

CONTAINERD_READ: Final = 32 * 2**10
"""Bytes that containerd asks for by one Read when it unpacks."""


# -- Info


async def info_hot(wire: Wire) -> None:
    """What was asked for before."""
    await wire.tenant.commit("ref", wire.content(OBJECT))
    await wire.tenant.info(wire.digest(OBJECT))
    with wire.counting():
        await wire.tenant.info(wire.digest(OBJECT))


async def info_cold(wire: Wire, size: int) -> None:
    """What this tenant holds, and nobody has asked for yet."""
    await wire.tenant.commit("ref", wire.content(size))
    with wire.counting():
        await wire.tenant.info(wire.digest(size))


async def info_adopting(wire: Wire, size: int) -> None:
    """What the fleet has, and this tenant hasn't yet."""
    await wire.other.commit("ref", wire.content(size))
    with wire.counting():
        await wire.tenant.info(wire.digest(size))


async def info_unknown(wire: Wire) -> None:
    """What nobody has."""
    with wire.counting():
        await refused(StatusCode.NOT_FOUND, wire.tenant.info(wire.digest(OBJECT)))


# -- Update, List, Delete


async def update(wire: Wire) -> None:
    """One label of a blob that one hold is on."""
    await wire.tenant.commit("ref", wire.content(OBJECT))
    with wire.counting():
        await wire.tenant.update(wire.digest(OBJECT), {"k": "v"}, "labels.k")


async def listing(wire: Wire, number: int) -> None:
    """All that the tenant holds: `number` blobs."""
    for size in range(number):
        await wire.tenant.commit("ref", wire.content(size))
    with wire.counting():
        assert len(await wire.tenant.list()) == number


async def listing_again(wire: Wire, number: int) -> None:
    """The same once more, where nothing has changed since."""
    for size in range(number):
        await wire.tenant.commit("ref", wire.content(size))
    await wire.tenant.list()
    with wire.counting():
        assert len(await wire.tenant.list()) == number


async def delete(wire: Wire) -> None:
    """A blob that one hold is on."""
    await wire.tenant.commit("ref", wire.content(OBJECT))
    with wire.counting():
        await wire.tenant.delete(wire.digest(OBJECT))


async def delete_unknown(wire: Wire) -> None:
    """What the tenant doesn't hold."""
    with wire.counting():
        await wire.tenant.delete(wire.digest(OBJECT))


# -- Read


async def read_hot(wire: Wire, size: int) -> None:
    """What this frontend has just read."""
    await wire.tenant.commit("ref", wire.content(size))
    await wire.tenant.read(wire.digest(size))
    with wire.counting():
        assert await wire.tenant.read(wire.digest(size)) == wire.content(size)


async def read_cold(wire: Wire, size: int) -> None:
    """What this frontend has never read."""
    await wire.tenant.commit("ref", wire.content(size))
    tenant = await wire.elsewhere()
    with wire.counting():
        assert await tenant.read(wire.digest(size)) == wire.content(size)


async def read_middle(wire: Wire) -> None:
    """A small range that isn't at the beginning, cold."""
    await wire.tenant.commit("ref", wire.content(PARTS))
    tenant, start = await wire.elsewhere(), 9 * MIB
    with wire.counting():
        found = await tenant.read(wire.digest(PARTS), start, CONTAINERD_READ)
    assert found == wire.content(PARTS)[start : start + CONTAINERD_READ]


async def unpack(wire: Wire, *, hot: bool) -> None:
    """Info, and one Read for every 32 KiB of 8 MiB, in order."""
    size = 8 * MIB
    await wire.tenant.commit("ref", wire.content(size))
    await wire.tenant.info(wire.digest(size))
    tenant = await wire.elsewhere()
    if hot:
        await tenant.read(wire.digest(size))
    with wire.counting():
        await tenant.info(wire.digest(size))
        for start in range(0, size, CONTAINERD_READ):
            await tenant.read(wire.digest(size), start, CONTAINERD_READ)


# -- Status, ListStatuses, Abort


async def status(wire: Wire) -> None:
    """One ref that is being written."""
    stream = wire.tenant.write("ref")
    await stream.send(pb.STAT)
    with wire.counting():
        await wire.tenant.status("ref")
    stream.cancel()


async def statuses(wire: Wire) -> None:
    """Three refs that are being written."""
    streams = [wire.tenant.write(f"ref-{number}") for number in range(3)]
    for stream in streams:
        await stream.send(pb.STAT)
    with wire.counting():
        assert len(await wire.tenant.statuses()) == 3
    for stream in streams:
        stream.cancel()


async def abort(wire: Wire) -> None:
    """A ref with a part and the rest of a stream."""
    stream = wire.tenant.write("ref")
    await stream.write_all(wire.content(9 * MIB))
    await stream.half_close()
    with wire.counting():
        await wire.tenant.abort("ref")
        await wire.settled()


async def abort_unknown(wire: Wire) -> None:
    """A ref that nobody writes."""
    with wire.counting():
        await wire.tenant.abort("ref")


CASES: Final[dict[str, Case]] = {
    "Info, hot": info_hot,
    "Info, cold, ≤ 64 KiB": partial(info_cold, size=INLINE),
    "Info, cold": partial(info_cold, size=OBJECT),
    "Info, adopting, ≤ 64 KiB": partial(info_adopting, size=INLINE),
    "Info, adopting": partial(info_adopting, size=OBJECT),
    "Info, NOT_FOUND": info_unknown,
    "Update": update,
    "List of nothing": partial(listing, number=0),
    "List of 3": partial(listing, number=3),
    "List of 3, again": partial(listing_again, number=3),
    "Delete": delete,
    "Delete of what isn't held": delete_unknown,
    "Read, hot, ≤ 64 KiB": partial(read_hot, size=INLINE),
    "Read, hot, 20 MiB": partial(read_hot, size=PARTS),
    "Read, cold, ≤ 64 KiB": partial(read_cold, size=INLINE),
    "Read, cold, 1 MiB": partial(read_cold, size=OBJECT),
    "Read, cold, 20 MiB": partial(read_cold, size=PARTS),
    "Read of 32 KiB in the middle, cold": read_middle,
    "Unpack of 8 MiB, cold: Info, 256 Reads": partial(unpack, hot=False),
    "Unpack of 8 MiB, hot: Info, 256 Reads": partial(unpack, hot=True),
    **WRITE_CASES,
    "Status": status,
    "ListStatuses": statuses,
    "Abort": abort,
    "Abort of an unknown ref": abort_unknown,
}
"""What is counted, by its name in docs/capacity.md."""
