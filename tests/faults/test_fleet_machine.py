"""Any order of calls, faults, deaths and collections, over three frontends, against a dict.

The steps run in one event loop of the machine's own; what was acknowledged is kept in
plain dicts and compared with what any frontend says.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
import redis
from grpc import StatusCode
from grpc.aio import AioRpcError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from protos import content_pb2 as pb
from storage.folder import FolderStore
from storage.port import ObjectStore
from storage.s3 import S3Settings, S3Store
from tests.faults.faulty_store import FaultyStore
from tests.faults.plans import Plan
from tests.faults.s3_wire import below
from tests.faults.stage import RETRIED, SETTINGS, collect
from tests.servers.redis import redis_server
from tests.servers.s3 import S3Server
from tests.service.fleet import Fleet, Frontend, Stream, Tenant, sha256

Result = TypeVar("Result")

TENANTS = ("a", "b", "c")
REFS = ("r1", "r2", "push")
SIZES = (10, 1000, 70_000, 300_000)
BLOBS = tuple(f"{n}|".encode() * (size // 2) for n, size in enumerate(SIZES))
DIGESTS = tuple(sha256(blob) for blob in BLOBS)
FRONTENDS = 3
FAULTS = ("before", "after", "late", "twice", "echo", "full", "gone")

tenants = st.sampled_from(TENANTS)
refs = st.sampled_from(REFS)
blobs = st.sampled_from(range(len(BLOBS)))
frontends = st.integers(0, FRONTENDS - 1)
spoilt = st.one_of(st.just([]), st.lists(st.sampled_from(("", *FAULTS)), min_size=1, max_size=6))


class Whims(Plan):
    """A plan whose faults are drawn as the machine goes: the next requests', in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.coming: list[str] = []

    def take(self, kind: str) -> str:
        """The fault of the next request, "" if none was drawn."""
        with self._lock:
            if not self.coming:
                return ""
            fault = self.coming.pop(0)
        operation = kind.partition(" ")[0]
        if operation in {"get", "head", "list", "list_parts", "list_uploads"}:
            return "before" if fault else ""
        if fault == "echo" and operation not in {"cas", "complete_upload"}:
            return "twice"
        return fault


@dataclass
class Writer:
    """An open stream of the model: who writes what, and how far it is."""

    stream: Stream
    frontend: int
    blob: int
    offset: int = 0


@dataclass
class Model:
    """What was acknowledged.

    Attributes:
        held: by tenant, the digests that it must hold, with their labels.
        maybe: by tenant, the digests of which either is right: an operation on them failed.
        labels_maybe: (tenant, digest) whose labels may be older or newer.
    """

    held: dict[str, dict[str, dict[str, str]]] = field(
        default_factory=lambda: {tenant: {} for tenant in TENANTS}
    )
    maybe: dict[str, set[str]] = field(
        default_factory=lambda: {tenant: set() for tenant in TENANTS}
    )
    labels_maybe: set[tuple[str, str]] = field(default_factory=set)

    def sure(self, tenant: str, digest: str, labels: dict[str, str]) -> None:
        """The tenant holds it, by a commit that was acknowledged."""
        if digest in self.held[tenant]:
            return
        if digest in self.maybe[tenant]:
            self.labels_maybe.add((tenant, digest))
        self.held[tenant][digest] = labels
        self.maybe[tenant].discard(digest)

    def unsure(self, tenant: str, digest: str) -> None:
        """An operation failed that may have made a hold, or may yet."""
        if digest not in self.held[tenant]:
            self.maybe[tenant].add(digest)
        self.labels_maybe.add((tenant, digest))


