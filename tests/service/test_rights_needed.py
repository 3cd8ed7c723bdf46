"""No right is granted that the program doesn't use: each statement of a policy has its request."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from grpc import StatusCode
from redis import Redis

from holdfast.coordination.connection import close_client, open_client
from holdfast.coordination.probe import probe as probe_redis
from holdfast.coordination.rights import RIGHTS
from holdfast.coordination.scripts import NAMES, source
from holdfast.digests import Digest
from holdfast.errors import PermissionDenied, Unavailable
from holdfast.programs import Program
from holdfast.protos import content_pb2 as pb
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.assembly import CollectorOptions, tools
from holdfast.service.collector.doomed import Doomed
from holdfast.service.collector.ingests import give_up
from holdfast.service.collector.report import CollectionReport
from holdfast.service.explain.run import Question, explainer_of
from holdfast.service.scrub.caches import forget_holds
from holdfast.service.settings import Settings
from holdfast.service.tenants.gone import Gone
from holdfast.storage.fleet import declare_lifetime, longest_lifetime
from holdfast.storage.held import FleetHeld
from holdfast.storage.holds import Hold, Holds
from holdfast.storage.keys import DATA, DELETING, HOLDS, RECORDS, data_key, tail_key, uuid7
from holdfast.storage.port import ObjectStore
from holdfast.storage.probe import probe
from holdfast.storage.records import new_nonce
from holdfast.storage.reserve import Reserve
from holdfast.storage.retained import Retained, RetentionMarker
from holdfast.storage.rights import BUCKET, DENIED, OBJECTS, S3Action
from holdfast.storage.run_reports import Reporter
from holdfast.storage.sightings import Sightings
from holdfast.storage.snapshots import Snapshots
from holdfast.storage.spool import Spools
from tests.servers.redis import RedisServer
from tests.service.collector.passing import time_passes
from tests.service.collector.world import EAGER, MINDFUL, OLD
from tests.service.fleet import Fleet, Tenant, eventually, refused, sha256
from tests.service.rights import redis_under
from tests.service.scrubbing import edit_data, found, scrub
from tests.storage.test_run_reports import DONE
from tests.stores.counting import CountingStore
from tests.stores.memory import MemoryStore
from tests.stores.wrapped import Result, Wrapped

MIB = 2**20
PARTS = b"p" * (9 * MIB)
OBJECT = b"o" * (200 * 1024)
ACTIONS = {
    "get": [S3Action.GET],
    "head": [S3Action.GET],
    "put": [S3Action.PUT],
    "refuses_changed": [S3Action.PUT],
    "create_upload": [S3Action.PUT],
    "put_part": [S3Action.PUT],
    "complete_upload": [S3Action.PUT],
    "list_parts": [S3Action.PARTS],
    "abort_upload": [S3Action.ABORT, S3Action.PARTS],
    "delete": [S3Action.DELETE],
    "delete_if": [S3Action.DELETE],
    "list": [S3Action.LIST],
    "list_uploads": [S3Action.LIST_UPLOADS],
}
"""What S3 is asked for by each of the port's operations."""


Right = tuple[str, S3Action]
"""A pattern of keys, "" for the bucket, and what may be done there."""


class Limited(Wrapped):
    """A store that a program uses within its rights, and that remembers which it used."""

    def __init__(self, inner: MemoryStore, program: Program) -> None:
        super().__init__(inner)
        self._program = program
        self._lock = threading.Lock()
        self.used: set[Right] = set()

    def request(self, operation: str, key: str, call: Callable[[], Result]) -> Result:
        for action in ACTIONS[operation]:
            right = self._right(key, action)
            if right is None:
                raise PermissionDenied(f"{self._program} may not {action} {key}")
            with self._lock:
                self.used.add(right)
        return call()

    def _right(self, key: str, action: S3Action) -> Right | None:
        """The one right that allows an action on a key, or on the bucket."""
        if action in {S3Action.LIST, S3Action.LIST_UPLOADS}:
            return ("", action) if action in BUCKET[self._program] else None
        denied = DENIED.get(self._program, {}).items()
        if any(action in actions and fnmatchcase(key, pattern) for pattern, actions in denied):
            return None
        found = [
            (pattern, action)
            for pattern, actions in OBJECTS[self._program].items()
            if action in actions and fnmatchcase(key, pattern)
        ]
        assert len(found) <= 1, f"{key}: one right is enough"
        return found[0] if found else None


