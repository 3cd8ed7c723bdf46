"""What `holdfast doctor` advises for each way in which a backend can't be used."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from holdfast.checks import Check
from holdfast.coordination.connection import close_client, open_client
from holdfast.coordination.identity import Identity
from holdfast.coordination.probe import skew
from holdfast.coordination.scripts import Scripts
from holdfast.coordination.target import place
from holdfast.service.doctor import examine
from holdfast.service.settings import Settings
from holdfast.storage.folder import FolderStore
from holdfast.storage.pairing import Kept, Paired, look, pair
from tests.servers.certificate import self_signed
from tests.servers.redis import RedisServer
from tests.servers.s3 import S3Server
from tests.service.fleet import eventually
from tests.service.processes import LISTEN, run


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis", 0, "--requirepass", "right") as server:
        yield server


async def found(name: str, **settings: Any) -> Check:
    """What is found about one thing, by the beginning of its name."""
    checks = await examine(Settings(**{"listen": [LISTEN], **settings}))
    [check] = [check for check in checks if check.name.startswith(name)]
    return check


async def test_a_wrong_password(own_redis: RedisServer, tmp_path: Path) -> None:
    """A wrong password is to be corrected, and isn't shown; nor is a missing one taken for more."""
    for password in ("wrong-s3cr3t", ""):
        url = own_redis.url.replace("//", f"//:{password}@") if password else own_redis.url
        check = await found("Redis", redis_url=url, data_dir=tmp_path)
        assert not check.ok
        assert check.advice == "correct user and password in HOLDFAST_REDIS_URL"
        assert place(own_redis.url) in check.name
        assert "s3cr3t" not in str(check)


async def test_a_replica(redis_url: str, tmp_path: Path) -> None:
    """A replica in the master's place is told as that alone; the master is to be named."""
    port = str(urlsplit(redis_url).port)
    with RedisServer(tmp_path, 0, "--replicaof", "127.0.0.1", port) as replica:
        checks = await examine(
            Settings(redis_url=replica.url, data_dir=tmp_path / "data", listen=[LISTEN])
        )
    [wrong] = [check for check in checks if check.essential and not check.ok]
    assert wrong.name == "Redis role"
    assert "name the master" in wrong.advice


async def has_a_replica(client: Any) -> bool:
    """Whether a replica is connected to a master."""
    return bool((await client.info("replication"))["connected_slaves"])


async def test_a_master_of_replicas(own_redis: RedisServer, tmp_path: Path) -> None:
    """A master with replicas and without min-replicas-to-write is remarked on, until it has it."""
    folder = tmp_path / "replica"
    folder.mkdir()
    url = own_redis.url.replace("//", "//:right@")
    client: Any = open_client(url)
    port = str(urlsplit(own_redis.url).port)
    options = ("--replicaof", "127.0.0.1", port, "--masterauth", "right")
    with RedisServer(folder, 0, *options):
        await eventually(lambda: has_a_replica(client))
        check = await found("Redis replicas", redis_url=url, data_dir=tmp_path / "data")
        assert not check.ok
        assert not check.essential
        assert "min-replicas-to-write 1" in check.advice
        await client.config_set("min-replicas-to-write", 1)
        assert (await found("Redis replicas", redis_url=url, data_dir=tmp_path / "data")).ok
    await close_client(client)


@pytest.mark.parametrize(
    ("url", "advised"),
    [
        ("redis://127.0.0.1:1/0", "nobody listens there"),
        ("redis://no-such-host.invalid/0", "the host name isn't known"),
        ("unix:///no/such/socket", "no such socket"),
    ],
)
async def test_unreached(url: str, advised: str, tmp_path: Path) -> None:
    """What isn't there is told apart: no server, no name, no socket."""
    check = await found("Redis", redis_url=url, data_dir=tmp_path)
    assert advised in check.advice
    assert place(url) in check.name


async def test_tls_on_a_plain_port(redis_url: str, tmp_path: Path) -> None:
    """TLS with a Redis that speaks none is told as that."""
    url = redis_url.replace("redis:", "rediss:")
    check = await found("Redis", redis_url=url, data_dir=tmp_path)
    assert "speaks no TLS: use redis://" in check.advice


@asynccontextmanager
async def tls_port(folder: Path) -> AsyncIterator[int]:
    """A port of a server that speaks TLS."""
    context: ssl.SSLContext = self_signed(folder)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_plain_client_on_a_tls_port(tmp_path: Path) -> None:
    """No TLS with a Redis that speaks it, too."""
    async with tls_port(tmp_path) as port:
        url = f"redis://127.0.0.1:{port}/0"
        check = await found("Redis", redis_url=url, data_dir=tmp_path / "data")
    assert "speaks TLS: use rediss://" in check.advice


def on(server: S3Server, prefix: str, **settings: Any) -> dict[str, Any]:
    """Settings of a bucket there."""
    return {
        "s3_bucket": server.bucket,
        "s3_endpoint": server.endpoint,
        "s3_prefix": f"{prefix}/",
        "s3_path_style": True,
        **settings,
    }


async def test_where_it_is(moto: S3Server, redis_url: str, tmp_path: Path, unique: str) -> None:
    """Where all is well, endpoint, prefix and Redis are shown."""
    settings = on(moto, unique, redis_url=redis_url, data_dir=tmp_path)
    there = (await found(f"bucket {moto.bucket}: access", **settings)).found
    assert moto.endpoint in there
    assert f"{unique}/" in there


