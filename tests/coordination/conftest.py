"""The three ways to run Redis, each for a worker's session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.coordination.fleet import Frontend, frontend
from tests.servers.redis import RedisServer
from tests.servers.redis_topologies import Cluster, Watched, redis_cluster, watched_redis


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Redis Cluster."""
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A master, a replica and a sentinel."""
    with watched_redis(tmp_path_factory.mktemp("sentinel")) as running:
        yield running


@pytest.fixture(params=["standalone", "sentinel", "cluster"])
def any_url(request: pytest.FixtureRequest) -> str:
    """The URL of a Redis of each kind."""
    if request.param == "standalone":
        return str(request.getfixturevalue("redis_url"))
    name = {"sentinel": "watched", "cluster": "cluster"}[request.param]
    return str(request.getfixturevalue(name).url)


@pytest.fixture
async def one(any_url: str, unique: str) -> AsyncIterator[Frontend]:
    """A frontend of a tenant of the test's own, on a Redis of each kind."""
    async with frontend(any_url, unique) as made:
        yield made


@pytest.fixture
async def alone(redis_url: str, unique: str) -> AsyncIterator[Frontend]:
    """A frontend of a tenant of the test's own, on a plain Redis."""
    async with frontend(redis_url, unique) as made:
        yield made


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, to be stopped."""
    with RedisServer(tmp_path) as server:
        yield server
