"""Each program works with the rights that `holdfast policy` prints, and can do nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis

from holdfast.client import ContentStore
from holdfast.digests import Digest
from holdfast.errors import PermissionDenied
from holdfast.programs import Program
from holdfast.protos import content_pb2 as pb
from holdfast.storage.keys import DATA, HOLDS, RECORDS, record_key, seen_key, uuid7
from holdfast.storage.port import ObjectStore
from holdfast.storage.s3 import S3Settings
from tests.servers.redis import RedisServer
from tests.servers.s3 import S3Server
from tests.service.fleet import sha256
from tests.service.processes import connected, run, serving
from tests.service.rights import OwnedStore, credentials, redis_under
from tests.service.scrubbing import edit_data

MIB = 2**20
INLINE = b"a manifest"
OBJECT = b"o" * (200 * 1024)
PARTS = b"p" * (17 * MIB)
pytestmark = pytest.mark.minio


@dataclass
class Grounds:
    """A bucket's prefix on MinIO and a Redis, and what each program is allowed there."""

    server: S3Server
    redis: RedisServer
    owned: OwnedStore
    prefix: str
    folder: Path
    patch: pytest.MonkeyPatch

    def settings(self, program: Program) -> dict[str, Any]:
        """The settings of a program; its credentials are in this process's environment then."""
        for name, value in credentials(self.server, program, self.prefix).items():
            self.patch.setenv(name, value)
        return {
            "s3_endpoint": self.server.endpoint,
            "s3_bucket": self.server.bucket,
            "s3_prefix": self.prefix,
            "s3_path_style": True,
            "redis_url": redis_under(program, self.redis.url),
            "data_dir": self.folder,
            "retain_for": 0,
        }

    def run(self, program: Program, *command: str) -> str:
        """Runs a command of ours as a program; returns its output."""
        done = run(*command, **self.settings(program))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self) -> list[str]:
        """The commands that Redis has refused to anybody."""
        with Redis.from_url(self.redis.url, decode_responses=True) as owner:
            entries = owner.execute_command("ACL", "LOG")
        # Servers answer with dictionaries or with lists of names and values.
        found = [
            entry if isinstance(entry, dict) else dict(zip(entry[::2], entry[1::2], strict=True))
            for entry in entries
        ]
        # redis-py introduces itself to servers, and may be refused; Redis 6.2 doesn't log how.
        introduced = {"client", "client|setinfo"}
        return [entry["object"] for entry in found if entry["object"] not in introduced]


@pytest.fixture
def owned(minio: S3Server, unique: str) -> Iterator[OwnedStore]:
    """An empty prefix of a bucket, as its owner sees it."""
    settings = S3Settings(
        bucket=minio.bucket, endpoint=minio.endpoint, prefix=unique, path_style=True
    )
    with closing(OwnedStore(minio, settings)) as owned:
        yield owned


