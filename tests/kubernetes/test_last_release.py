"""The last release's chart and program on the cluster, upgraded to this version's, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.helm.chart import CHART
from tests.image.conftest import ARCHIVE
from tests.kubernetes.layers import paths, read
from tests.kubernetes.release import FULL, NAME, Release, release
from tests.kubernetes.test_changes import nothing_fails
from tests.servers.kubernetes.cluster import Cluster
from tests.upgrades.conftest import old
from tests.upgrades.versions import Version, said

__all__ = ["old"]

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

TAG: Final = "last-release"
RECORD: Final = """
import hashlib
from importlib.metadata import distribution
print(hashlib.sha256(distribution("holdfast").read_text("RECORD").encode()).hexdigest())
"""
"""Prints which wheel a pod's program is from."""


@pytest.fixture
def store(cluster: Cluster, old: Version, tmp_path: Path, unique: str) -> Iterator[Release]:
    """Three frontends of the last release, installed by its chart.

    Its image is the one that is built here, with the release's package in place of this version's:
    both run on the same Python and the same packages, as all tests of upgrades have it.
    """
    archive = tmp_path / "last-release.tar"
    read(ARCHIVE).with_layer(_package(old)).write(archive, f"localhost/local/holdfast:{TAG}")
    cluster.load(archive)
    with release(cluster, unique, chart=old.chart, image={"tag": TAG}, replicaCount=3) as made:
        yield made


def _package(version: Version) -> dict[str, bytes]:
    """The files of a release's package where the image has this version's, which it replaces."""
    assert version.site is not None
    names = {name.removeprefix("./") for name in paths(ARCHIVE)}
    [packages] = {
        name.removesuffix("/holdfast/py.typed")
        for name in names
        if name.endswith("/site-packages/holdfast/py.typed")
    }
    files = {
        f"{packages}/{path.relative_to(version.site)}": path.read_bytes()
        for path in version.site.rglob("*")
        if path.is_file()
    }
    own = {
        name.removeprefix(f"{packages}/").split("/")[0]
        for name in names
        if name.startswith(f"{packages}/holdfast")
    }
    replaced = {path.name for path in version.site.iterdir()}
    opaque = {f"{packages}/{name}/.wh..wh..opq": b"" for name in replaced}
    return files | opaque | {f"{packages}/.wh.{name}": b"" for name in own - replaced}


def _wheels(store: Release) -> set[str]:
    """Which wheels the programs of all pods are from."""
    return {
        store.kubectl("exec", name, "--container=frontend", "--", "python3", "-c", RECORD).strip()
        for name in store.names()
    }


def test_an_upgrade_and_its_rollback(store: Release, unique: str) -> None:
    """No call fails and no byte is lost while helm replaces all pods and replaces them again."""
    released = said()["record"].removeprefix("sha256:")
    assert _wheels(store) == {released}
    with nothing_fails(store, unique):
        store.chart = CHART
        store.change(image={"tag": "test"})
        store.cluster.plane.helm("test", NAME, f"--namespace={store.namespace}", "--timeout=120s")
        assert released not in _wheels(store)
        here = f"--namespace={store.namespace}"
        store.cluster.plane.helm("rollback", NAME, here, "--wait", "--timeout=4m")
        store.kubectl("rollout", "status", f"deployment/{FULL}", "--timeout=120s")
        assert _wheels(store) == {released}
