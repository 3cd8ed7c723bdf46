"""Single operations of the code, recorded on a fleet and compared with the models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from holdfast.digests import Digest
from holdfast.storage.compaction import Compaction
from holdfast.storage.folder import FolderStore
from holdfast.storage.holds import Holds
from holdfast.storage.keys import DELETING, uuid7
from holdfast.storage.records import State, new_nonce
from tests.model.cache_model import CacheModel, CacheRules, CacheWorld, Redis
from tests.model.cache_model import delete as delete_announced
from tests.model.cache_model import info as info_cached
from tests.model.collector_programs import sweep_store
from tests.model.commit_programs import commit_unnamed, redrive
from tests.model.programs import Call
from tests.model.protocol import Faults
from tests.model.recording import Made, RecordingStore
from tests.model.storage_model import OLD, Frozen, World
from tests.model.storage_programs import compact, delete, info, remembered, warm
from tests.model.storage_rules import FRESH, LIVE, TOMBSTONE, Record
from tests.model.traces import of_a_commit, of_the_cache, refusal
from tests.model.worlds import FIRST, OTHER, OWN, RULES, announced, found, live, turn
from tests.service.collector import world as collected
from tests.service.fleet import Fleet, sha256

Patch = pytest.MonkeyPatch
Scene = Callable[["Stage"], Awaitable[str | None]]


class Stage:
    """A fleet, one tenant, some bytes, and what is recorded."""

    def __init__(
        self, fleet: Fleet, recording: RecordingStore, tenant: str, fill: Any, patch: Patch
    ) -> None:
        self.fleet, self.recording, self.tenant, self.patch = fleet, recording, tenant, patch
        self.fill: Callable[[str], bytes] = fill
        self.breaks: Callable[[Patch], None] = lambda _patch: None

    async def committed(self, kind: str, tenant: str = "") -> bytes:
        """Bytes that were committed successfully."""
        data = self.fill(kind)
        await (await self.fleet.frontend()).tenant(tenant or self.tenant).commit("ref", data)
        return data

    async def client(self, *, fresh: bool = True) -> Any:
        """A recorded client of the broken code, whose scripts are recorded too."""
        client = (await self.fleet.frontend(self.recording)).tenant(self.tenant)
        if fresh:
            self.start()
        return client

    def start(self) -> None:
        """Breaks the code, and records its requests from now on."""
        self.breaks(self.patch)
        self.recording.made.clear()
        self.recording.watch_redis(self.patch)

    def in_the_cache(self, world: CacheWorld, program: Any) -> str | None:
        """Model B's objection, if any."""
        model = CacheModel(CacheRules(), [], Faults(), world)
        call = Call(program, (CacheRules(), "1"))
        return refusal(model, call, self.recording.made, of_the_cache)


def commits(kind: str) -> Scene:
    """A commit of new content."""

    async def scene(stage: Stage) -> str | None:
        await (await stage.client()).commit("ref", stage.fill(kind), **announced(kind))
        return found(
            stage.recording, World(), Call(commit_unnamed, (RULES, "a", "1", kind)), of_a_commit
        )

    return scene


async def commits_again(stage: Stage) -> str | None:
    """A commit of what the fleet already has."""
    data = await stage.committed("single", "another")
    await (await stage.client()).commit("ref", data)
    return found(
        stage.recording, live("single", OTHER), Call(commit_unnamed, (RULES, "a", "1", "early"))
    )


async def carries_out(stage: Stage) -> str | None:
    """A frozen commit whose record exists, completed once more."""
    sent: list[Made] = []

    def lose(made: Made) -> str:
        sent.extend([made] * made.like(FIRST))
        return "reply" if made.like(FIRST) else "request" if sent and made.kind == "record" else ""

    stage.recording.lose = lose
    client = await stage.client(fresh=False)
    with pytest.raises(Exception, match=r"UNAVAILABLE|lost"):
        await client.commit("ref", stage.fill("inline"))
    stage.recording.lose = lambda _made: ""
    stage.start()
    await (await stage.client()).abort("ref")
    record = Record(LIVE, "i1", "1c")
    frozen = frozenset({("a", Frozen(record, "inline"))})
    world = World(record, frozenset({("a", "1c.")}), frozen=frozen)
    return found(stage.recording, world, Call(redrive, (RULES, "a", "2", record, "inline")))


async def adopts(stage: Stage) -> str | None:
    """Info of what another tenant holds."""
    data = await stage.committed("inline", "another")
    await (await stage.client()).info(sha256(data))
    return found(stage.recording, live("inline", OTHER), Call(info, (RULES, "a", "1")))


async def asks(stage: Stage, state: State = State.LIVE) -> str | None:
    """Info of what is held."""
    data = await stage.committed("inline")
    if state is not State.LIVE:
        turn(stage.fleet, data, state)
    await (await stage.client()).info(sha256(data))
    return found(stage.recording, live("inline", OWN, state=str(state)), _info())


async def asks_condemned(stage: Stage) -> str | None:
    """Info of what is held and was condemned."""
    return await asks(stage, State.CONDEMNED)


async def asks_marked(stage: Stage) -> str | None:
    """Info of what is held, with a delete mark next to it."""
    data = await stage.committed("inline")
    (entry,) = stage.fleet.store.list("holds/")
    stage.fleet.store.put(entry.key + DELETING, b"")
    await (await stage.client()).info(sha256(data))
    world = live("inline", OWN)._replace(marks=frozenset({OWN}))
    return found(stage.recording, world, _info())


