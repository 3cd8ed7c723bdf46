"""Control plane and cluster, each once for a worker's session."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.image.conftest import ARCHIVE
from tests.kubernetes.hosts import NAMES
from tests.kubernetes.release import Release, release
from tests.servers.kubernetes.cluster import Cluster
from tests.servers.kubernetes.cluster import cluster as running_cluster
from tests.servers.kubernetes.control_plane import ControlPlane
from tests.servers.kubernetes.control_plane import control_plane as running_control_plane
from tests.servers.kubernetes.programs import missing
from tests.servers.s3 import minio_binary


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with its controllers; tests take namespaces of their own in it."""
    if lacking := missing(nodes=False):
        pytest.skip(f"a control plane needs {lacking}")
    with running_control_plane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with the image of this source, Redis, S3 and DNS; tests have their own releases."""
    if lacking := missing(nodes=True):
        pytest.skip(f"a cluster needs {lacking}")
    if minio_binary() is None:
        pytest.skip("MinIO isn't built here (it takes Go): `make tools`")
    if not ARCHIVE.exists():
        pytest.skip("the image isn't built here: `make image`")
    with running_cluster(tmp_path_factory.mktemp("cluster"), 2, NAMES) as running:
        running.load(ARCHIVE)
        yield running


@pytest.fixture(scope="module")
def store(cluster: Cluster) -> Iterator[Release]:
    """A release with three frontends, which the tests of a module leave as they found it."""
    with release(cluster, secrets.token_hex(6), replicaCount=3) as made:
        yield made
