"""Redis passwords and S3 keys change while calls come, without a restart, and no call fails."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from redis import Redis

from holdfast.programs import Program
from holdfast.storage.folder import FolderStore
from holdfast.storage.s3 import S3Settings, S3Store
from tests.servers.redis import RedisServer
from tests.servers.s3 import S3Server
from tests.service.fleet import Fleet, Tenant, eventually, sha256
from tests.service.rights import credentials, redis_under

TIMES = 10
AT_ONCE = 4


@asynccontextmanager
async def under_load(client: Tenant) -> AsyncIterator[list[int]]:
    """Writes, looks and deletes all the while; yields how many blobs each caller has written."""
    done, going = [0] * AT_ONCE, True

    async def work(number: int) -> None:
        while going:
            content = b"%d/%d" % (number, done[number])
            await client.commit(f"{number}", content)
            await client.info(sha256(content))
            await client.delete(sha256(content))
            done[number] += 1

    work_under_way = [asyncio.create_task(work(number)) for number in range(AT_ONCE)]
    try:
        yield done
    finally:
        going = False
        await asyncio.gather(*work_under_way)


async def moved_on(done: list[int]) -> None:
    """Waits until each caller has written something since."""
    before = list(done)
    await eventually(lambda: all(now > then for now, then in zip(done, before, strict=True)))


async def rotated(client: Tenant, rotate: Callable[[int], Awaitable[None]]) -> None:
    """Rotates ten times under load, in which no call may fail."""
    async with under_load(client) as done:
        for number in range(TIMES):
            await rotate(number)
            await moved_on(done)


def replaced(file: Path, text: str) -> None:
    """Replaces a file at once, as Kubernetes does."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


async def test_redis_passwords(redis: RedisServer, tmp_path: Path, tenant: str) -> None:
    """Two passwords are valid, the file is replaced, the old one ends, and connections too."""
    redis_under(Program.FRONTEND, redis.url)
    user, file = f"holdfast-{Program.FRONTEND}", tmp_path / "password"
    store = FolderStore(tmp_path / "store")
    store.check_access()
    with Redis.from_url(redis.url) as owner:
        owner.execute_command("ACL", "SETUSER", user, "resetpass", ">0")
        replaced(file, "0\n")
        url = redis.url.replace("//", f"//{user}@") + f"?password-file={file}"

        async def rotate(number: int) -> None:
            owner.execute_command("ACL", "SETUSER", user, f">{number + 1}")
            replaced(file, f"{number + 1}\n")
            owner.execute_command("ACL", "SETUSER", user, f"<{number}")
            # What is under way on a connection that ends is asked once more.
            owner.execute_command("CLIENT", "KILL", "USER", user)

        fleet = Fleet(store, url, {"data_dir": tmp_path})
        async with fleet.stack:
            await rotated((await fleet.frontend()).tenant(tenant), rotate)


def in_a_file(folder: Path, keys: Mapping[str, str]) -> Mapping[str, str]:
    """Keys in a credentials file; returns the environment that names it."""
    lines = [f"{name.lower()} = {value}" for name, value in keys.items()]
    replaced(folder / "credentials", "\n".join(["[default]", *lines, ""]))
    return {"AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials")}


def of_a_program(folder: Path, keys: Mapping[str, str]) -> Mapping[str, str]:
    """Keys from a program that gives others soon: botocore asks 15 minutes before their end."""
    soon = datetime.now(UTC) + timedelta(minutes=12)
    said = {
        "Version": 1,
        "AccessKeyId": keys["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": keys["AWS_SECRET_ACCESS_KEY"],
        "SessionToken": keys["AWS_SESSION_TOKEN"],
        "Expiration": soon.isoformat(),
    }
    replaced(folder / "said", json.dumps(said))
    (folder / "config").write_text(f"[default]\ncredential_process = cat {folder / 'said'}\n")
    return {"AWS_CONFIG_FILE": str(folder / "config")}


@pytest.mark.minio
@pytest.mark.parametrize("source", [in_a_file, of_a_program])
async def test_s3_keys(
    minio: S3Server,
    redis_url: str,
    unique: str,
    tmp_path: Path,
    tenant: str,
    source: Callable[[Path, Mapping[str, str]], Mapping[str, str]],
) -> None:
    """The source of the keys has others, and the next request is made with them."""

    def issue() -> tuple[str, Mapping[str, str]]:
        keys = credentials(minio, Program.FRONTEND, unique)
        return keys["AWS_ACCESS_KEY_ID"], source(tmp_path, keys)

    _, environment = issue()
    settings = S3Settings(
        bucket=minio.bucket, endpoint=minio.endpoint, prefix=unique, path_style=True
    )
    with patch.dict(os.environ, environment):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            del os.environ[name]
        store = S3Store(settings)

    async def rotate(_: int) -> None:
        # Another thread may be asking the source while it still has the keys before.
        issued, _environment = issue()
        await eventually(lambda: store._direct._frozen().access_key == issued)

    with closing(store):
        fleet = Fleet(store, redis_url, {"data_dir": tmp_path})
        async with fleet.stack:
            await rotated((await fleet.frontend()).tenant(tenant), rotate)