def _info() -> Call:
    return Call(info, (RULES, "a", "1"))


async def asks_the_cache(stage: Stage) -> str | None:
    """Info of what is held, as the cache sees it."""
    data = await stage.committed("inline")
    await (await stage.client()).info(sha256(data))
    return stage.in_the_cache(CacheWorld(holds=frozenset({"old"})), info_cached)


async def writes_remembered(stage: Stage) -> str | None:
    """A write of what the cache remembers."""
    data = await stage.committed("single")
    client = await stage.client(fresh=False)
    await client.info(sha256(data))
    stage.start()
    catalogue = (await stage.fleet.frontend(stage.recording)).running.frontend.catalogue
    stage.recording.made.clear()
    await catalogue.held(stage.tenant, Digest.parse(sha256(data)))
    return found(stage.recording, live("single", OWN), Call(remembered, (RULES, "a", "1")))


async def warms(stage: Stage, state: State = State.LIVE) -> str | None:
    """Warm of what nobody holds, and a collector has marked."""
    data = await stage.committed("single", "another")
    digest = Digest.of(data)
    await (await stage.fleet.frontend()).tenant("another").delete(str(digest))
    if state is not State.LIVE:
        turn(stage.fleet, data, state)
    stage.fleet.store.put(collected.marker(digest, len(data)), b"")
    frontend = await stage.fleet.frontend(stage.recording)
    stage.start()
    await frontend.running.frontend.warming.warm(digest)
    world = live("single", state=str(state))._replace(marker=FRESH)
    return found(stage.recording, world, Call(warm, (RULES, "a", "1")))


async def warms_condemned(stage: Stage) -> str | None:
    """Warm of what a collector has condemned."""
    return await warms(stage, State.CONDEMNED)


async def deletes(stage: Stage) -> str | None:
    """A delete, as the store sees it."""
    data = await stage.committed("inline")
    await (await stage.client()).delete(sha256(data))
    return found(stage.recording, live("inline", OWN), Call(delete, (RULES, "a", "1")))


async def deletes_announced(stage: Stage) -> str | None:
    """A delete, as the cache sees it."""
    data = await stage.committed("inline")
    await (await stage.client()).delete(sha256(data))
    return stage.in_the_cache(CacheWorld(Redis(), holds=frozenset({"old"})), delete_announced)


def retains(*, held: bool, marker: str) -> Scene:
    """A run of a collector that retains; a `marker` that is there is old."""

    async def scene(stage: Stage) -> str | None:
        store = stage.fleet.store
        assert isinstance(store, FolderStore)
        before = collected.World(store)
        digest = before.commit("a", b"bytes")
        if not held:
            before.holds.drop("a", digest)
        if marker:
            store.put(collected.marker(digest, 5), b"")
        stage.start()
        collected.World(collected.Later(stage.recording), collected.MINDFUL).collect()
        world = live("single", *[OWN] * held)._replace(marker=marker, doomed=())
        world = world._replace(ages=frozenset({("d", OLD)}))
        return found(stage.recording, world, Call(sweep_store, (RULES, "a", "1")))

    return scene


def collects(*, held: bool = False, marked: bool = False, state: State = State.LIVE) -> Scene:
    """A run of the collector for which everything is old."""

    async def scene(stage: Stage) -> str | None:
        store = stage.fleet.store
        assert isinstance(store, FolderStore)
        before = collected.World(store)
        digest = before.commit("a", b"bytes")
        (name,) = before.keys("holds/")
        if marked:
            store.put(name + DELETING, b"")
        if not held:
            store.delete(name)
        if state is not State.LIVE:
            before.turn(digest, state)
        stage.start()
        collected.World(collected.Later(stage.recording), collected.EAGER).collect()
        world = live("single", *[OWN] * held, state=str(state))
        world = world._replace(marks=frozenset([OWN] * marked), ages=frozenset({("d", OLD)}))
        world = world._replace(doomed=())
        return found(stage.recording, world, Call(sweep_store, (RULES, "a", "1")))

    return scene


async def removes_a_tombstone(stage: Stage) -> str | None:
    """A run of the collector that finds a tombstone whose data an earlier run has deleted."""
    store = stage.fleet.store
    assert isinstance(store, FolderStore)
    before = collected.World(collected.Later(store), collected.EAGER)
    before.holds.drop("a", before.commit("a", b"bytes"))
    for _ in range(3):
        before.collect()
    stage.start()
    collected.World(collected.Later(stage.recording), collected.EAGER).collect()
    dead = Record(TOMBSTONE, "d", "t")
    world = World(dead, ages=frozenset({("d", OLD)}), known=(dead, 2), doomed=())
    return found(stage.recording, world, Call(sweep_store, (RULES, "a", "1")))


async def compacts(stage: Stage) -> str | None:
    """A compaction of six holds that say the same."""
    data = await stage.committed("inline")
    (first,) = stage.fleet.store.list(f"holds/{stage.tenant}/")
    body = stage.fleet.store.get(first.key).body
    for number in range(5):
        stage.fleet.store.put(f"{first.key}-{number}", body)
    stage.start()
    holds = Holds(stage.recording, uuid7, new_nonce)
    digest = Digest.of(data)
    steps = Compaction(stage.recording, holds, new_nonce, stage.tenant, digest)
    if steps.mark():
        steps.unlink()
    world = live("inline", *(("a", f"h{number}") for number in range(6)))
    return found(stage.recording, world, Call(compact, (RULES, "a", "1")))
