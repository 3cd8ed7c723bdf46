"""What somebody finds who reads the bucket, Redis, or all of a node, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from holdfast.service.backends import open_store
from holdfast.service.settings import Settings
from tests.servers.redis import RedisServer
from tests.servers.s3 import S3Server
from tests.service.conftest import Fill
from tests.service.fleet import HEADER, eventually, refused, sha256
from tests.service.processes import Served, connected, serving

PASSWORD = "planted-password-of-redis"
SECRET = "planted-secret-of-s3"
MARK = b"planted content"
READERS = {"string": "get", "hash": "hgetall", "set": "smembers"}


def in_redis(url: str) -> bytes:
    """All keys of a Redis with all that they have."""
    found = []
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter():
            kind = client.type(key).decode()
            if kind in READERS:
                value = getattr(client, READERS[kind])(key)
            elif kind == "list":
                value = client.lrange(key, 0, -1)
            else:
                value = client.zrange(key, 0, -1, withscores=True)
            found.append(repr((key, value)).encode())
    return b"\n".join(found)


def in_bucket(settings: dict[str, Any]) -> bytes:
    """All objects below the prefix, with their names."""
    with closing(open_store(Settings(**settings))) as store:
        return b"\n".join(
            entry.key.encode() + b" " + store.get(entry.key).body for entry in store.list("")
        )


@dataclass
class Planted:
    """A store whose secrets are known to the test.

    Attributes:
        redis: asks for `PASSWORD`.
        settings: of a frontend, which has `SECRET` in its environment.
    """

    redis: RedisServer
    settings: dict[str, Any]

    @property
    def url(self) -> str:
        """That of Redis, with the password."""
        return str(self.settings["redis_url"])


@pytest.fixture
def planted(
    tmp_path: Path, moto: S3Server, unique: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Planted]:
    """Starts Redis, and plants the secrets."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis", 0, "--requirepass", PASSWORD) as server:
        settings = {
            "redis_url": server.url.replace("redis://", f"redis://:{PASSWORD}@"),
            "s3_bucket": moto.bucket,
            "s3_endpoint": moto.endpoint,
            "s3_path_style": True,
            "s3_prefix": f"{unique}/",
        }
        yield Planted(server, settings)


async def test_what_is_stored_has_no_secret(
    planted: Planted, tmp_path: Path, tenant: str, fill: Fill
) -> None:
    """Neither the bucket nor Redis has a password or a key, and Redis has no content."""
    small, large = MARK + fill(100), MARK + fill(9 * 2**20)
    with serving(tmp_path / "log", **planted.settings) as served:
        async with connected(served.address, tenant) as client:
            await client.commit("small", small, labels={"a": "b"})
            await client.commit("large", large)
            await client.info(sha256(small))
            stream = client.write("open")
            await stream.send(pb.WRITE, data=MARK + fill(100_000))
            told = in_redis(planted.url)
            await stream.half_close()
    told += in_redis(planted.url)
    stored = in_bucket(planted.settings)
    # What there is to find: both have digests and refs, and the bucket has content.
    assert sha256(small).encode() in told
    assert b"open" in told
    assert MARK in stored
    for secret in (PASSWORD.encode(), SECRET.encode()):
        assert secret not in stored
        assert secret not in told
    assert MARK not in told


async def test_a_node_has_no_secret(
    planted: Planted, tmp_path: Path, tenant: str, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node's agent has no secret of the store in its environment, on its disk or in its log."""
    body, node = MARK + fill(9 * 2**20), tmp_path / "node"
    node.mkdir()
    with serving(tmp_path / "log", **planted.settings) as frontend:
        assert SECRET.encode() in environment_of(frontend)
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        settings: dict[str, Any] = {
            "command": "agent",
            "listen": f"tcp://127.0.0.1:0?tenant={tenant}",
            "agent_frontends": frontend.address,
            "agent_tenant_header": HEADER,
            "data_dir": node,
            "disk_cache_budget": "64MiB",
            "log_level": "debug",
        }
        with serving(node / "log", **settings) as agent:
            async with connected(agent.address, tenant) as client:
                await client.commit("ref", body)
                assert await client.read(sha256(body)) == body
                await eventually(lambda: MARK in on_disk(node))
                planted.redis.stop()
                await refused(StatusCode.UNAVAILABLE, client.write("ref").send(pb.STAT))
            environment = environment_of(agent)
    for secret in (PASSWORD.encode(), SECRET.encode(), planted.redis.url.encode()):
        assert secret not in environment
        assert secret not in on_disk(node)


def environment_of(served: Served) -> bytes:
    """The environment of a process, as root on its machine reads it."""
    return Path(f"/proc/{served.process.pid}/environ").read_bytes()


def on_disk(folder: Path) -> bytes:
    """All files below a folder."""
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
