"""A fleet of two versions."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.conformance.stage import on_s3
from tests.servers.redis import RedisDatabases
from tests.servers.s3 import S3Server
from tests.service.processes import Served
from tests.upgrades.versions import Version, unpacked
from tests.upgrades.versions import new as under_test

BYTES: Final = 30 * 2**20
INGESTS: Final = 6
"""What a tenant of the pair may hold, and begin."""


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Version]:
    """The last release."""
    with unpacked(tmp_path_factory.mktemp("baseline")) as version:
        yield version


@pytest.fixture(scope="session")
def new() -> Version:
    """The version under test."""
    return under_test()


@dataclass(frozen=True)
class Pair:
    """A frontend of each version, on one store and one Redis.

    Attributes:
        versions: both, by name.
        frontends: one of each, by its version's name.
        settings: of both.
    """

    versions: Mapping[str, Version]
    frontends: Mapping[str, Served]
    settings: Mapping[str, Any]

    def address(self, name: str) -> str:
        """Where clients find the frontend of a version."""
        return self.frontends[name].address


@pytest.fixture(scope="module")
def pair(
    old: Version,
    new: Version,
    moto: S3Server,
    redis_databases: RedisDatabases,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """A fleet in the middle of an upgrade; tests take tenants in it.

    It ends with a module's tests: it asks moto, in this process, whose memory other tests measure.
    """
    logs = tmp_path_factory.mktemp("pair")
    with redis_databases.one() as redis_url:
        settings = {
            **on_s3(moto, f"upgrade-{secrets.token_hex(4)}"),
            "redis_url": redis_url,
            "tenant_bytes": BYTES,
            "tenant_ingests": INGESTS,
            "fleet_bytes": "1TiB",
        }
        with (
            old.serving(logs / "old.log", **settings) as before,
            new.serving(logs / "new.log", **settings) as after,
        ):
            yield Pair({"old": old, "new": new}, {"old": before, "new": after}, settings)
