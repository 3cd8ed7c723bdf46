"""The tenants that a load makes up: no real node is among them, and they leave nothing.

A load deletes all that its tenants hold. So their names are reserved, and before anything is
deleted it is shown that frontends believe these names: where a certificate decides who asks, all of
them would be the tenant that it names, and that may be a real node.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence
from typing import Final

import grpc

from holdfast.errors import ConfigurationError
from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from holdfast.service.agent.channels import Channels

RESERVED: Final = "holdfast-load-"
"""How the names of all these tenants begin: no node's name may begin so."""
PREFIX: Final = re.compile(rf"{RESERVED}[a-z0-9.-]{{1,40}}", re.ASCII)
HEADER: Final = "x-holdfast-tenant"
CALL: Final = 60.0
"""Seconds for a call."""

Metadata = tuple[tuple[str, str], ...]


def check_prefix(prefix: str) -> None:
    """Refuses a name that a real node might have.

    Raises:
        ConfigurationError: it doesn't begin with `RESERVED`, or can't be part of a tenant's name.
    """
    if not PREFIX.fullmatch(prefix):
        raise ConfigurationError(
            f"tenants' names would begin with {prefix!r}: they must begin with {RESERVED!r} and "
            "up to 40 lower-case letters, digits, dots and hyphens, so that no real node's "
            "content is touched"
        )


async def check_apart(
    channels: Channels, frontends: Sequence[str], prefix: str, header: str = HEADER
) -> None:
    """Shows that each frontend takes the tenant from the header, by an ingest that only one sees.

    Raises:
        ConfigurationError: one doesn't, or doesn't answer.
    """
    for frontend in frontends:
        async with channels.open(frontend) as channel:
            stub = content_pb2_grpc.ContentStub(channel)
            try:
                apart = await _apart(stub, prefix, header)
            except grpc.aio.AioRpcError as error:
                raise ConfigurationError(
                    f"frontend {frontend}: {error.code().name}: {error.details()}"
                ) from error
        if not apart:
            raise ConfigurationError(
                f"frontend {frontend} doesn't take the tenant from the header {header}: all nodes "
                "would be one tenant, whose content would be deleted. Use frontends that trust a "
                "tenant header"
            )


async def _apart(stub: content_pb2_grpc.ContentAsyncStub, prefix: str, header: str) -> bool:
    ref = f"apart-{secrets.token_hex(16)}"
    one, other = ((header, f"{prefix}-apart-{name}") for name in ("a", "b"))
    stream = stub.Write(metadata=(one,), timeout=CALL)
    try:
        await stream.write(pb.WriteContentRequest(action=pb.STAT, ref=ref, total=1))
        if await stream.read() is grpc.aio.EOF:
            raise grpc.aio.AioRpcError(
                await stream.code(),
                await stream.initial_metadata(),
                await stream.trailing_metadata(),
                await stream.details(),
            )
        begun, seen = [
            ref in {status.ref for status in (await _statuses(stub, (tenant,))).statuses}
            for tenant in (one, other)
        ]
    finally:
        await stub.Abort(pb.AbortRequest(ref=ref), metadata=(one,), timeout=CALL)
        stream.cancel()
    return begun and not seen


async def _statuses(
    stub: content_pb2_grpc.ContentAsyncStub, metadata: Metadata
) -> pb.ListStatusesResponse:
    return await stub.ListStatuses(pb.ListStatusesRequest(), metadata=metadata, timeout=CALL)


async def emptied(
    stub: content_pb2_grpc.ContentAsyncStub, metadata: Metadata = (), at_once: int = 1
) -> None:
    """Gives up all that a tenant holds or has begun.

    Args:
        stub: the frontend, or the node's agent.
        metadata: names the tenant.
        at_once: calls under way.

    Raises:
        grpc.aio.AioRpcError: a call was refused; what is left is given up the next time.
    """
    turns = asyncio.Semaphore(at_once)

    async def delete(digest: str) -> None:
        request = pb.DeleteContentRequest(digest=digest)
        async with turns:
            await stub.Delete(request, metadata=metadata, timeout=CALL)

    for status in (await _statuses(stub, metadata)).statuses:
        await stub.Abort(pb.AbortRequest(ref=status.ref), metadata=metadata, timeout=CALL)
    listed = stub.List(pb.ListContentRequest(), metadata=metadata, timeout=CALL)
    held = [info.digest async for reply in listed for info in reply.info]
    await asyncio.gather(*map(delete, held))


async def all_emptied(stubs: Sequence[content_pb2_grpc.ContentAsyncStub], at_once: int = 8) -> int:
    """Empties the tenants of some agents, some at once; returns of how many that failed."""
    turns = asyncio.Semaphore(at_once)

    async def one(stub: content_pb2_grpc.ContentAsyncStub) -> bool:
        async with turns:
            try:
                await emptied(stub)
            except grpc.aio.AioRpcError:
                return False
        return True

    return (await asyncio.gather(*map(one, stubs))).count(False)
