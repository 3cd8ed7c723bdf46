"""Any sequence of messages, breaks and changes of frontend, against a model of docs/wire.md."""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from holdfast.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    HoldfastError,
    OutOfRange,
)
from holdfast.service.ingest.session import Session
from holdfast.service.ingest.write_messages import Action, Message, Reply
from holdfast.storage.folder import FolderStore
from tests.service.fleet import eventually, sha256
from tests.service.writers import MIB, Bench, bench, stream_of

WRONG = {"wrong digest": f"sha256:{'0' * 64}", "wrong sha512": f"sha512:{'0' * 128}"}
PART = 8 * MIB
BYTES = random.Random(7).randbytes(40 * MIB)  # noqa: S311 -- content
EMPTY = b""

sizes = st.sampled_from([0, 1, 240, 70_000, 3 * MIB, 4 * MIB, 8 * MIB, 9 * MIB])
messages = st.one_of(
    st.tuples(st.just("stat"), st.sampled_from([0, 70_000, 8 * MIB, 9 * MIB])),
    st.tuples(st.just("write"), sizes),
    st.tuples(st.just("write"), sizes),
    st.tuples(st.just("announced"), sizes),
    st.tuples(st.just("restart"), sizes),
    st.tuples(st.just("elsewhere"), sizes),
    st.tuples(st.just("commit"), st.sampled_from(["as is", "sized", "sha512"])),
    st.tuples(st.just("commit"), st.sampled_from(["wrong total", "wrong digest", "wrong sha512"])),
    st.tuples(st.just("abort"), st.just(0)),
    st.tuples(st.just("break"), st.just(0)),
    st.tuples(st.just("spill"), st.just(0)),
)


@dataclass
class Model:
    """What the contract says of one ref of one tenant."""

    data: bytes = b""
    total: int = 0
    held: set[str] = field(default_factory=set)
    done: tuple[str, int] | None = None
    sealed: bool = False

    def forget(self) -> None:
        """The ingest has ended."""
        self.data, self.total, self.sealed = EMPTY, 0, False