class FleetMachine(RuleBasedStateMachine):
    """Steps of clients, of faults and of time."""

    store: Callable[[], tuple[ObjectStore, Callable[[], None]]]
    redis_url: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        # gRPC asks for the thread's loop when a call is begun outside of a coroutine.
        asyncio.set_event_loop(self.loop)
        self.folder = Path(tempfile.mkdtemp(prefix="hf-machine-"))
        self.inner, self.end_store = type(self).store()
        self.plans = [Whims() for _ in range(FRONTENDS)]
        self.admin = redis.Redis(port=urlsplit(self.redis_url).port or 0)
        self.admin.flushall()
        self.model = Model()
        self.writers: dict[tuple[str, str], Writer] = {}
        self.fleet = Fleet(
            self.inner, self.redis_url, {**SETTINGS, "suspend_grace": 3.0, "data_dir": self.folder}
        )
        self.frontends: list[Frontend] = [self._start(n) for n in range(FRONTENDS)]

    def _start(self, number: int) -> Frontend:
        store = FaultyStore(self.inner, self.plans[number])
        return self._run(self.fleet.frontend(store))

    def _run(self, work: Awaitable[Result]) -> Result:
        async def bounded() -> Result:
            async with asyncio.timeout(40):
                return await work

        return self.loop.run_until_complete(bounded())

    def _tenant(self, frontend: int, tenant: str) -> Tenant:
        return self.frontends[frontend].tenant(tenant)

    def _try(self, work: Awaitable[Result], *also: StatusCode) -> tuple[Result | None, Any]:
        """The answer, or the code of a refusal that the contract allows."""
        try:
            return self._run(work), None
        except AioRpcError as error:
            allowed = {*RETRIED, StatusCode.RESOURCE_EXHAUSTED, *also}
            assert error.code() in allowed, f"{error.code()}: {error.details()}"  # noqa: PT017
            return None, error.code()

    # -- writing

    @rule(frontend=frontends, tenant=tenants, ref=refs, blob=blobs)
    def open(self, frontend: int, tenant: str, ref: str, blob: int) -> None:
        """A client opens a ref and asks where it is."""
        if (tenant, ref) in self.writers or ref == "push":
            return
        stream = self._tenant(frontend, tenant).write(ref)
        # A frozen commit that is found is carried out.
        for digest in DIGESTS:
            self.model.labels_maybe.add((tenant, digest))
        reply, _ = self._try(stream.send(pb.STAT))
        if reply is not None:
            self.writers[tenant, ref] = Writer(stream, frontend, blob)

    def _lost(self, tenant: str, ref: str) -> None:
        del self.writers[tenant, ref]

    def _writer(self, data: st.DataObject) -> tuple[tuple[str, str], Writer]:
        return data.draw(st.sampled_from(sorted(self.writers.items(), key=lambda item: item[0])))

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), share=st.sampled_from([2, 1]))
    def write(self, data: st.DataObject, share: int) -> None:
        """A client writes from the start, half or all of it."""
        key, writer = self._writer(data)
        body = BLOBS[writer.blob][: len(BLOBS[writer.blob]) // share]
        reply, _ = self._try(writer.stream.send(pb.WRITE, offset=0, data=body))
        if reply is None:
            self._lost(*key)
        else:
            assert reply.offset == len(body)
            writer.offset = len(body)

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), label=st.sampled_from(["x", "y"]))
    def commit(self, data: st.DataObject, label: str) -> None:
        """A client writes what is missing and commits."""
        key, writer = self._writer(data)
        tenant, body, digest = key[0], BLOBS[writer.blob], DIGESTS[writer.blob]
        labels = {"l": label}

        async def work() -> str:
            await writer.stream.send(pb.WRITE, offset=writer.offset, data=body[writer.offset :])
            reply = await writer.stream.send(pb.COMMIT, expected=digest, labels=labels)
            return reply.digest

        made, code = self._try(work(), StatusCode.ALREADY_EXISTS)
        self._lost(*key)
        if made:
            assert made == digest
            assert (
                digest not in self.model.held[tenant] or (tenant, digest) in self.model.labels_maybe
            )
            self.model.labels_maybe.add((tenant, digest))
            self.model.sure(tenant, digest, labels)
        elif code is StatusCode.ALREADY_EXISTS:
            self.model.labels_maybe.add((tenant, digest))
            self.model.sure(tenant, digest, labels)
        else:
            self.model.unsure(tenant, digest)

    @rule(frontend=frontends, tenant=tenants, blob=blobs, faults=spoilt)
    def push(self, frontend: int, tenant: str, blob: int, faults: list[str]) -> None:
        """A client pushes a blob in one go, while the store fails."""
        digest = DIGESTS[blob]
        self.plans[frontend].coming = faults
        client = self._tenant(frontend, tenant)
        made, code = self._try(client.commit("push", BLOBS[blob]), StatusCode.ALREADY_EXISTS)
        self.plans[frontend].coming = []
        self.model.labels_maybe.add((tenant, digest))
        if made is not None or code is StatusCode.ALREADY_EXISTS:
            self.model.sure(tenant, digest, {})
        else:
            self.model.unsure(tenant, digest)

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), how=st.sampled_from(["half-close", "cancel"]))
    def leave(self, data: st.DataObject, how: str) -> None:
        """A client goes away, with a word or without."""
        key, writer = self._writer(data)
        self._lost(*key)
        if how == "cancel":
            writer.stream.cancel()
        else:
            self._try(writer.stream.half_close())

    @rule(frontend=frontends, tenant=tenants, ref=refs)
    def abort(self, frontend: int, tenant: str, ref: str) -> None:
        """A collector of the tenant aborts a ref, whoever writes it."""
        self._try(self._tenant(frontend, tenant).abort(ref))
        if writer := self.writers.pop((tenant, ref), None):
            writer.stream.cancel()

    # -- contents

    @rule(frontend=frontends, tenant=tenants, blob=blobs)
    def info(self, frontend: int, tenant: str, blob: int) -> None:
        """An Info answers what is held, and adopts what the fleet has."""
        digest = DIGESTS[blob]
        info, code = self._try(self._tenant(frontend, tenant).info(digest), StatusCode.NOT_FOUND)
        if info is not None:
            assert info.size == len(BLOBS[blob])
            self.model.sure(tenant, digest, dict(info.labels))
        elif code is StatusCode.NOT_FOUND:
            assert digest not in self.model.held[tenant], "what was acknowledged is gone"
        else:
            self.model.unsure(tenant, digest)

    @rule(frontend=frontends, tenant=tenants, blob=blobs, label=st.sampled_from(["x", "y"]))
    def update(self, frontend: int, tenant: str, blob: int, label: str) -> None:
        """An Update replaces the labels of what is held."""
        digest = DIGESTS[blob]
        info, code = self._try(
            self._tenant(frontend, tenant).update(digest, {"l": label}, "labels"),
            StatusCode.NOT_FOUND,
        )
        if info is not None:
            self.model.held[tenant][digest] = {"l": label}
            self.model.maybe[tenant].discard(digest)
            if not self._late():
                self.model.labels_maybe.discard((tenant, digest))
        elif code is StatusCode.NOT_FOUND:
            assert digest not in self.model.held[tenant], "what was acknowledged is gone"
        else:
            self.model.labels_maybe.add((tenant, digest))

    @rule(frontend=frontends, tenant=tenants, blob=blobs, faults=spoilt)
    def delete(self, frontend: int, tenant: str, blob: int, faults: list[str]) -> None:
        """A Delete takes the tenant's hold and nobody else's."""
        digest = DIGESTS[blob]
        self.plans[frontend].coming = faults
        done, code = self._try(self._deleted(frontend, tenant, digest))
        self.plans[frontend].coming = []
        self.model.held[tenant].pop(digest, None)
        # A stream that commits the same, a frozen commit and a late hold may bring it back.
        if code or self._late() or self._frozen(tenant):
            self.model.maybe[tenant].add(digest)
        elif done:
            self.model.maybe[tenant].discard(digest)
            self.model.labels_maybe.discard((tenant, digest))

    async def _deleted(self, frontend: int, tenant: str, digest: str) -> bool:
        await self._tenant(frontend, tenant).delete(digest)
        return True

    def _late(self) -> bool:
        return any(plan._late for plan in self.plans)

    def _frozen(self, tenant: str) -> bool:
        return any(
            self.admin.hexists(key, "frozen")
            for key in self.admin.scan_iter(f"holdfast:{{{tenant}}}:ingest:*")
        )

    # -- what happens to a fleet

    @rule(frontend=frontends, faults=st.lists(st.sampled_from(("", *FAULTS)), max_size=4))
    def faults(self, frontend: int, faults: list[str]) -> None:
        """The store's next answers to a frontend are spoilt."""
        self.plans[frontend].coming = faults

    @rule()
    def late_requests_land(self) -> None:
        """All that was given up is carried out after all."""
        for plan in self.plans:
            for late in plan.take_late():
                try:
                    late()
                except Exception as error:  # noqa: BLE001 -- it comes too late
                    assert type(error).__module__ in {"storage.port", "holdfast.errors"}  # noqa: PT017

    @rule(frontend=frontends)
    def replace_frontend(self, frontend: int) -> None:
        """A frontend dies: its streams break, nothing is made durable; another one starts."""
        self.plans[frontend].coming = ["gone"] * 10_000
        self._run(self.frontends[frontend].stop())
        self.plans[frontend].coming = []
        self.writers = {k: w for k, w in self.writers.items() if w.frontend != frontend}
        self.frontends[frontend] = self._start(frontend)

    @rule()
    def redis_comes_back_empty(self) -> None:
        """Redis is restarted without what it knew."""
        self.admin.flushall()

    @precondition(lambda self: not self.writers)
    @rule()
    def collect(self) -> None:
        """A collection without patience, while nothing is being written."""
        self.late_requests_land()
        for tenant in TENANTS:
            for ref in REFS:
                self._run(self._persistently(tenant, ref))
        collect(self.inner)

    async def _persistently(self, tenant: str, ref: str) -> None:
        self.plans[0].coming = []
        while True:
            try:
                await self._tenant(0, tenant).abort(ref)
            except AioRpcError as error:
                assert error.code() in RETRIED, error.details()  # noqa: PT017
            else:
                return
            await asyncio.sleep(0.01)

    # -- the books

    @invariant()
    def books_are_right(self) -> None:
        """What was acknowledged is listed once, and reads byte for byte."""
        self.plans[1].coming, coming = [], self.plans[1].coming
        for tenant in TENANTS:
            listed = self._run(self._tenant(1, tenant).list())
            digests = [info.digest for info in listed]
            assert len(digests) == len(set(digests))
            held = set(self.model.held[tenant])
            assert held <= set(digests), "what was acknowledged is gone"
            assert set(digests) - held <= self.model.maybe[tenant], "what nobody committed"
            for info in listed:
                if info.digest not in held:
                    continue
                body = BLOBS[DIGESTS.index(info.digest)]
                assert self._run(self._tenant(1, tenant).read(info.digest)) == body
                if (tenant, info.digest) not in self.model.labels_maybe:
                    assert dict(info.labels) == self.model.held[tenant][info.digest]
        self.plans[1].coming = coming

    def teardown(self) -> None:
        """Ends the fleet."""
        for plan in self.plans:
            plan.coming = []
        self._run(self.fleet.stack.aclose())
        asyncio.set_event_loop(None)
        self.loop.close()
        self.admin.close()
        self.end_store()
        shutil.rmtree(self.folder, ignore_errors=True)


