"""`holdfast serve` as a process: how it starts, what it refuses, how it stops."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from holdfast.service.listeners import parse
from holdfast.service.process.sockets import bound_sockets
from holdfast.storage import documents
from holdfast.storage.fleet import LIFETIME, LONGEST
from holdfast.storage.folder import FolderStore
from tests.servers.process import free_port, listens, wait_until
from tests.servers.redis import redis_server
from tests.servers.s3 import S3Server
from tests.service.conftest import Fill
from tests.service.fleet import Stream, refused, sha256
from tests.service.processes import LISTEN, connected, refusal, run, serving

MIB = 2**20
HELLO = sha256(b"hello")


async def test_embedded(tmp_path: Path) -> None:
    """With no settings at all it serves from a folder below the XDG data home, and says so."""
    home = {"XDG_DATA_HOME": str(tmp_path)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*next(iter(home.items())))
        with serving(tmp_path / "log") as served:
            said = next(e for e in served.events() if e["event"].startswith("embedded"))
            assert said["data_dir"] == str(tmp_path / "holdfast")
            async with connected(served.address, "a") as client:
                await client.commit("ref", b"hello")
                assert await client.read(HELLO) == b"hello"
            assert served.terminate() == 0
        with serving(tmp_path / "log2") as served:
            async with connected(served.address, "a") as client:
                assert await client.read(HELLO) == b"hello"


def test_port_in_use(tmp_path: Path, redis_url: str) -> None:
    """A port that is taken is refused, naming the listener."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = f"tcp://127.0.0.1:{port}?tenant=a"
        said = refusal(data_dir=tmp_path, redis_url=redis_url, listen=listen)
        assert str(port) in said
        assert "in use" in said
        said = refusal(
            data_dir=tmp_path, redis_url=redis_url, listen=LISTEN, http=f"127.0.0.1:{port}"
        )
        assert "HOLDFAST_HTTP" in said


async def test_folder_in_use(tmp_path: Path) -> None:
    """A second embedded serve on one folder is refused; the first one goes on."""
    with serving(tmp_path / "log", data_dir=tmp_path / "data") as served:
        said = refusal(data_dir=tmp_path / "data", listen=LISTEN)
        assert "in use by another" in said
        assert "HOLDFAST_REDIS_URL" in said
        async with connected(served.address, "a") as client:
            await client.commit("ref", b"hello")


async def test_shared_folder(tmp_path: Path, redis_url: str, tenant: str) -> None:
    """With one Redis URL, any number of frontends share a folder."""
    settings: dict[str, Any] = {"data_dir": tmp_path / "data", "redis_url": redis_url}
    with serving(tmp_path / "1", **settings) as one, serving(tmp_path / "2", **settings) as two:
        async with connected(one.address, tenant) as client:
            await client.commit("ref", b"hello")
        async with connected(two.address, tenant) as client:
            assert [info.digest for info in await client.list()] == [HELLO]


def test_unusable_folder(tmp_path: Path, redis_url: str) -> None:
    """A data folder that can't be made or written, or holds something else, is refused."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "store").mkdir()
    (tmp_path / "other" / "store" / "photo.jpg").write_text("x")
    for folder in (Path("/sys/holdfast"), tmp_path / "file" / "x", tmp_path / "other"):
        said = refusal(data_dir=folder, redis_url=redis_url, listen=LISTEN)
        assert str(folder) in said
    assert refusal(data_dir="/sys/holdfast", listen=LISTEN).count("\n") == 1


def test_data_of_a_newer_version(tmp_path: Path, redis_url: str) -> None:
    """A folder of a future format is refused, naming both formats."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "FORMAT").write_text("holdfast-folder 9\n")
    said = refusal(data_dir=tmp_path, redis_url=redis_url, listen=LISTEN)
    assert "holdfast-folder 9" in said
    assert "holdfast-folder 1" in said