class Script:
    """Carries messages out on the system and on the model."""

    def __init__(self, desks: list[Bench]) -> None:
        self.desks = desks
        self.model = Model()
        self.turn = 0
        self.session: Session | None = None
        self.opened_done: tuple[str, int] | None = None
        self.totals: set[int] = set()

    async def opened(self) -> Session:
        """The stream that is open, or a new one on the other frontend."""
        if self.session is None:
            self.turn += 1
            self.session = await self.desk.open()
            self.opened_done = self.model.done if not self.model.data else None
            self.totals = {self.model.total}
        return self.session

    @property
    def desk(self) -> Bench:
        """The frontend of the stream."""
        return self.desks[self.turn % len(self.desks)]

    async def ended(self) -> None:
        """The stream has ended, well or not."""
        if self.session is not None:
            await self.desk.close(self.session)
            self.session = None

    async def send(self, message: Message) -> Reply | HoldfastError:
        """Sends a message; an error ends the stream, as it does on the wire."""
        session = await self.opened()
        try:
            reply = await session.handle(message)
        except HoldfastError as error:
            await self.ended()
            return error
        if reply.last:
            await self.ended()
        return reply

    def agree(self, reply: Reply | HoldfastError) -> None:
        """Holds a reply against the model."""
        assert isinstance(reply, Reply), reply
        assert (reply.offset, reply.total) == (len(self.model.data), self.model.total)
        assert reply.digest in {"", sha256(self.model.data)}

    async def stat(self, total: int) -> None:
        await self._announce(total)
        self.agree(await self.send(Message(Action.STAT, total=total)))

    async def announced(self, size: int) -> None:
        total = len(self.model.data) + size
        await self._announce(total)
        await self._write(size, total=total)

    async def _announce(self, total: int) -> None:
        """Takes down what a message to the stream is going to announce; 0: nothing."""
        await self.opened()
        self.model.total = total or self.model.total
        self.totals.add(self.model.total)

    async def write(self, size: int) -> None:
        await self._write(size)

    async def _write(self, size: int, total: int = 0) -> None:
        model = self.model
        at = len(model.data)
        message = Message(Action.WRITE, offset=at, data=BYTES[at : at + size], total=total)
        reply = await self.send(message)
        if model.sealed and size and at:
            assert isinstance(reply, FailedPrecondition), reply
        elif isinstance(reply, Aborted):
            # A short last part can't be added to: the client goes on at the last full one, and
            # may have to announce again what it has announced to this stream.
            assert "ask STAT" in str(reply)
            totals = self.totals
            found = await (await self.opened()).handle(Message(Action.STAT))
            assert found.offset % (4 * MIB) == 0
            assert at - found.offset < 8 * MIB
            assert found.total in totals
            model.data, model.total = model.data[: found.offset], found.total
        else:
            model.data += message.data
            self.agree(reply)

    async def restart(self, size: int) -> None:
        reply = await self.send(Message(Action.WRITE, offset=0, data=BYTES[:size]))
        self.model.data, self.model.sealed = BYTES[:size], False
        self.agree(reply)

    async def elsewhere(self, size: int) -> None:
        at = len(self.model.data)
        reply = await self.send(Message(Action.WRITE, offset=at + 1, data=BYTES[:size]))
        assert isinstance(reply, OutOfRange), reply
        assert str(at + 1) in str(reply)

    async def commit(self, how: str) -> None:
        model, data = self.model, self.model.data
        await self.opened()
        digest = sha256(data)
        repeat, done_mark = False, self.opened_done
        if how == "wrong total":
            reply = await self.send(Message(Action.COMMIT, total=len(data) + 1))
            repeat = done_mark is not None and not data and done_mark[1] == 1
            if not repeat:
                assert isinstance(reply, FailedPrecondition), reply
                assert "commit size" in str(reply)
                return
        elif how in WRONG:
            reply = await self.send(Message(Action.COMMIT, total=len(data), expected=WRONG[how]))
            size_differs = not data and model.total != 0
            assert isinstance(reply, FailedPrecondition), reply
            assert ("commit size" if size_differs else "commit digest") in str(reply)
            model.sealed |= how == "wrong sha512" and len(data) >= PART
            return
        else:
            expected = ""
            if how == "sha512":
                expected = digest = f"sha512:{hashlib.sha512(data).hexdigest()}"
            total = len(data) if how == "sized" else 0
            reply = await self.send(Message(Action.COMMIT, total=total, expected=expected))
            repeat = (
                done_mark is not None
                and not data
                and total in {0, done_mark[1]}
                and expected in {"", done_mark[0]}
            )
            known = expected and expected in model.held
            if not repeat and not known and (total or model.total) not in {0, len(data)}:
                assert isinstance(reply, FailedPrecondition), reply
                return
        if repeat or digest in model.held:
            assert isinstance(reply, AlreadyExists), reply
            model.forget()
            return
        assert isinstance(reply, Reply), reply
        assert (reply.offset, reply.digest, reply.total) == (len(data), digest, len(data))
        model.held.add(digest)
        model.done = (digest, len(data))
        model.forget()
        self.turn += 1
        assert await self.desk.read(digest) == data

    async def abort(self, _: int) -> None:
        reply = await self.send(Message(Action.ABORT))
        self.agree(reply)
        self.model.forget()

    async def break_off(self, _: int) -> None:
        await self.ended()

    async def spill(self, _: int) -> None:
        if self.session is not None:
            await stream_of(self.session).spill()


async def play(folder: Path, redis_url: str, script: list[tuple[str, object]]) -> None:
    """Plays a script on two frontends."""
    async with AsyncExitStack() as stack:
        store, tenant = FolderStore(folder), f"t-{secrets.token_hex(6)}"
        store.check_access()
        desks = [await stack.enter_async_context(bench(store, redis_url, tenant)) for _ in range(2)]
        played = Script(desks)
        for name, argument in script:
            await getattr(played, "break_off" if name == "break" else name)(argument)
        await played.ended()
        for desk in desks:
            await eventually(partial(getattr, desk, "whole"))
            assert desk.refs.leases.kept == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all scripts; each has a tenant of its own in it."""
    return tmp_path_factory.mktemp("model")


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example([("announced", 9 * MIB), ("break", 0), ("announced", 1), ("stat", 0)])
@given(st.lists(messages, max_size=14))
def test_any_sequence(folder: Path, redis_url: str, script: list[tuple[str, object]]) -> None:
    """Whatever the order, offsets, digests, totals and errors are those of the contract."""
    asyncio.run(play(folder, redis_url, script))
