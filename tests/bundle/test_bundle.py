"""The bundle does what the installed package does, where nothing else is."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.project.repository import ROOT, version
from tests.servers.process import started
from tests.servers.s3 import S3Server
from tests.service.conftest import Fill, fill

__all__ = ["fill"]

MIB = 2**20
BUILD_TIME = 900
"""Seconds for the slowest machine; alone on one it takes half a minute."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(BUILD_TIME)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of a bundle that was made just now."""
    folder = tmp_path_factory.mktemp("bundle")
    command = [sys.executable, "-m", "scripts.bundle", str(folder), "--work", str(folder / "work")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "holdfast" / "holdfast"


@pytest.fixture
def settings(moto: S3Server, redis_url: str, unique: str, socket_folder: Path) -> dict[str, str]:
    """All that the environment of a node's frontend holds; not even a PATH beside it."""
    return {
        "HOLDFAST_S3_ENDPOINT": moto.endpoint,
        "HOLDFAST_S3_BUCKET": moto.bucket,
        "HOLDFAST_S3_PREFIX": unique,
        "HOLDFAST_S3_PATH_STYLE": "true",
        "HOLDFAST_REDIS_URL": redis_url,
        "HOLDFAST_LISTEN": f"unix://{socket_folder}/node.sock?tenant={unique}",
        "HOLDFAST_LOG_FORMAT": "json",
        **moto.environment(),
    }


def run(program: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Runs it where it finds nothing; returns what it prints."""
    done = subprocess.run(
        [program, *arguments],
        env=environment or {},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def served(program: Path, folder: Path, environment: dict[str, str]) -> Iterator[int]:
    """Serves with it; gives the process id."""
    log = folder / "log"

    def ready() -> bool:
        return '"event": "ready"' in log.read_text("utf-8", "replace")

    with started([str(program), "serve"], log, ready, environment) as process:
        yield process.pid
        process.terminate()
        assert process.wait(60) == 0, log.read_text("utf-8")


def test_it_needs_nothing(program: Path) -> None:
    """With an empty environment it knows its version and prints a node's files."""
    assert run(program, "--version").strip() == version()
    assert "[proxy_plugins.holdfast]" in run(program, "node-config", "--containerd", "1.7")
    assert "Type=notify" in run(program, "node-config", "--format", "systemd")


def test_it_serves_a_bucket(
    program: Path, settings: dict[str, str], tmp_path: Path, fill: Fill
) -> None:
    """It finds S3 and Redis fit, and what is pushed through its socket is read back, verified."""
    checks = json.loads(run(program, "doctor", "--json", environment=settings))
    assert [check for check in checks if check["essential"] and not check["ok"]] == []
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(fill(19 * MIB + 1))
    digest = f"sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}"
    address = settings["HOLDFAST_LISTEN"].partition("?")[0]
    with served(program, tmp_path, settings):
        run(program, "--address", address, "push", str(source))
        assert json.loads(run(program, "--address", address, "ls", "--json"))["digest"] == digest
        run(program, "--address", address, "pull", digest, "--output", str(target))
    assert target.read_bytes() == source.read_bytes()


def test_it_loads_no_library_of_the_machine_s_but_libc_s(
    program: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    """OpenSSL, Python and all else that it loads is its own; only the C library isn't."""
    with served(program, tmp_path, settings) as pid:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    loaded = {Path(line.split()[5]) for line in lines if ".so" in line}
    assert any(path.name.startswith("libcrypto.so") for path in loaded)
    foreign = {path.name.split(".")[0] for path in loaded if program.parent not in path.parents}
    assert foreign <= {"ld-linux-x86-64", "ld-linux-aarch64", "libc", "libdl", "libm",
                       "libpthread", "librt", "libutil", "libresolv", "libnss_files"}  # fmt: skip


def test_it_runs_embedded(program: Path, tmp_path: Path) -> None:
    """With a redis-server on PATH and no settings but a folder, it starts that one by itself."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOLDFAST_DATA_DIR": str(tmp_path / "data"),
        "HOLDFAST_LISTEN": "tcp://127.0.0.1:0?tenant=a",
        "HOLDFAST_LOG_FORMAT": "json",
    }
    with served(program, tmp_path, environment) as pid:
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() or [""]
        assert Path(f"/proc/{child}/comm").read_text().startswith("redis-server")
