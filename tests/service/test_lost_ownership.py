"""A stream whose lease has run out ends, and leaves the ref to whoever has taken it since."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.coordination.keys import Keys
from holdfast.errors import Aborted
from holdfast.service.ingest.session import Session
from holdfast.service.ingest.write_messages import Action, Message
from holdfast.storage.port import ObjectStore
from tests.service.conftest import Fill
from tests.service.fleet import eventually, sha256
from tests.service.writers import MIB, Bench, bench, commit, stat, stream_of, write


@pytest.fixture
async def desk(
    folder_store: ObjectStore, redis_url: str, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """A frontend without its servers; streams learn only from scripts that a lease is lost."""
    monkeypatch.setattr("holdfast.service.ingest.sessions.PROGRESS_INTERVAL", 3600.0)
    async with bench(folder_store, redis_url, tenant, lease_ttl=600.0) as desk:
        yield desk


class Successor:
    """Takes the ref just before the end of another stream's ingest reaches Redis."""

    def __init__(self, desk: Bench, patch: pytest.MonkeyPatch) -> None:
        self._desk = desk
        self._scripts = desk.path.ingests._scripts
        self._run = self._scripts.run
        self.session: Session | None = None
        patch.setattr(self._scripts, "run", self._take_before)

    async def _take_before(self, name: str, *args: Any) -> Any:
        if name == "forget" and self.session is None:
            # As if it had run out: the stream's own check has passed already.
            await self._scripts._client.delete(Keys(self._desk.tenant).lease("ref"))
            self.session = await self._desk.open()
        return await self._run(name, *args)

    @property
    def has(self) -> Session:
        """The successor's stream, once it has the ref."""
        assert self.session is not None
        return self.session


async def ended(desk: Bench, first: Session) -> None:
    """The first stream is over, and all that it has begun in the background too."""
    await desk.close(first)
    await eventually(lambda: not desk.frontend.background)


@pytest.mark.parametrize("resumed", [False, True], ids=["parts", "parts and a tail"])
async def test_an_adoption(
    desk: Bench, monkeypatch: pytest.MonkeyPatch, fill: Fill, resumed: bool
) -> None:
    """A stream that adopts what the fleet has leaves its successor's ingest and upload alone."""
    data, more = fill(9 * MIB), fill(9 * MIB)
    other = await desk.frontend.sessions.open(f"{desk.tenant}-other", "ref")
    await write(other, data)
    await commit(other)
    await desk.close(other)
    first = await desk.open()
    await write(first, data)
    if resumed:
        await desk.close(first)
        first = await desk.open()
    await eventually(lambda: stream_of(first).parts)
    second = Successor(desk, monkeypatch)
    with pytest.raises(Aborted, match="lost its lease"):
        await commit(first, expected=sha256(data))
    assert stream_of(second.has).data_key == stream_of(first).data_key
    await ended(desk, first)
    offset = (await stat(second.has)).offset
    assert offset == (9 * MIB if resumed else 8 * MIB)
    await write(second.has, data[offset:] + more)
    await commit(second.has, expected=sha256(data + more))
    assert await desk.read(sha256(data + more)) == data + more


@pytest.mark.parametrize("end", ["abort", "held"])
async def test_a_drop(desk: Bench, monkeypatch: pytest.MonkeyPatch, fill: Fill, end: str) -> None:
    """A stream that drops its ingest leaves its successor's parts and tail alone."""
    data, held = fill(9 * MIB), fill(100)
    there = await desk.open("there")
    await write(there, held)
    await commit(there)
    await desk.close(there)
    first = await desk.open()
    await write(first, data)
    await desk.close(first)
    first = await desk.open()
    second = Successor(desk, monkeypatch)
    messages = {
        "abort": Message(Action.ABORT),
        "held": Message(Action.STAT, expected=sha256(held)),
    }
    with pytest.raises(Aborted, match="lost its lease"):
        await first.handle(messages[end])
    await ended(desk, first)
    assert (await stat(second.has)).digest == sha256(data)
    await write(second.has, held)
    await commit(second.has, expected=sha256(data + held))
    assert await desk.read(sha256(data + held)) == data + held
