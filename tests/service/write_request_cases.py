"""Write streams whose requests to S3 and Redis are counted."""

from __future__ import annotations

from functools import partial
from typing import Final

from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from tests.service.fleet import Stream, refused
from tests.service.wire import INLINE, MIB, OBJECT, PARTS, Case, Wire

SMALL_WRITE: Final = 240
"""Bytes of the messages that a diff is sent in."""


async def begun(wire: Wire, size: int) -> Stream:
    """A stream that has received all bytes, with a total, as containerd sends them."""
    stream = wire.tenant.write("ref")
    await stream.send(pb.STAT, total=size)
    await stream.write_all(wire.content(size))
    return stream


async def counted_commit(wire: Wire, size: int) -> None:
    """COMMIT of a stream, with the PUT of one object, which begins with its last WRITE."""
    if size == PARTS:
        stream = await begun(wire, size)
        await wire.stored()
    else:
        stream = wire.tenant.write("ref")
        await stream.send(pb.STAT, total=size)
    with wire.counting():
        if size != PARTS:
            await stream.write_all(wire.content(size))
        await committed(wire, stream, size)
        await wire.settled()


async def committed(wire: Wire, stream: Stream, size: int) -> None:
    """COMMIT, and the end of the stream."""
    await stream.send(pb.COMMIT, offset=size, expected=wire.digest(size))
    assert await stream.ended()


async def opened(wire: Wire) -> None:
    """The first message of a stream, a STAT."""
    stream = wire.tenant.write("ref")
    with wire.counting():
        await stream.send(pb.STAT, total=OBJECT)
    stream.cancel()


async def stat(wire: Wire) -> None:
    """A STAT that isn't the first message."""
    stream = wire.tenant.write("ref")
    await stream.send(pb.STAT)
    with wire.counting():
        await stream.send(pb.STAT)
    stream.cancel()


async def small_writes(wire: Wire) -> None:
    """Thousands of WRITEs of 240 bytes, as a diff sends them."""
    stream = wire.tenant.write("ref")
    await stream.send(pb.STAT)
    with wire.counting():
        for number in range(2000):
            offset = number * SMALL_WRITE
            await stream.send(pb.WRITE, offset=offset, data=bytes(SMALL_WRITE))
    stream.cancel()


async def large_write(wire: Wire) -> None:
    """A WRITE of 1 MiB that doesn't fill a part."""
    stream = wire.tenant.write("ref")
    await stream.send(pb.STAT)
    with wire.counting():
        await stream.send(pb.WRITE, data=wire.content(MIB))
    stream.cancel()


async def one_part(wire: Wire) -> None:
    """WRITEs that fill a part after the first one, 8 MiB."""
    stream = wire.tenant.write("ref")
    await stream.write_all(wire.content(8 * MIB))
    await wire.stored()
    with wire.counting():
        await stream.write_all(wire.content(16 * MIB), start=8 * MIB)
        await wire.stored()
    stream.cancel()


async def broken_off(wire: Wire) -> None:
    """The end of a stream that was not committed, with less than a part received."""
    stream = wire.tenant.write("ref")
    await stream.write_all(wire.content(MIB))
    with wire.counting():
        await stream.half_close()


async def carried_on(wire: Wire) -> None:
    """A stream on a ref that was broken off, by way of another frontend."""
    stream = wire.tenant.write("ref")
    await stream.write_all(wire.content(MIB))
    await stream.half_close()
    later = (await wire.elsewhere()).write("ref")
    with wire.counting():
        await later.send(pb.WRITE, offset=MIB, data=wire.content(MIB))
    later.cancel()


async def commit(wire: Wire, size: int) -> None:
    """COMMIT of what the tenant has asked for, and nobody has."""
    await refused(StatusCode.NOT_FOUND, wire.tenant.info(wire.digest(size)))
    await counted_commit(wire, size)


async def push(wire: Wire, size: int) -> None:
    """A whole Write by a client that hasn't asked before, of what nobody has."""
    with wire.counting():
        await committed(wire, await begun(wire, size), size)


async def pull(wire: Wire, size: int) -> None:
    """What containerd does for a blob that nobody has, its first Info not counted."""
    await refused(StatusCode.NOT_FOUND, wire.tenant.info(wire.digest(size)))
    with wire.counting():
        stream = wire.tenant.write("ref")
        await stream.send(pb.STAT, total=size)
        await stream.send(pb.STAT)
        await stream.send(pb.STAT)
        await stream.write_all(wire.content(size))
        await stream.send(pb.STAT)
        await committed(wire, stream, size)


async def known_to_the_fleet(wire: Wire, size: int) -> None:
    """COMMIT of what another tenant has, by one that hasn't asked."""
    await wire.other.commit("ref", wire.content(size))
    await counted_commit(wire, size)


async def held_already(wire: Wire, *, hot: bool) -> None:
    """STAT that announces what the tenant holds: ALREADY_EXISTS."""
    await wire.tenant.commit("ref", wire.content(OBJECT))
    if hot:
        await wire.tenant.info(wire.digest(OBJECT))
    stream = wire.tenant.write("other")
    with wire.counting():
        announced = stream.send(pb.STAT, total=OBJECT, expected=wire.digest(OBJECT))
        await refused(StatusCode.ALREADY_EXISTS, announced)


WRITE_CASES: Final[dict[str, Case]] = {
    "Write: first STAT": opened,
    "Write: further STAT": stat,
    "Write: 2,000 WRITEs of 240 bytes": small_writes,
    "Write: WRITE of 1 MiB": large_write,
    "Write: WRITEs of one part, 8 MiB": one_part,
    "Write: broken off": broken_off,
    "Write: continued elsewhere": carried_on,
    "Write: COMMIT, ≤ 64 KiB": partial(commit, size=INLINE),
    "Write: COMMIT, one object": partial(commit, size=OBJECT),
    "Write: COMMIT, parts": partial(commit, size=PARTS),
    "Write: COMMIT of what the fleet has, ≤ 64 KiB": partial(known_to_the_fleet, size=INLINE),
    "Write: COMMIT of what the fleet has, one object": partial(known_to_the_fleet, size=OBJECT),
    "Write: COMMIT of what the fleet has, parts": partial(known_to_the_fleet, size=PARTS),
    "Write: ALREADY_EXISTS, hot": partial(held_already, hot=True),
    "Write: ALREADY_EXISTS, cold": partial(held_already, hot=False),
    "Write, whole, 4 KiB": partial(pull, size=INLINE),
    "Write, whole, 1 MiB": partial(pull, size=OBJECT),
    "Write, whole, 20 MiB (3 parts)": partial(pull, size=PARTS),
    "Write, whole, 4 KiB, not asked for before": partial(push, size=INLINE),
    "Write, whole, 20 MiB, not asked for before": partial(push, size=PARTS),
}
"""What is counted, by its name in docs/capacity.md."""