def granted(program: Program) -> set[Right]:
    """All rights of a program."""
    objects = OBJECTS[program].items()
    found = {(pattern, action) for pattern, actions in objects for action in actions}
    return found | {("", action) for action in BUCKET[program]}


@dataclass
class Grounds:
    """A store in memory and a Redis, and what a program uses of its rights there."""

    memory: MemoryStore
    redis: RedisServer
    folder: Path
    fleet: Fleet

    async def begin(self, program: Program) -> tuple[Limited, str]:
        """From now on, only this program acts; its store, and the URL of its Redis."""
        with Redis.from_url(self.redis.url) as owner:
            owner.script_flush()
        return Limited(self.memory, program), redis_under(program, self.redis.url)

    def unused(self, store: Limited, program: Program) -> tuple[set[Right], set[str]]:
        """The rights in the store, and the scripts, that a program didn't need."""
        with Redis.from_url(self.redis.url) as owner:
            run = {name for name in NAMES if owner.script_exists(sha(name)) == [True]}
        return granted(program) - store.used, set(RIGHTS[program].scripts) - run


@pytest.fixture
async def grounds(redis: RedisServer, tmp_path: Path) -> AsyncIterator[Grounds]:
    """Empty backends."""
    memory = MemoryStore()
    settings = {"data_dir": tmp_path, "suspend_grace": 20.0}
    fleet = Fleet(memory, redis_under(Program.FRONTEND, redis.url), settings)
    async with fleet.stack:
        yield Grounds(memory, redis, tmp_path, fleet)


def sha(script: str) -> str:
    """The name of a script in Redis."""
    return hashlib.sha1(source(script).encode(), usedforsecurity=False).hexdigest()


def hold_a_reserve(store: ObjectStore) -> None:
    """Makes the reserve, and gives a piece of it up."""
    reserve = Reserve(store, MIB, bytes)
    reserve.keep()
    reserve._give_up()


def write_snapshots(store: ObjectStore, tenant: str) -> None:
    """Two snapshots of a tenant's holds, and what is in the last."""
    snapshots = Snapshots(store, new_nonce)
    for _ in range(2):
        snapshots.begin(tenant).finish()
    snapshots.newest(tenant)


async def broken_off(client: Tenant, ref: str) -> None:
    """An ingest with a part and a tail."""
    stream = client.write(ref)
    await stream.send(pb.STAT)
    await stream.write_all(PARTS)
    await stream.half_close()


async def frozen(grounds: Grounds, tenant: str, operation: str, prefix: str) -> None:
    """A commit whose frontend died before a write."""

    def refuse(asked: str, key: str) -> None:
        if asked == operation and key.startswith(prefix):
            raise Unavailable("no reply")

    store = CountingStore(grounds.memory)
    frontend = await grounds.fleet.frontend(store)
    stream = frontend.tenant(tenant).write("frozen")
    await stream.write_all(PARTS)
    store.before = refuse
    await refused(StatusCode.UNAVAILABLE, stream.send(pb.COMMIT))
    await frontend.stop()


