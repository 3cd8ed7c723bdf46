"""containerd can't tell Holdfast from its own content store: Go tests against frontends."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.conformance.stage import on_s3, two_agents, two_frontends
from tests.conformance.suite import command, outcomes, program
from tests.conformance.summary import count_of
from tests.servers.s3 import S3Server
from tests.service.processes import Served

PATIENCE = 300.0
"""Seconds for all of it, on a machine that is busy with other things."""


SUITES = ("TestSuiteDirect/Writer", "TestSuiteMetadata/CrossNamespaceShare")
"""Tests of containerd's, one of each suite, that must be among those that ran."""


def on(backend: str, transport: str, *marks: pytest.MarkDecorator) -> ParameterSet:
    """Frontends on a backend, with a transport."""
    also = (pytest.mark.minio,) if backend == "minio" else ()
    return pytest.param(backend, transport, marks=[*also, *marks])


@pytest.fixture
def frontends(
    backend: str,
    transport: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    redis_url: str,
    unique: str,
) -> Iterator[list[Served]]:
    if backend == "folder":
        settings: dict[str, object] = {"data_dir": tmp_path / "data"}
    else:
        server: S3Server = request.getfixturevalue(backend)
        settings = on_s3(server, unique)
    with two_frontends(tmp_path, redis_url, {**settings, "transport": transport}) as both:
        yield both


@pytest.fixture
def suite() -> str:
    where = program()
    if where is None:
        pytest.skip("containerd's suite isn't built here (it takes Go): `make tools-conformance`")
    return where


@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize(
    ("backend", "transport"),
    [
        on("folder", "own"),
        on("minio", "own"),
        on("moto", "own", pytest.mark.slow),
        on("folder", "grpcio", pytest.mark.slow),
        on("moto", "grpcio", pytest.mark.slow),
        on("minio", "grpcio", pytest.mark.slow),
    ],
)
def test_conformance(
    suite: str,
    frontends: list[Served],
    backend: str,
    transport: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """The suites of containerd, and ours beside them, pass on two frontends of one store."""
    passed = passing(suite, frontends, tmp_path)
    assert set(SUITES) <= passed
    record_property(*count_of(f"{backend}, {transport}", len(passed)))
    assert_quiet(frontends)


@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize(
    ("backend", "transport"),
    [on("folder", "own"), on("minio", "own", pytest.mark.slow)],
)
def test_through_agents(suite: str, frontends: list[Served], tmp_path: Path) -> None:
    """The same suites pass on two agents, each of which uses both frontends."""
    with two_agents(tmp_path, frontends) as agents:
        assert set(SUITES) <= passing(suite, agents, tmp_path)
        assert_quiet(agents)
    assert_quiet(frontends)


def passing(suite: str, served: list[Served], folder: Path) -> set[str]:
    """Runs Go tests, none of which may fail; returns their names."""
    done = subprocess.run(
        command(suite, served, "-test.v=test2json", f"-test.timeout={PATIENCE:g}s"),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE + 30,
        check=False,
    )
    ended = outcomes(done.stdout)
    passed = {outcome.name for outcome in ended if outcome.verdict == "PASS"}
    failed = [str(outcome) for outcome in ended if outcome.verdict != "PASS"]
    assert not failed, f"{len(failed)} of {len(ended)} Go tests\n" + "\n".join(failed)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return passed


def assert_quiet(served: list[Served]) -> None:
    """Nobody has logged an error."""
    for one in served:
        assert [event for event in one.events() if event.get("level") == "error"] == []