def test_a_damaged_lifetime(tmp_path: Path, redis_url: str) -> None:
    """A flipped bit in what the fleet has declared keeps no frontend from starting, and is told."""
    settings: dict[str, Any] = {"data_dir": tmp_path / "data", "redis_url": redis_url}
    store = FolderStore(tmp_path / "data" / "store")
    store.check_access()
    store.put(LIFETIME, documents.encode({"format": 2, "seconds": 7200.0})[:-3] + b'7"}')
    with serving(tmp_path / "log", **settings) as served:
        told = served.event("longest life of ingests was damaged; it is replaced")
    assert told is not None
    assert (told["level"], told["seconds"]) == ("error", LONGEST)
    assert LIFETIME in told["reason"]


@pytest.fixture
def not_redis() -> Iterator[str]:
    """A web server where a Redis should be."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"redis://127.0.0.1:{server.server_port}/0"
    server.shutdown()
    server.server_close()
    thread.join()


def test_not_a_redis(tmp_path: Path, not_redis: str) -> None:
    """A Redis URL where something else answers is refused."""
    assert "isn't a Redis" in refusal(data_dir=tmp_path, redis_url=not_redis, listen=LISTEN)


def test_evicting_redis(tmp_path: Path) -> None:
    """A Redis that may evict leases is refused."""
    with redis_server(tmp_path, 0, "--maxmemory-policy", "allkeys-lru") as url:
        said = refusal(data_dir=tmp_path / "data", redis_url=url, listen=LISTEN)
    assert "noeviction" in said


def test_wrong_redis_password(tmp_path: Path) -> None:
    """A wrong Redis password is refused, and not shown."""
    with redis_server(tmp_path, 0, "--requirepass", "right") as url:
        wrong = url.replace("redis://", "redis://:s3cr3t-wrong@")
        said = refusal(data_dir=tmp_path / "data", redis_url=wrong, listen=LISTEN)
    assert "credentials" in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"listen": "tcp://0.0.0.0:9000?tenant-header=x"}, "insecure=1"),
        ({"listen": "http://127.0.0.1:9000"}, "unknown scheme"),
        ({"listen": "tcp://127.0.0.1:9000"}, "which tenant asks"),
        ({"part_size": "5MiB"}, "HOLDFAST_PART_SIZE"),
        ({"buffer_budget": "1MiB"}, "buffer_budget"),
        ({"s3_endpoint": "http://127.0.0.1:1"}, "s3_bucket"),
        ({"s3_bucket": "b"}, "HOLDFAST_REDIS_URL"),
        ({"redis_url": "mysql://x"}, "HOLDFAST_REDIS_URL"),
        ({"sharing": "perhaps"}, "HOLDFAST_SHARING"),
    ],
    ids=str,
)
def test_bad_settings(tmp_path: Path, settings: dict[str, str], expected: str) -> None:
    """A setting that can't be run is refused in one line that names it."""
    said = refusal(**{"data_dir": tmp_path, **settings})
    assert expected in said
    assert said.count("\n") == 1


@pytest.mark.minio
@pytest.mark.parametrize(
    ("bucket", "secret", "expected"),
    [("no-such-bucket", None, "no-such-bucket"), ("holdfast", "s3cr3t-wrong", "credentials")],
)
def test_bucket_that_cannot_be_used(
    redis_url: str,
    minio: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    bucket: str,
    secret: str | None,
    expected: str,
) -> None:
    """A bucket that isn't there, or refuses the credentials, is said and not shown more of."""
    if secret:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    said = refusal(
        s3_endpoint=minio.endpoint,
        s3_bucket=bucket,
        s3_path_style=True,
        redis_url=redis_url,
        listen=LISTEN,
    )
    assert expected in said
    assert "s3cr3t" not in said


@pytest.mark.minio
async def test_on_a_bucket(
    tmp_path: Path, redis_url: str, minio: S3Server, unique: str, tenant: str
) -> None:
    """On a real S3 server it probes the bucket, serves, and leaves no probe behind."""
    with serving(
        tmp_path / "log",
        s3_endpoint=minio.endpoint,
        s3_bucket=minio.bucket,
        s3_prefix=f"{unique}/",
        s3_path_style=True,
        redis_url=redis_url,
    ) as served:
        async with connected(served.address, tenant) as client:
            await client.commit("ref", b"hello")
            assert await client.read(HELLO) == b"hello"