async def test_frontend(grounds: Grounds, tenant: str) -> None:
    """A frontend, from its start on."""
    store, _ = await grounds.begin(Program.FRONTEND)
    probe(store, essential_only=True)
    declare_lifetime(store, 3600.0)
    hold_a_reserve(store)
    frontend = await grounds.fleet.frontend(store, fleet_bytes=2**30)
    await frontend.running.frontend.catalogue.charges.fleet.look()
    await frontend.running.reports.look()
    client = frontend.tenant(tenant)
    await probe_redis(frontend.running.redis)
    await frontend.running.pairing.settle()
    await client.commit("o", OBJECT, labels={"a": "b"})
    await client.update(sha256(OBJECT), {"a": "c"}, "labels.a")
    await broken_off(client, "dropped")
    await client.abort("dropped")
    await broken_off(client, "resumed")
    stream = client.write("resumed")
    await stream.send(pb.STAT)
    await stream.send(pb.COMMIT, offset=len(PARTS))
    assert await stream.ended()
    assert await client.read(sha256(PARTS)) == PARTS
    await client.list()
    write_snapshots(store, tenant)
    await client.delete(sha256(OBJECT))
    marker = RetentionMarker(Digest.of(OBJECT), len(OBJECT), 0.0, dropped=True)
    grounds.memory.put(marker.key, b"")
    Retained(store).renew(marker.digest, marker.size)
    sightings = Sightings(grounds.memory, new_nonce)
    sightings.miss(tenant, sightings.token(tenant), None)
    assert Sightings(store, new_nonce).missed(tenant)
    assert (await frontend.running.frontend.overview.current()).complete
    await eventually(lambda: not len(frontend.running.frontend.background))
    rights, _ = grounds.unused(store, Program.FRONTEND)
    assert rights == set()


async def collect(
    grounds: Grounds,
    backends: tuple[ObjectStore, str],
    *gone: str,
    ages: Ages = EAGER,
    ahead: float = OLD,
) -> None:
    """A run of the collector, so many seconds after all that happened so far."""
    store, url = backends
    await time_passes(grounds.redis.url, ahead)
    report, stop = CollectionReport(dry_run=False), threading.Event()
    settings = Settings(data_dir=grounds.folder, s3_bucket="b", redis_url=url, tenant_bytes=2**40)
    async with tools(settings, store, url, ages, stop=stop) as opened:
        await opened.collect(ages, report, CollectorOptions(tenants_gone=gone))
    assert report.ok, report.errors


async def a_fleets_remains(grounds: Grounds, tenant: str) -> None:
    """What a fleet leaves behind: a blob, a broken-off ingest, a commit, a Delete, an upload."""
    memory = grounds.memory
    declare_lifetime(memory, 3600.0)
    frontend = await grounds.fleet.frontend()
    await frontend.running.pairing.settle()
    client = frontend.tenant(tenant)
    await client.commit("o", OBJECT)
    await broken_off(client, "dropped")
    await broken_off(frontend.tenant(f"{tenant}-aborted"), "aborted")
    await frozen(grounds, f"{tenant}-frozen", "complete_upload", DATA)
    await frozen(grounds, f"{tenant}-crowded", "put", RECORDS)
    write_snapshots(memory, tenant)
    memory.put(tail_key(uuid7()), b"lost")
    memory.create_upload(data_key(uuid7()))
    holds, digest = Holds(memory, uuid7, new_nonce), Digest.of(PARTS)
    [group] = holds.groups(tenant)
    memory.put(group[0].key + DELETING, b"")
    for name in ("crowded", "gone"):
        for _ in range(6):
            holds.make(f"{tenant}-{name}", Hold(digest, len(PARTS), 1, 1, {}, 0, new_nonce()))


