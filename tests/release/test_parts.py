"""All parts of a release, made offline from a repository, and checked."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from scripts import oci
from tests.helm.chart import helm_binary
from tests.project.repository import version
from tests.release.conftest import COMMITTED, Repository

NAME = f"holdfast-{version()}"
SOURCES, WHEEL, CHART = f"{NAME}.tar.gz", f"{NAME}-py3-none-any.whl", f"{NAME}.tgz"
IMAGE, NODE, LOAD = (
    f"{name}-{version()}-image-linux-{platform.machine()}"
    for name in ("holdfast", "holdfast-node", "holdfast-load")
)
BUNDLE = f"{NAME}-linux-{platform.machine()}.tar.gz"
QUICK = tuple(f"--without={part}" for part in ("image", "load", "bundle"))
"""Without what takes minutes."""
STRAY = "stray.py"
"""A file that git doesn't know."""


def test_what_stands_against_a_release_is_said(repository: Repository) -> None:
    """Another version, texts that aren't in the changelog: each is named with what to do."""
    done = repository.release("99.0.0", "out")
    assert done.returncode == 1
    for remedy in ("make version VERSION=99.0.0", "make changelog VERSION=99.0.0"):
        assert remedy in done.stderr
    assert not (repository.folder / "out").exists()


def test_what_is_not_committed_is_not_released(repository: Repository) -> None:
    """A file that git doesn't know stands against a release."""
    (repository.folder / "new.py").touch()
    try:
        done = repository.release(version(), "out")
    finally:
        (repository.folder / "new.py").unlink()
    assert done.returncode == 1
    assert "commit them" in done.stderr


@pytest.fixture(scope="module")
def parts(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources, wheel and chart."""
    folder = tmp_path_factory.mktemp("parts")
    stray = repository.folder / "holdfast" / STRAY
    stray.touch()
    done = repository.release(version(), str(folder), "--draft", *QUICK)
    stray.unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2, done.stdout
    return folder


def check_sums(folder: Path, names: set[str]) -> None:
    """The sums are right, and of all parts."""
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.removesuffix(": OK") for line in done.stdout.splitlines()} == names
    assert {path.name for path in folder.iterdir()} == {*names, "SHA256SUMS"}


def test_the_sums_are_right(parts: Path) -> None:
    """`sha256sum --check` passes, and covers each part."""
    check_sums(parts, {SOURCES, WHEEL, CHART})


def test_the_parts_are_of_this_version(parts: Path, tmp_path: Path) -> None:
    """Sources, wheel and chart say the version, and are made of what git knows alone."""
    with tarfile.open(parts / SOURCES) as sources:
        names = {name.partition("/")[2] for name in sources.getnames()}
        assert {member.mtime for member in sources.getmembers()} == {1767323045}, COMMITTED
    assert {"pyproject.toml", "LICENSE", "README.md", "holdfast/__init__.py"} <= names
    with zipfile.ZipFile(parts / WHEEL) as wheel:
        names |= set(wheel.namelist())
        metadata = wheel.read(f"{NAME}.dist-info/METADATA").decode()
    assert f"\nVersion: {version()}\n" in metadata
    assert [name for name in names if name.endswith(STRAY)] == []
    with tarfile.open(parts / CHART) as chart:
        chart.extractall(tmp_path, filter="data")
    said = yaml.safe_load((tmp_path / "holdfast" / "Chart.yaml").read_text("utf-8"))
    assert (said["version"], said["appVersion"]) == (version(), version())


def test_the_chart_installs(parts: Path) -> None:
    """The packaged chart renders, with the image that has its version."""
    helm = helm_binary()
    assert helm is not None
    values = "image.repository=example/holdfast,s3.bucket=b,redis.existingSecret.name=r"
    done = subprocess.run(
        [helm, "template", "x", str(parts / CHART), "--kube-version", "1.34.0", "--set", values],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"example/holdfast:{version()}" in done.stdout


@pytest.mark.slow
def test_another_machine_makes_the_same(
    repository: Repository, parts: Path, tmp_path: Path
) -> None:
    """A clone elsewhere, with other times and another umask, makes the same bytes."""
    clone = Repository(tmp_path / "elsewhere" / "clone")
    shutil.copytree(repository.folder, clone.folder, symlinks=True)
    for path in clone.folder.rglob("*.py"):
        os.utime(path, (0, 10**9))
    before = os.umask(0o077)
    try:
        done = clone.release(version(), str(tmp_path / "out"), "--draft", *QUICK)
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "SHA256SUMS").read_text() == (parts / "SHA256SUMS").read_text()


@pytest.mark.slow
@pytest.mark.image
@pytest.mark.timeout(1200)
def test_all_parts(repository: Repository, tmp_path: Path) -> None:
    """With images and bundle: each is there, says its version, and is summed."""
    out = tmp_path / "out"
    done = repository.release(version(), str(out), "--draft")
    assert done.returncode == 0, done.stdout + done.stderr
    images = {f"{IMAGE}.tar", f"{NODE}.tar", f"{LOAD}.tar"}
    check_sums(out, {SOURCES, WHEEL, CHART, f"{IMAGE}.cdx.json", BUNDLE, *images})
    for image in images:
        labels = oci.configuration(out / image)["config"]["Labels"]
        assert labels["org.opencontainers.image.version"] == version()
        assert labels["org.opencontainers.image.created"] == COMMITTED
        assert len(labels["org.opencontainers.image.revision"]) == hashlib.sha1().digest_size * 2  # noqa: S324
    bill = json.loads((out / f"{IMAGE}.cdx.json").read_text("utf-8"))
    assert bill["metadata"]["component"]["version"] == version()
    with tarfile.open(out / BUNDLE) as bundle:
        bundle.extractall(tmp_path / "bundle", filter="data")
    program = str(tmp_path / "bundle" / "holdfast" / "holdfast")
    told = subprocess.run([program, "--version"], env={}, capture_output=True, check=True)
    assert told.stdout.decode() == f"{version()}\n"