def test_a_unix_socket_that_is_there_can_be_connected_to(socket_folder: Path) -> None:
    """Whoever waits for the socket's file may connect from then on, and is served later."""
    path = socket_folder / "node.sock"
    [bound] = bound_sockets(parse(f"unix://{path}?tenant=node-a"))
    with bound, socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))


async def test_unix_socket(socket_folder: Path, tmp_path: Path, redis_url: str) -> None:
    """A unix socket names its tenant, has the mode asked for, and replaces a dead one."""
    path = socket_folder / "node.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    settings: dict[str, Any] = {
        "data_dir": tmp_path / "data",
        "redis_url": redis_url,
        "listen": f"unix://{path}?tenant=node-a&mode=0660",
    }
    with serving(tmp_path / "log", **settings):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        async with connected(f"unix:{path}", "whatever") as client:
            await client.commit("ref", b"hello")
            assert [info.digest for info in await client.list()] == [HELLO]
        assert "another server listens there" in refusal(**settings)
    (tmp_path / "plain").write_text("x")
    said = refusal(**{**settings, "listen": f"unix://{tmp_path / 'plain'}?tenant=a"})
    assert "isn't a socket" in said


def test_an_idle_node_is_there(socket_folder: Path, tmp_path: Path, redis_url: str) -> None:
    """A tenant with a socket of its own is seen while that is served, though it never asks."""
    data, listen = tmp_path / "data", f"unix://{socket_folder / 'node.sock'}?tenant=node-a"
    with serving(tmp_path / "log", data_dir=data, redis_url=redis_url, listen=listen):
        wait_until(lambda: any(data.rglob("tenants/node-a/seen*")), "a sighting")


async def test_drain(tmp_path: Path, redis_url: str, tenant: str, fill: Fill) -> None:
    """On SIGTERM new streams are refused, running ones end, and the exit code is 0."""
    data = fill(9 * MIB)
    settings: dict[str, Any] = {"data_dir": tmp_path / "data", "redis_url": redis_url}
    with serving(tmp_path / "1", **settings) as one, serving(tmp_path / "2", **settings) as two:
        async with connected(one.address, tenant) as client:
            stream = client.write("ref")
            await stream.write_all(data)
            one.process.send_signal(signal.SIGTERM)
            wait_until(lambda: one.http("/readyz")[0] == 503, "unready")
            assert one.http("/livez") == (200, "ok\n")
            assert (await stream.send(pb.STAT)).offset == len(data)
            assert (await stream.send(pb.COMMIT)).digest == sha256(data)
        assert one.process.wait(30) == 0
        async with connected(two.address, tenant) as client:
            assert await client.read(sha256(data)) == data


async def test_drain_of_a_stream_that_stays(
    tmp_path: Path, redis_url: str, tenant: str, fill: Fill
) -> None:
    """A stream that doesn't end within the grace is made durable and its ref released."""
    data = fill(9 * MIB)
    settings: dict[str, Any] = {
        "data_dir": tmp_path / "data",
        "redis_url": redis_url,
        "drain_grace": 0.2,
    }
    with serving(tmp_path / "1", **settings) as one, serving(tmp_path / "2", **settings) as two:
        async with connected(one.address, tenant) as client:
            stream = client.write("ref")
            await stream.write_all(data)
            assert one.terminate() == 0
        async with connected(two.address, tenant) as client:
            stream = client.write("ref")
            assert (await stream.send(pb.STAT)).offset == len(data)
            assert (await stream.send(pb.COMMIT)).digest == sha256(data)