async def test_collector(grounds: Grounds, tenant: str) -> None:
    """Runs of a collector, over all that a fleet can leave behind."""
    await a_fleets_remains(grounds, tenant)
    store, url = await grounds.begin(Program.COLLECTOR)
    probe(store, essential_only=True)
    hold_a_reserve(store)
    longest_lifetime(store)
    assert Sightings(store, new_nonce).token(tenant)  # before `--tenant-gone` is believed
    await collect(grounds, (store, url), f"{tenant}-aborted", ahead=EAGER.landing + 60)
    grounds.memory.time += OLD
    gone = [f"{tenant}{more}" for more in ("", "-frozen", "-crowded", "-gone")]
    await collect(grounds, (store, url), *gone, ages=MINDFUL)
    for _ in range(4):
        grounds.memory.time += OLD
        await collect(grounds, (store, url))
    assert [entry.key for entry in grounds.memory.list(DATA)] == []
    DONE.write(store, Reporter.COLLECTOR)
    assert grounds.unused(store, Program.COLLECTOR) == (set(), set())


async def drop(grounds: Grounds, backends: tuple[ObjectStore, str], *tenants: str) -> None:
    """Gives up what tenants have, as `holdfast tenants drop` does."""
    store, url = backends
    settings = Settings(data_dir=grounds.folder, s3_bucket="b", redis_url=url, tenant_bytes=2**40)
    report, sightings = CollectionReport(dry_run=False), Sightings(store, new_nonce)
    async with tools(settings, store, url, EAGER, stop=threading.Event()) as opened:
        with opened.run(EAGER, report, CollectorOptions()) as run:
            for tenant in tenants:
                gone = Gone.from_now_on(sightings, tenant)
                assert await give_up(run, opened.knowledge, tenant, gone)


def miss_and_find(store: ObjectStore, tenant: str) -> None:
    """Notes that a tenant is missing, and that it isn't, as `holdfast tenants expire` does."""
    sightings = Sightings(store, new_nonce)
    assert sightings.miss(tenant, sightings.token(tenant), None)
    assert sightings.missed(tenant)
    sightings.find(tenant)


async def test_scrub(grounds: Grounds, tenant: str) -> None:
    """A scrub that finds damage, and makes frontends forget it."""
    frontend = await grounds.fleet.frontend()
    client = frontend.tenant(tenant)
    await client.commit("o", OBJECT)
    edit_data(grounds.memory, Digest.of(OBJECT))
    store, url = await grounds.begin(Program.SCRUB)
    longest_lifetime(store)
    report = await asyncio.to_thread(scrub, store, forget=lambda: forget_holds(store, url))
    assert found(report) == {sha256(OBJECT): "block_sum"}
    report.run_report().write(store, Reporter.SCRUB)
    assert grounds.unused(store, Program.SCRUB) == (set(), set())


async def test_admin(grounds: Grounds, tenant: str) -> None:
    """What people run: the doctor, and the commands on tenants and on what is retained."""
    grounds.memory.put(data_key(uuid7()), b"lost")
    grounds.memory.time += OLD
    await collect(grounds, (grounds.memory, grounds.redis.url), ahead=0.0)
    await a_fleets_remains(grounds, tenant)
    store, url = await grounds.begin(Program.ADMIN)
    probe(store, essential_only=False)
    client = open_client(url)
    await probe_redis(client)
    await close_client(client)
    hold_a_reserve(store)
    longest_lifetime(store)
    assert FleetHeld.read(store)
    with Spools() as spools:
        Doomed(store, spools.new).newest(0.0)
    Retained(store).drop(RetentionMarker(Digest.of(OBJECT), len(OBJECT), 0.0))
    miss_and_find(store, tenant)
    settings = Settings(data_dir=grounds.folder)
    async with explainer_of(settings, store, url) as explainer:
        found = await explainer.blob(Digest.of(OBJECT), Question(None, 20))
        assert found.record
        assert found.missing == ()
        assert (await explainer.ref("dropped", Question(None, 20))).known
    remains = ("", "-aborted", "-frozen", "-crowded", "-gone")
    await drop(grounds, (store, url), *(f"{tenant}{more}" for more in remains))
    assert list(grounds.memory.list(HOLDS)) == []
    DONE.write(store, Reporter.EXPIRY)
    assert grounds.unused(store, Program.ADMIN) == (set(), set())
