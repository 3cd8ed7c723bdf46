"""Records what a release leaves in a store and in Redis, for all later versions to read.

    python -m tests.upgrades.record      (`make baseline` runs it, too)

It has the baseline's programs write, and packs `golden/VERSION.tar.xz`: the store's files, the keys
of Redis as JSON, and what clients were told of all of it. A recording is never made again.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from redis import Redis

from holdfast.protos import content_pb2 as pb
from holdfast.service.backends import STORE_FOLDER
from tests.servers.redis import RedisServer
from tests.service.fleet import Tenant, sha256
from tests.service.processes import connected
from tests.upgrades.replacing import beside
from tests.upgrades.versions import Version, said, unpacked

GOLDEN: Final = Path(__file__).parent / "golden"
BYTES: Final = random.Random(7).randbytes(4096) * 5120  # noqa: S311 -- content, not a secret
"""20 MiB that take little room where they are packed."""
HALF: Final = 11 * 2**20 + 5
LEFT_OUT: Final = {"locks", "tmp"}
TIMES: Final = {"started_at": 10**9, "updated_at": 10**9, "begun": 1}
"""Fields of an ingest that are times, and how many of their units are a second."""


def blob(name: str, size: int) -> bytes:
    """The bytes of a blob."""
    return name.encode() + BYTES[: size - len(name)]


async def write(a: Tenant, b: Tenant) -> None:
    """Leaves something of each kind."""
    for name, size in {"inline": 40, "object": 90_000, "parts": len(BYTES), "gone": 80_000}.items():
        await a.commit(name, blob(name, size), labels={"name": name})
    await a.update(sha256(blob("object", 90_000)), {"stage": "done"}, "labels.stage")
    await b.info(sha256(blob("parts", len(BYTES))))
    await b.commit("damaged", blob("damaged", 70_000))
    await a.delete(sha256(blob("gone", 80_000)))
    stream = a.write("open")
    await stream.send(pb.STAT, total=len(BYTES))
    await stream.write_all(BYTES[:HALF])
    await stream.half_close()


async def told(tenant: Tenant) -> dict[str, Any]:
    """What a tenant is told of what it holds."""
    return {info.digest: [info.size, dict(info.labels)] for info in await tenant.list()}


async def record(version: Version, scratch: Path) -> dict[str, bytes]:
    """What a version leaves: files by their names in the archive."""
    data = scratch / "data"
    with RedisServer(scratch) as server:
        settings = {"data_dir": data, "redis_url": server.url, "reserve": 0}  # 16 MiB at random
        async with (
            beside(version.serving(scratch / "log", **settings)) as served,
            connected(served.address, "a") as a,
            connected(served.address, "b") as b,
        ):
            await write(a, b)
            expected = {"a": await told(a), "b": await told(b)}
            await asyncio.to_thread(served.terminate)
        _damage(data)
        for command in ("scrub", "gc"):
            version.run(command, **settings)
        client = Redis.from_url(server.url)
        kept = {"at": time.time(), "keys": dict(dumped(client))}
        client.close()
    files = {f"store/{name}": body for name, body in _files(data / STORE_FOLDER)}
    files["redis.json"] = json.dumps(kept, indent=1).encode()
    files["expected.json"] = json.dumps(expected, indent=1).encode()
    return files


def _damage(data: Path) -> None:
    """Flips a bit of the one object of that size, as a bad disk does."""
    for path in (data / STORE_FOLDER / "objects" / "data").iterdir():
        body = path.read_bytes() if path.is_file() else b""
        if b"damaged" in body:
            path.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] not in LEFT_OUT:
            yield str(name), path.read_bytes()


def dumped(client: Any) -> Iterator[tuple[str, Any]]:
    """The keys of a Redis: what each is, what it has, and for how many ms it lasts (-1: always)."""
    read: dict[str, Callable[[bytes], Any]] = {
        "hash": lambda key: _text(client.hgetall(key)),
        "list": lambda key: [_text(item) for item in client.lrange(key, 0, -1)],
        "zset": lambda key: [
            [_text(name), at] for name, at in client.zrange(key, 0, -1, False, True)
        ],
        "string": lambda key: _text(client.get(key)),
    }
    for key in sorted(client.keys()):
        kind = client.type(key).decode()
        yield key.decode(), [kind, read[kind](key), client.pttl(key)]


def _text(value: Any) -> Any:
    if isinstance(value, dict):
        return {_text(name): _text(one) for name, one in value.items()}
    return value.decode("utf-8", "surrogateescape")


def load(client: Any, kept: Mapping[str, Any]) -> None:
    """Writes the keys as if they had been written just now: ingests don't live for ever."""
    later = time.time() - kept["at"]
    for key, (kind, value, lasts) in kept["keys"].items():
        if kind == "hash":
            client.hset(
                key, mapping={name: _later(name, one, later) for name, one in value.items()}
            )
        elif kind == "list":
            client.rpush(key, *(item.encode("utf-8", "surrogateescape") for item in value))
        elif kind == "zset":
            client.zadd(key, {name: at + later * 1000 for name, at in value})
        else:
            client.set(key, value.encode("utf-8", "surrogateescape"))
        if lasts >= 0:
            client.pexpire(key, lasts)


def _later(name: str, value: str, seconds: float) -> bytes:
    if name in TIMES and value:
        moved = float(value) + seconds if name == "begun" else int(value) + int(seconds * 10**9)
        return repr(moved).encode()
    return value.encode("utf-8", "surrogateescape")


def main() -> None:
    """Records the baseline, if it isn't yet."""
    archive = GOLDEN / f"{said()['version']}.tar.xz"
    if archive.exists():
        sys.stdout.write(f"{archive.name} is recorded already\n")
        return
    with tempfile.TemporaryDirectory() as folder, unpacked(Path(folder)) as version:
        files = asyncio.run(record(version, Path(folder)))
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for name, body in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(body), 0o600
            packed.addfile(member, io.BytesIO(body))
    sys.stdout.write(f"{archive.name}: {archive.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
