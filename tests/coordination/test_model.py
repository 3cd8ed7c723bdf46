"""Whatever happens to a ref, and in whichever order: only who has the right changes it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.coordination.changes import Progress
from holdfast.coordination.ingest import Done
from holdfast.coordination.leases import Lease
from holdfast.errors import Aborted, Unavailable
from tests.coordination.fleet import NOW, PART, SPILLED, Frontend, frontend

FULL = 8
"""Bytes of a part."""


@dataclass(frozen=True)
class Model:
    """What an ingest should be; None fields are those that nobody has set."""

    key: str
    offset: int = 0
    live: int = 0
    parts: int = 0
    tail: str = ""
    frozen: str = ""
    total: int = 0


@dataclass
class Writer:
    """A stream: the data key it works with, and the requests it has sent."""

    lease: Lease
    key: str
    sent: list[Callable[[], Awaitable[object]]] = field(default_factory=list)


@dataclass
class World:
    """One ref in Redis, its model, and the streams that have ever written it."""

    one: Frontend
    holder: Writer | None = None
    model: Model | None = None
    done: Done | None = None
    writers: list[Writer] = field(default_factory=list)
    names: int = 0

    def name(self, kind: str) -> str:
        """A name that was never used."""
        self.names += 1
        return f"{kind}{self.names}"

    def rightful(self, writer: Writer) -> bool:
        """Whether a stream may change the ingest."""
        return (
            writer is self.holder
            and self.model is not None
            and self.model.key == writer.key
            and not self.model.frozen
        )

    async def run(self, writer: Writer, act: Callable[[], Awaitable[object]], *, may: bool) -> None:
        """Sends a request, once or twice: it works for who has the right, and else says so."""
        writer.sent.append(act)
        if may:
            await act()
            await act()
        else:
            with pytest.raises(Aborted):
                await act()

    async def open(self) -> None:
        """A new stream comes."""
        nonce, key = self.name("n"), self.name("k")
        if self.holder:
            with pytest.raises(Unavailable):
                await self.one.open("ref", nonce, key)
            return
        lease, ingest = await self.one.open("ref", nonce, key)
        await self.one.open("ref", nonce, key)
        model = self.model or Model(key)
        if not model.parts and not model.frozen:
            model = replace(model, key=key)
        self.model = model if model.frozen else replace(model, live=model.offset)
        self.holder = Writer(lease, ingest.data_key)
        self.writers.append(self.holder)

    async def release(self, writer: Writer) -> None:
        """A stream ends, or its lease runs out."""
        released = await self.one.ingests.release(self.one.tenant, "ref", writer.lease.nonce)
        assert released == (writer is self.holder)
        if released:
            self.holder = None

    async def checkpoint(self, writer: Writer) -> None:
        """A full part is stored."""
        may, model = self.rightful(writer), self.model or Model("")
        number = model.parts + 1
        end = max(FULL * number, model.offset)
        key = writer.key

        async def record() -> None:
            await self.one.checkpoint(writer.lease, key, number, end)
            # One that was overtaken changes nothing; else a late one sets `live` again, too.
            if self.model and self.model.offset <= end:
                self.model = replace(self.model, live=end)

        await self.run(writer, record, may=may)
        if may:
            self.model = replace(model, offset=end, live=end, parts=number, tail="")

    async def spill(self, writer: Writer) -> None:
        """A tail is stored."""
        may, model = self.rightful(writer), self.model or Model("")
        offset, tail, key = model.offset + 1, self.name("t"), writer.key
        saved = replace(SPILLED, offset=offset, key=tail)
        await self.run(
            writer, lambda: self.one.ingests.save(writer.lease, key, saved, NOW), may=may
        )
        if may:
            self.model = replace(model, offset=offset, live=offset, tail=tail)

    async def progress(self, writer: Writer) -> None:
        """A stream tells how far it is."""
        model = self.model or Model("")
        live, total = model.offset + 3, self.names
        progress = Progress(live, total, None)
        known = await self.one.ingests.progress(writer.lease, writer.key, progress, NOW)
        assert known == (writer is self.holder)
        if self.rightful(writer):
            self.model = replace(model, live=live, total=total)

    async def restart(self, writer: Writer) -> None:
        """A stream begins anew."""
        may, old, fresh = self.rightful(writer), writer.key, self.name("k")
        await self.run(
            writer, lambda: self.one.ingests.restart(writer.lease, old, fresh, NOW), may=may
        )
        if may and self.model:
            self.model, writer.key = Model(fresh, total=self.model.total), fresh

    async def rekey(self, writer: Writer) -> None:
        """A small object gets another key."""
        if self.model and self.model.parts:
            return
        may, old, fresh = self.rightful(writer), writer.key, self.name("k")
        await self.run(writer, lambda: self.one.ingests.rekey(writer.lease, old, fresh), may=may)
        if may and self.model:
            self.model, writer.key = replace(self.model, key=fresh), fresh

    async def rewind(self, writer: Writer) -> None:
        """A tail is lost; the stream ends with that."""
        may, model, key = self.rightful(writer), self.model or Model(""), writer.key
        boundary = FULL * model.parts
        await self.run(
            writer,
            lambda: self.one.ingests.rewind(writer.lease, key, model.parts, boundary),
            may=may,
        )
        if may:
            self.model = replace(model, offset=boundary, live=boundary, tail="")
            writer.sent.clear()
            await self.release(writer)

    async def freeze(self, writer: Writer) -> None:
        """A commit begins."""
        may, key, text = self.rightful(writer), writer.key, self.name("f")
        await self.run(writer, lambda: self.one.ingests.freeze(writer.lease, key, text), may=may)
        if may and self.model:
            self.model = replace(self.model, frozen=text)

    async def forget(self, writer: Writer) -> None:
        """Somebody has carried out the commit that a stream froze: the key decides."""
        done = Done(f"sha256:{self.name('d')}", 1)
        hit = self.model is not None and self.model.key == writer.key and bool(self.model.frozen)
        for first in (True, False):
            forgot = await self.one.ingests.forget(self.one.tenant, "ref", writer.key, done)
            assert forgot == (hit and first)
        if hit:
            self.model, self.done = None, done

    async def drop(self, writer: Writer) -> None:
        """A stream ends its own ingest, if it has one under its key."""
        done = Done(f"sha256:{self.name('d')}", 1)
        key, may = writer.key, writer is self.holder
        await self.run(writer, lambda: self.one.ingests.drop(writer.lease, key, done), may=may)
        if may and self.model and self.model.key == key:
            self.model, self.done = None, done

    async def abort(self) -> None:
        """Somebody aborts the ref."""
        dropped = await self.one.ingests.abort(self.one.tenant, "ref")
        assert dropped.frozen == bool(self.model and self.model.frozen)
        assert (dropped.ingest is None) == (self.model is None)
        if not dropped.frozen:
            self.holder = self.model = self.done = None

    async def late(self, writer: Writer) -> None:
        """The last requests of a stream arrive once more."""
        for act in writer.sent[-3:]:
            try:
                await act()
            except Aborted:
                continue

    async def check(self) -> None:
        """Redis and the model agree."""
        one, found = self.one, await self.one.ingests.find(self.one.tenant, "ref")
        assert (found is None) == (self.model is None)
        if found and self.model:
            stored = await one.client.llen(one.keys.parts("ref"))
            shown = Model(
                found.data_key, found.offset, found.live, stored,
                found.tail_key, found.frozen, found.total,
            )  # fmt: skip
            live = max(self.model.live, self.model.offset) if self.holder else self.model.offset
            assert shown == replace(self.model, live=live)
        mark = await one.client.get(one.keys.done("ref"))
        assert (Done.decode(mark.decode()) if mark else None) == self.done
        counted = await one.client.get(one.keys.open_bytes)
        assert int(counted or 0) == (self.model.offset if self.model else 0)
        assert await one.unreachable_keys() == set()


ALONE = ["open", "abort"]
BY_WRITER = [
    "release", "checkpoint", "spill", "progress", "restart", "rekey", "rewind", "freeze",
    "forget", "drop", "late",
]  # fmt: skip
steps = st.lists(
    st.tuples(
        st.sampled_from(ALONE + BY_WRITER + ["open", "checkpoint", "spill"]), st.integers(0, 3)
    ),
    min_size=5,
    max_size=30,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plan=steps)
def test_one_ref(redis_url: str, plan: list[tuple[str, int]]) -> None:
    """Streams old and new, each request sent twice or late: Redis is what the model says."""

    async def story() -> None:
        async with frontend(redis_url, secrets.token_hex(8)) as one:
            world = World(one)
            await world.open()
            for name, index in plan:
                if name in ALONE:
                    await getattr(world, name)()
                elif world.writers:
                    # The latest stream at 0, and those whose lease has gone before it.
                    writer = world.writers[-1 - index % len(world.writers)]
                    await getattr(world, name)(writer)
                await world.check()

    asyncio.run(story())


def test_a_part_is_what_was_written() -> None:
    """The model's parts are those of the tests."""
    assert PART.size == FULL
