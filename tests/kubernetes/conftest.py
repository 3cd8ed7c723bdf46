"""Control plane and cluster, each once for a worker's session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.kubernetes.control_plane import ControlPlane
from tests.servers.kubernetes.control_plane import control_plane as running_control_plane
from tests.servers.kubernetes.programs import missing


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with its controllers; tests take namespaces of their own in it."""
    if lacking := missing(nodes=False):
        pytest.skip(f"a control plane needs {lacking}")
    with running_control_plane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running
