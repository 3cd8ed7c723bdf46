"""A bucket that keeps versions, or locks objects: what a thief overwrites comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from grpc import StatusCode

from holdfast.digests import Digest
from holdfast.programs import Program
from holdfast.storage.keys import record_key
from holdfast.storage.s3 import S3Settings
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.service.fleet import Fleet, refused, sha256
from tests.service.rights import OwnedStore
from tests.service.scrubbing import record_of, scrub

CONTENT = b"c" * (9 * 2**20)
pytestmark = pytest.mark.minio


class Owner:
    """Whoever owns a bucket with versions."""

    def __init__(self, server: S3Server, *, locked: bool) -> None:
        self.server = server
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
        self.client.create_bucket(Bucket=server.bucket, ObjectLockEnabledForBucket=locked)
        self.client.put_bucket_versioning(
            Bucket=server.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        if locked:
            retention: Any = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
            self.client.put_object_lock_configuration(
                Bucket=server.bucket,
                ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention},
            )

    def versions(self, key: str) -> list[str]:
        """The versions of an object, the newest first."""
        found = self.client.list_object_versions(Bucket=self.server.bucket, Prefix=key)
        return [version["VersionId"] for version in found.get("Versions", [])]

    def restore(self, key: str, version: str) -> None:
        """Makes an earlier version the newest."""
        bucket = self.server.bucket
        source = {"Bucket": bucket, "Key": key, "VersionId": version}
        self.client.copy_object(Bucket=bucket, Key=key, CopySource=source)


@pytest.fixture(params=[False, True], ids=["versions", "lock"])
def owner(request: pytest.FixtureRequest, minio: S3Server, unique: str) -> Iterator[Owner]:
    """A bucket of the test's own."""
    owner = Owner(replace(minio, bucket=f"b-{unique}"), locked=request.param)
    yield owner
    owner.client.close()


@pytest.fixture
def store(owner: Owner) -> Iterator[OwnedStore]:
    """That bucket, as a store."""
    server = owner.server
    settings = S3Settings(bucket=server.bucket, endpoint=server.endpoint, path_style=True)
    with closing(OwnedStore(server, settings)) as store:
        yield store


@pytest.fixture
async def fleet(store: OwnedStore, redis_url: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Frontends in front of it."""
    fleet = Fleet(store, redis_url, {"data_dir": tmp_path})
    async with fleet.stack:
        yield fleet


async def test_what_is_overwritten_comes_back(
    fleet: Fleet, store: OwnedStore, owner: Owner, tenant: str
) -> None:
    """A thief with a frontend's rights ruins data and record; the owner brings both back."""
    client = (await fleet.frontend()).tenant(tenant)
    await client.commit("ref", CONTENT)
    data = record_of(store, sha256(CONTENT)).data_key
    record = record_key(Digest.of(CONTENT))
    thief = store.under(Program.FRONTEND)
    thief.put(data, bytes(len(CONTENT)))
    thief.put(record, b"nothing")
    fresh = (await fleet.frontend()).tenant(tenant)
    await refused(StatusCode.DATA_LOSS, fresh.read(sha256(CONTENT)))
    for key in (data, record):
        newest, *_, first = owner.versions(key)
        with pytest.raises(ClientError):
            thief._client.delete_object(Bucket=owner.server.bucket, Key=key, VersionId=first)
        assert newest != first
        owner.restore(key, first)
    assert scrub(store).well
    assert await (await fleet.frontend()).tenant(tenant).read(sha256(CONTENT)) == CONTENT


async def test_deleted_versions_stay(
    fleet: Fleet, store: OwnedStore, owner: Owner, tenant: str
) -> None:
    """Deletes work as ever, and leave the versions."""
    client = (await fleet.frontend()).tenant(tenant)
    await client.commit("ref", CONTENT)
    await client.delete(sha256(CONTENT))
    assert await client.list() == []
    data = record_of(store, sha256(CONTENT)).data_key
    store.under(Program.COLLECTOR).delete(data)
    assert not list(store.list(data))
    assert len(owner.versions(data)) == 1
