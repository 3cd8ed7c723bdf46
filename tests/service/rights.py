"""Backends as a program is allowed to use them: MinIO by session policies, Redis by ACLs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final
from unittest.mock import patch
from urllib.parse import urlsplit

import boto3
from redis import Redis

from holdfast.coordination.rights import RIGHTS
from holdfast.programs import Program
from holdfast.storage.port import ObjectStore
from holdfast.storage.rights import policy
from holdfast.storage.s3 import S3Settings, S3Store
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server

PASSWORD: Final = "in-tests"
"""Of each program's user in Redis."""


def credentials(server: S3Server, program: Program, prefix: str) -> Mapping[str, str]:
    """Credentials for MinIO that allow what the program's policy does, for an hour."""
    client = boto3.client(
        "sts",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    document = policy(program, server.bucket, prefix, if_exists=False)
    given = client.assume_role(
        RoleArn="arn:aws:iam::000000000000:role/test",
        RoleSessionName=str(program),
        Policy=json.dumps(document, separators=(",", ":")),
    )["Credentials"]
    client.close()
    return {
        "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["SessionToken"],
    }


class OwnedStore(S3Store):
    """A prefix of a bucket as MinIO's owner opens it, and as programs do."""

    def __init__(self, server: S3Server, settings: S3Settings) -> None:
        super().__init__(settings)
        self._server = server
        self._settings = settings
        self._allowed: dict[Program, S3Store] = {}
        self._closing = ExitStack()

    def under(self, program: Program) -> S3Store:
        """The same, with the rights of a program."""
        if program not in self._allowed:
            given = credentials(self._server, program, self._settings.prefix)
            with patch.dict(os.environ, given):
                opened = self._allowed[program] = S3Store(self._settings)
            self._closing.callback(opened.close)
        return self._allowed[program]

    def close(self) -> None:
        """See `ObjectStore`."""
        self._closing.close()
        super().close()


def under(program: Program, store: ObjectStore) -> ObjectStore:
    """A store with the rights of a program, if it is one of MinIO's; others have no policies."""
    return store.under(program) if isinstance(store, OwnedStore) else store


def redis_under(program: Program, url: str) -> str:
    """The URL of a Redis with the rights of a program, whose user is made or reset there."""
    name = f"holdfast-{program}"
    with Redis.from_url(url) as client:
        client.execute_command(
            "ACL", "SETUSER", name, "reset", "on", f">{PASSWORD}", *RIGHTS[program].rules().split()
        )
    return urlsplit(url)._replace(netloc=f"{name}:{PASSWORD}@{urlsplit(url).netloc}").geturl()
