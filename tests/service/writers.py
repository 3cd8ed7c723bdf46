"""A frontend without its servers: sessions are called as the RPCs call them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from holdfast.digests import Digest
from holdfast.service.frontend import run_frontend
from holdfast.service.ingest.part_stream import PartStream
from holdfast.service.ingest.refs import Refs
from holdfast.service.ingest.session import Session
from holdfast.service.ingest.write_messages import Action, Message, Reply
from holdfast.service.ingest.write_path import WritePath
from holdfast.service.process.workers import Workers
from holdfast.service.rpc.parts import Frontend
from holdfast.service.settings import Settings
from holdfast.service.store.upload_slots import UploadSlots
from holdfast.storage.port import ObjectStore

MIB = 2**20


@dataclass
class Bench:
    """One frontend's inside."""

    frontend: Frontend
    tenant: str

    @property
    def path(self) -> WritePath:
        """What its writers share."""
        return self.frontend.sessions._path

    @property
    def refs(self) -> Refs:
        """What acquires and releases its refs."""
        return self.frontend.sessions._refs

    @property
    def slots(self) -> UploadSlots:
        """Its upload slots."""
        return slots_of(self.path)

    @property
    def whole(self) -> bool:
        """Whether all of the budget is back."""
        budget = self.path.budget
        return budget.free == budget.size and not budget.waiting and not budget.shares

    async def open(self, ref: str = "ref") -> Session:
        """Takes a ref."""
        return await self.frontend.sessions.open(self.tenant, ref)

    async def close(self, session: Session) -> None:
        """Ends a stream."""
        await self.frontend.sessions.close(session)

    async def read(self, digest: str) -> bytes:
        """All bytes of a blob."""
        pieces = self.frontend.reader.read(self.tenant, Digest.parse(digest), 0, 0)
        return b"".join([bytes(piece) async for _, piece in pieces])


@asynccontextmanager
async def bench(
    store: ObjectStore | Any, redis_url: str, tenant: str, **settings: Any
) -> AsyncIterator[Bench]:
    """Runs a frontend with the smallest budget that is allowed."""
    chosen = {"buffer_budget": 32 * MIB, "suspend_grace": 20.0, **settings}
    async with run_frontend(Settings(**chosen), store, redis_url) as running:
        yield Bench(running.frontend, tenant)


def slots_of(path: WritePath) -> UploadSlots:
    """The upload slots that a frontend's writers share."""
    sender: Any = path.sender
    slots: UploadSlots = sender._inner._slots
    return slots


def workers_of(path: WritePath) -> Workers:
    """The threads of a frontend."""
    assert isinstance(path.hashing, Workers)
    return path.hashing


def stream_of(session: Session) -> PartStream:
    """The bytes of a session."""
    return session._ingest.stream


async def stat(session: Session, total: int = 0) -> Reply:
    """STAT."""
    return await session.handle(Message(Action.STAT, total=total))


async def write(session: Session, data: bytes, offset: int | None = None, total: int = 0) -> Reply:
    """WRITE, at the end unless told otherwise."""
    at = stream_of(session).offset if offset is None else offset
    return await session.handle(Message(Action.WRITE, offset=at, data=data, total=total))


async def commit(session: Session, **fields: Any) -> Reply:
    """COMMIT."""
    return await session.handle(Message(Action.COMMIT, **fields))