async def test_another_bucket(moto: S3Server, redis_url: str, tmp_path: Path, unique: str) -> None:
    """A bucket that isn't there is to be made, or named rightly."""
    settings = on(moto, unique, redis_url=redis_url, data_dir=tmp_path, s3_bucket="none-such")
    check = await found("bucket none-such: access", **settings)
    assert check.advice == "make the bucket, or correct HOLDFAST_S3_BUCKET"
    assert moto.endpoint in check.found


async def test_s3_without_tls(moto: S3Server, redis_url: str, tmp_path: Path, unique: str) -> None:
    """TLS with a store that speaks none is told as that."""
    endpoint = moto.endpoint.replace("http:", "https:")
    settings = on(
        moto, unique, redis_url=redis_url, data_dir=tmp_path, s3_endpoint=endpoint, call_deadline=5
    )
    check = await found(f"bucket {moto.bucket}: access", **settings)
    assert "speaks no TLS" in check.advice
    assert "http://" in check.advice


async def test_no_store(redis_url: str, tmp_path: Path, moto: S3Server, unique: str) -> None:
    """A store that isn't there is to be started, or its endpoint corrected."""
    settings = on(
        moto, unique, redis_url=redis_url, data_dir=tmp_path, s3_endpoint="http://127.0.0.1:1"
    )
    check = await found(f"bucket {moto.bucket}: access", **settings)
    assert check.advice.startswith("start the store, or correct HOLDFAST_S3_ENDPOINT")


@pytest.mark.minio
async def test_wrong_keys(
    minio: S3Server,
    redis_url: str,
    tmp_path: Path,
    unique: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Credentials that the store refuses are to be corrected."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    settings = on(minio, unique, redis_url=redis_url, data_dir=tmp_path)
    check = await found(f"bucket {minio.bucket}: access", **settings)
    assert "correct the credentials" in check.advice


async def test_an_unwritable_folder(redis_url: str, tmp_path: Path) -> None:
    """A folder that can't be made or written to is named, and what to do about it."""
    (tmp_path / "file").write_text("not a folder")
    for folder in (Path("/proc/none"), tmp_path / "file"):
        check = await found("data folder: access", redis_url=redis_url, data_dir=folder)
        assert not check.ok
        assert str(folder) in check.found
        assert "HOLDFAST_DATA_DIR" in check.advice


async def test_nothing_is_left(own_redis: RedisServer, tmp_path: Path) -> None:
    """The doctor leaves no key, no object and no folder behind."""
    url, folder = own_redis.url.replace("//", "//:right@"), tmp_path / "parent" / "data"
    folder.parent.mkdir()
    checks = await examine(Settings(redis_url=url, data_dir=folder, listen=[LISTEN]))
    assert all(check.ok for check in checks if check.essential), checks
    assert list(folder.parent.iterdir()) == []
    client: Any = open_client(url)
    assert await client.keys("*") == []
    await close_client(client)


def test_embedded(tmp_path: Path) -> None:
    """Nor does it where it looks at embedded use before there has been any."""
    checks = asyncio.run(examine(Settings(data_dir=tmp_path / "data", listen=[LISTEN])))
    assert all(check.ok for check in checks if check.essential), checks
    assert list(tmp_path.iterdir()) == []


async def test_another_redis(own_redis: RedisServer, tmp_path: Path) -> None:
    """A store that is used with another Redis is found, and left as it is."""
    store = FolderStore(tmp_path / "store")
    store.check_access()
    assert pair(store, Paired("name", "known", "redis-1:6379", "node-1/7"), "nonce", Kept(None))
    before, url = look(store), own_redis.url.replace("//", "//:right@")
    check = await found("Redis of this store", redis_url=url, data_dir=tmp_path)
    assert not check.ok
    assert "redis-1:6379" in check.found
    assert "node-1/7" in check.found
    client: Any = open_client(url)
    await Identity(client, Scripts(client)).claim("name", "known")
    await close_client(client)
    assert (await found("Redis of this store", redis_url=url, data_dir=tmp_path)).ok
    assert look(store) == before


@pytest.mark.parametrize(("ahead", "well"), [(0.0, True), (90.0, False), (-90.0, False)])
async def test_redis_clock(redis_url: str, ahead: float, well: bool) -> None:
    """A Redis whose clock differs from ours is remarked on, and not refused."""
    client = open_client(redis_url)
    seconds, _ = await client.time()
    check = await skew(client, lambda: float(seconds) - ahead)
    await close_client(client)
    assert check.ok == well
    assert not check.essential


def test_piped(tmp_path: Path) -> None:
    """Where nobody looks no line is folded, and each finding has a line of its own."""
    settings = {"data_dir": tmp_path, "redis_url": "redis://127.0.0.1:1/0", "listen": LISTEN}
    told = run("doctor", **settings)
    listed = json.loads(run("doctor", "--json", **settings).stdout)
    assert told.returncode == 1
    lines = told.stdout.splitlines()
    assert len(lines) == 1 + len(listed)
    assert max(map(len, lines)) > 200
    assert all(any(check["found"] in line for line in lines) for check in listed if check["found"])