@pytest.fixture
def grounds(
    minio: S3Server,
    redis: RedisServer,
    owned: OwnedStore,
    unique: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Grounds:
    """Empty backends."""
    return Grounds(minio, redis, owned, unique, tmp_path, monkeypatch)


async def test_a_frontend(grounds: Grounds) -> None:
    """A frontend starts, serves each call and ends, and neither backend refuses anything."""
    settings = grounds.settings(Program.FRONTEND)
    with serving(grounds.folder / "log", reserve="1MiB", **settings) as served:
        async with connected(served.address, "a") as tenant:
            for ref, content in {"i": INLINE, "o": OBJECT, "p": PARTS}.items():
                await tenant.commit(ref, content, labels={"stage": ref})
                assert await tenant.read(sha256(content)) == content
            tail = tenant.write("tail")
            await tail.send(pb.STAT)
            await tail.write_all(PARTS[: 9 * MIB])
            await tail.half_close()
            for ref in ("tail", "again"):
                stream = tenant.write(ref)
                offset = (await stream.send(pb.STAT)).offset
                await stream.write_all(PARTS[: 16 * MIB], offset)
                await stream.half_close()
                await tenant.abort(ref)
            assert await tenant.statuses() == []
            await tenant.update(sha256(OBJECT), {"stage": "done"}, "labels.stage")
            assert len(await tenant.list()) == 3
            await tenant.delete(sha256(OBJECT))
            await tenant.info(sha256(OBJECT))
            with ContentStore(served.address, tenant="a") as client:
                assert client.warm(sha256(OBJECT)) == len(OBJECT)
                assert client.flights() == []
        assert served.terminate() == 0
        warnings = [event for event in served.events() if event.get("level", "info") != "info"]
    assert warnings == []
    assert grounds.refused() == []
    kept = {entry.key.partition("/")[0] for entry in grounds.owned.list("")}
    assert kept == {"blobs", "data", "fleet", "holds", "retained", "tenants"}
    assert list(grounds.owned.list_uploads("")) == []


async def test_those_who_tend(grounds: Grounds) -> None:
    """A scrub finds damage, gc collects, people look and drop; no backend refuses anything."""
    with serving(grounds.folder / "log", **grounds.settings(Program.FRONTEND)) as served:
        async with connected(served.address, "a") as tenant:
            await tenant.commit("o", OBJECT)
            await tenant.commit("p", PARTS)
            edit_data(grounds.owned, Digest.of(PARTS))
            done = run("scrub", "--json", **grounds.settings(Program.SCRUB))
            assert done.returncode == 1, done.stderr
            assert json.loads(done.stdout)["findings"][0]["kind"] == "block_sum"
            left = tenant.write("left")
            await left.write_all(PARTS[: 9 * MIB])
            await left.half_close()
        async with connected(served.address, "b") as tenant:
            await tenant.commit("m", INLINE)
        told = json.loads(
            grounds.run(Program.COLLECTOR, "gc", "--json", "--tenant-gone", "a", "--yes")
        )
        assert told["ok"], told
        grounds.run(Program.ADMIN, "doctor")
        assert "b " in grounds.run(Program.ADMIN, "tenants", "list")
        grounds.run(Program.ADMIN, "tenants", "expire", "--unseen-for", "1s", "--apply")
        grounds.run(Program.ADMIN, "tenants", "drop", "b", "--yes")
        grounds.run(Program.ADMIN, "retained", "list")
    assert grounds.refused() == []
    assert list(grounds.owned.list(HOLDS)) == []


Attempt = Callable[[ObjectStore, str], object]


def overwrite(store: ObjectStore, key: str) -> None:
    """Writes other bytes."""
    store.put(key, b"other")


def read(store: ObjectStore, key: str) -> None:
    """Reads."""
    store.get(key)


def delete(store: ObjectStore, key: str) -> None:
    """Deletes."""
    store.delete(key)


def delete_if(store: ObjectStore, key: str) -> None:
    """Deletes by ETag."""
    store.delete_if(key, "0" * 32)


def upload(store: ObjectStore, key: str) -> None:
    """Begins an upload."""
    store.create_upload(key)


NAME = uuid7()
RECORD = record_key(Digest.of(b"victim"))
HOLD = f"{HOLDS}victim/sha256/{'0' * 64}/{NAME}"
REFUSED: Final[list[tuple[Program, Attempt, str]]] = [
    *((p, delete, DATA + NAME) for p in Program if p is not Program.COLLECTOR),
    *((p, attempt, RECORD) for p in Program if p is not Program.COLLECTOR
      for attempt in (delete, delete_if)),
    (Program.FRONTEND, overwrite, "collector/doomed/run/complete"),
    (Program.FRONTEND, read, "collector/census"),
    (Program.FRONTEND, delete, "collector/census"),
    (Program.FRONTEND, overwrite, "scrub/cursor"),
    (Program.FRONTEND, delete, seen_key("victim")),
    (Program.FRONTEND, delete, "fleet/redis"),
    (Program.FRONTEND, delete, "fleet/ingest-lifetime"),
    (Program.FRONTEND, delete, f"retained/sha256/{'0' * 64}/1"),
    (Program.FRONTEND, overwrite, f"retained/sha256/{'0' * 64}/1.dropped"),
    (Program.FRONTEND, overwrite, "tenants/victim/missing"),
    (Program.FRONTEND, overwrite, "elsewhere"),
    (Program.COLLECTOR, overwrite, "fleet/ingest-lifetime"),
    (Program.COLLECTOR, overwrite, "fleet/redis"),
    (Program.COLLECTOR, overwrite, "scrub/cursor"),
    (Program.COLLECTOR, overwrite, seen_key("victim")),
    (Program.SCRUB, overwrite, DATA + NAME),
    (Program.SCRUB, upload, DATA + NAME),
    (Program.SCRUB, overwrite, HOLD),
    (Program.SCRUB, delete, HOLD),
    (Program.SCRUB, read, "tails/" + NAME),
    (Program.SCRUB, overwrite, "fleet/ingest-lifetime"),
    (Program.ADMIN, overwrite, "collector/census"),
    (Program.ADMIN, overwrite, "fleet/ingest-lifetime"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("program", "attempt", "key"),
    REFUSED,
    ids=[
        f"{p}-{attempt.__name__}-{key.partition('/')[0]}-{n}"
        for n, (p, attempt, key) in enumerate(REFUSED)
    ],
)
def test_what_is_refused(owned: OwnedStore, program: Program, attempt: Attempt, key: str) -> None:
    """MinIO refuses what isn't in a program's policy, and nothing has changed."""
    owned.put(key, b"victim")
    with pytest.raises(PermissionDenied):
        attempt(owned.under(program), key)
    assert owned.get(key).body == b"victim"


@pytest.mark.parametrize("program", Program)
def test_nothing_beyond_the_prefix(owned: OwnedStore, program: Program) -> None:
    """No program sees, reads or writes what is in the bucket beside its prefix."""
    outside = owned.under(program)
    outside._prefix = f"other-{outside._prefix}"
    for attempt in (
        lambda: outside.put(DATA + NAME, b""),
        lambda: outside.get(RECORDS),
        lambda: list(outside.list("")),
        lambda: outside.delete(HOLD),
    ):
        with pytest.raises(PermissionDenied):
            attempt()


@pytest.mark.parametrize("program", [Program.FRONTEND, Program.SCRUB])
def test_uploads_of_others(owned: OwnedStore, program: Program) -> None:
    """Only a collector and people see which uploads there are."""
    with pytest.raises(PermissionDenied):
        list(owned.under(program).list_uploads(""))