@pytest.mark.parametrize("backend", ["folder", pytest.param("minio", marks=pytest.mark.minio)])
async def test_killed_in_mid_stream(
    tmp_path: Path,
    redis_url: str,
    tenant: str,
    unique: str,
    fill: Fill,
    backend: str,
    request: pytest.FixtureRequest,
) -> None:
    """A write whose frontend is SIGKILLed goes on through another; nothing durable is redone."""
    data, part = fill(64 * MIB), 8 * MIB
    seed = random.Random(unique)  # noqa: S311 -- the point of the kill
    sent = seed.randrange(1, 63) * MIB + seed.randrange(MIB)
    settings: dict[str, Any] = {"redis_url": redis_url, "lease_ttl": 3}
    if backend == "minio":
        server = request.getfixturevalue("minio")
        settings |= {
            "s3_endpoint": server.endpoint,
            "s3_bucket": server.bucket,
            "s3_prefix": f"{unique}/",
            "s3_path_style": True,
        }
    else:
        settings["data_dir"] = tmp_path / "data"
    with contextlib.ExitStack() as stack:
        one, two, three = (
            stack.enter_context(serving(tmp_path / str(n), **settings)) for n in range(3)
        )
        async with connected(one.address, tenant) as client:
            stream = client.write("ref")
            await stream.send(pb.STAT, total=len(data))
            await stream.write_all(data[:sent])
            one.kill()
        async with connected(two.address, tenant) as client:
            offset = -1
            while offset < 0:
                stream = client.write("ref")
                with contextlib.suppress(LockedRef):
                    offset = await stat_or_locked(stream)
            assert offset % part == 0
            assert sent - 6 * part < offset <= sent
            await stream.write_all(data, start=offset)
            reply = await stream.send(pb.COMMIT, offset=len(data), expected=sha256(data))
            assert reply.digest == sha256(data)
            assert two.counted("holdfast_hashed_bytes_total") == len(data) - offset
            assert two.counted("holdfast_stored_bytes_total") == len(data) - offset
        async with connected(three.address, tenant) as client:
            assert await client.read(sha256(data)) == data


class LockedRef(Exception):  # noqa: N818 -- an outcome
    """The dead frontend's lease hasn't run out yet."""


async def stat_or_locked(stream: Stream) -> int:
    """The offset that STAT tells.

    Raises:
        LockedRef: somebody holds the ref.
    """
    try:
        return int((await stream.send(pb.STAT)).offset)
    except grpc.aio.AioRpcError as error:
        if error.code() is StatusCode.UNAVAILABLE:
            raise LockedRef from error
        raise


async def test_full_disk(tmp_path: Path, redis_url: str, tenant: str, fill: Fill) -> None:
    """A disk that takes no more is RESOURCE_EXHAUSTED; what is small goes on, nothing is lost."""
    data = fill(20 * MIB)
    settings: dict[str, Any] = {"data_dir": tmp_path / "data", "redis_url": redis_url}
    limited = ("prlimit", "--fsize=6000000")
    with serving(tmp_path / "1", prefix=limited, **settings) as served:
        async with connected(served.address, tenant) as client:
            text = await refused(StatusCode.RESOURCE_EXHAUSTED, client.commit("ref", data))
            assert "disk" in text
            await client.commit("small", b"hello")
            assert (await client.status("ref")).offset == 0
        assert not list((tmp_path / "data" / "store" / "tmp").iterdir())
    with serving(tmp_path / "2", **settings) as served:
        async with connected(served.address, tenant) as client:
            await client.commit("ref", data)
            assert await client.read(sha256(data)) == data


async def test_killed_with_its_redis(tmp_path: Path, fill: Fill) -> None:
    """An embedded serve that is SIGKILLed takes its Redis along, and its ingests come back."""
    data = fill(9 * MIB)
    folder = tmp_path / "data"
    with serving(tmp_path / "1", data_dir=folder, lease_ttl=3) as served:
        async with connected(served.address, "a") as client:
            stream = client.write("ref")
            await stream.write_all(data)
            await stream.half_close()
        served.kill()
    with serving(tmp_path / "2", data_dir=folder, lease_ttl=3) as served:
        async with connected(served.address, "a") as client:
            stream = client.write("ref")
            assert (await stream.send(pb.STAT)).offset == len(data)
            assert (await stream.send(pb.COMMIT)).digest == sha256(data)


async def test_embedded_redis_dies(tmp_path: Path) -> None:
    """An embedded Redis that dies is started again."""
    with serving(tmp_path / "log", data_dir=tmp_path / "data") as served:
        os.kill(served.child(), signal.SIGKILL)
        wait_until(
            lambda: any("embedded Redis died" in event["event"] for event in served.events()),
            "the new Redis",
        )
        async with connected(served.address, "a") as client:
            await client.commit("ref", b"hello")