Opening = Callable[[], tuple[ObjectStore, Callable[[], None]]]


def folder_store() -> tuple[ObjectStore, Callable[[], None]]:
    """A store in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="hf-machine-"))
    store = FolderStore(folder)
    store.check_access()
    return store, lambda: shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def opening(request: pytest.FixtureRequest) -> Iterator[Opening]:
    """Opens a store for each example of a machine."""
    if request.param == "folder":
        yield folder_store
        return
    server: S3Server = request.getfixturevalue("moto")
    chosen = S3Settings(server.bucket, server.endpoint, path_style=True, longest_pause=0.01)
    store = S3Store(chosen)
    yield lambda: (below(store, secrets.token_hex(5)), lambda: None)
    store.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[str]:
    """A Redis of the test's own: steps of it empty Redis."""
    with redis_server(tmp_path) as url:
        yield url


LONG = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("opening", "examples"),
    [
        ("folder", 10),
        ("moto", 3),
        pytest.param("folder", 300, marks=LONG),
        pytest.param("moto", 60, marks=LONG),
    ],
    indirect=["opening"],
)
def test_fleet_machine(opening: Opening, examples: int, own_redis: str) -> None:
    """In whatever order things happen, what was acknowledged is there, and nothing else."""

    class Machine(FleetMachine):
        store = staticmethod(opening)
        redis_url = own_redis

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