async def test_redis_away_at_start(tmp_path: Path, tenant: str) -> None:
    """A frontend that starts without its Redis reads, and writes when it comes."""
    port = free_port()
    settings: dict[str, Any] = {
        "data_dir": tmp_path / "data",
        "redis_url": f"redis://127.0.0.1:{port}/0",
    }
    with redis_server(tmp_path, port), serving(tmp_path / "1", **settings) as served:
        async with connected(served.address, tenant) as client:
            await client.commit("ref", b"hello")
    assert not listens(port)
    with serving(tmp_path / "2", **settings) as served:
        async with connected(served.address, tenant) as client:
            assert await client.read(HELLO) == b"hello"
            await refused(StatusCode.UNAVAILABLE, client.write("ref").send(pb.STAT))
            with redis_server(tmp_path, port):
                wait_until(
                    lambda: served.event("Redis answers; writes are served") is not None, "Redis"
                )
                await client.commit("ref", b"more")


async def test_side_door(tmp_path: Path, redis_url: str) -> None:
    """Probes and metrics are served over HTTP."""
    with serving(tmp_path / "log", data_dir=tmp_path / "data", redis_url=redis_url) as served:
        assert served.http("/livez") == (200, "ok\n")
        assert served.http("/readyz") == (200, "ok\nredis: ok\nstore: ok\n")
        assert served.http("/else")[0] == 404
        async with connected(served.address, "a") as client:
            await refused(StatusCode.NOT_FOUND, client.info(HELLO))
        figures = served.http("/metrics")[1]
        assert 'holdfast_rpcs_total{code="NOT_FOUND",role="node",rpc="Info"} 1.0' in figures


async def test_what_operators_see(tmp_path: Path, redis_url: str) -> None:
    """The pages for operators, and the page of the fleet, show what a frontend has open."""
    with serving(tmp_path / "log", data_dir=tmp_path / "data", redis_url=redis_url) as served:
        async with connected(served.address, "a") as client:
            stream = client.write("open-ref")
            await stream.send(pb.WRITE, data=b"hello", total=10)
            for page in served.http("/debug")[1].split():
                query = "?seconds=0.1" if page.endswith("profile") else ""
                status, body = served.http(page + query)
                assert status == 200, (page, body)
            [shown] = json.loads(served.http("/debug/streams")[1])["shown"]
            assert (shown["tenant"], shown["ref"], shown["offset"]) == ("a", "open-ref", 5)
            [lease] = json.loads(served.http("/debug/leases")[1])["shown"]
            assert 0 < lease["seconds_left"] <= 15
            connections = json.loads(served.http("/debug/connections")[1])
            assert connections["count"] == 1
            assert connections["shown"][0]["streams"] == 1
            assert "MainThread" in served.http("/debug/stacks")[1]
            wait_until(lambda: "open-ref" in served.http("/figures")[1], "the fleet's figures")
            assert "<h1>Holdfast</h1>" in served.http("/")[1]


def test_secrets_stay_out(tmp_path: Path) -> None:
    """No secret of the environment or of a URL is logged, even at debug."""
    with redis_server(tmp_path, 0, "--requirepass", "s3cr3t") as url:
        with serving(
            tmp_path / "log",
            data_dir=tmp_path / "data",
            redis_url=url.replace("redis://", "redis://:s3cr3t@"),
            log_level="debug",
        ) as served:
            assert served.terminate() == 0
        assert "s3cr3t" not in (tmp_path / "log").read_text()


def test_doctor(tmp_path: Path, redis_url: str, not_redis: str) -> None:
    """`doctor` exits with 0 where all is well, with 1 and advice where it isn't."""
    well = run("doctor", "--json", data_dir=tmp_path, redis_url=redis_url, listen=LISTEN)
    assert well.returncode == 0, well.stdout + well.stderr
    ill = run("doctor", data_dir=tmp_path, redis_url=not_redis, listen=LISTEN)
    assert ill.returncode == 1
    assert "isn't a Redis" in " ".join(ill.stdout.split())
