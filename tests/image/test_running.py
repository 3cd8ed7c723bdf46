"""The image runs as the chart runs it: as nobody, on a read-only root, without a capability."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast import ContentStore
from tests.image.container import Runner
from tests.project.repository import version
from tests.servers.process import free_port
from tests.servers.s3 import S3Server
from tests.service.conftest import Fill, fill

__all__ = ["fill"]

pytestmark = pytest.mark.image
MIB = 2**20
EXPLAINED = """
import sys
from typer.testing import CliRunner
from holdfast.cli.app import app
for command in sys.argv[1:]:
    done = CliRunner().invoke(app, [command, "--help"], catch_exceptions=False)
    assert done.exit_code == 0, (command, done.output)
    print(command)
"""
"""Has each of some commands explain itself, in one process, for they start slowly."""


def commands(shown: str) -> list[str]:
    """The commands that a page of help lists."""
    listed = shown[shown.index("Commands") :]
    return re.findall(r"^│ ([a-z][a-z-]*) ", listed, re.MULTILINE)


def environment(
    s3: S3Server, redis_url: str, unique: str, ports: tuple[int, int]
) -> dict[str, str]:
    """All that a frontend is told."""
    return {
        "HOLDFAST_S3_ENDPOINT": s3.endpoint,
        "HOLDFAST_S3_BUCKET": s3.bucket,
        "HOLDFAST_S3_PREFIX": unique,
        "HOLDFAST_S3_PATH_STYLE": "true",
        "HOLDFAST_REDIS_URL": redis_url,
        "HOLDFAST_LISTEN": f"tcp://127.0.0.1:{ports[0]}?tenant={unique}",
        "HOLDFAST_HTTP": f"127.0.0.1:{ports[1]}",
        "HOLDFAST_LOG_FORMAT": "json",
        **s3.environment(),
    }


def test_it_knows_its_version(runner: Runner) -> None:
    """Its program is this version, all alone and with nothing set."""
    done = runner.run("--version")
    assert (done.returncode, done.stdout) == (0, f"{version()}\n"), done.stderr


def test_every_command_starts(runner: Runner) -> None:
    """Each command that the help lists can explain itself: none lacks a module."""
    shown = runner.run("--help", environment={"COLUMNS": "100"})
    assert shown.returncode == 0, shown.stderr
    found = commands(shown.stdout)
    assert {"serve", "agent", "gc", "scrub", "doctor", "push", "tenants"} <= set(found)
    done = runner.python(EXPLAINED, *found)
    assert (done.returncode, done.stdout.split()) == (0, found), done.stderr


@pytest.mark.parametrize("store", ["moto", pytest.param("minio", marks=pytest.mark.minio)])
def test_it_serves_a_bucket(
    runner: Runner,
    store: str,
    request: pytest.FixtureRequest,
    redis_url: str,
    unique: str,
    fill: Fill,
) -> None:
    """It gets ready, what is written to it is read back, and SIGTERM ends it with 0."""
    s3: S3Server = request.getfixturevalue(store)
    ports = free_port(), free_port()
    told = environment(s3, redis_url, unique, ports)

    def ready() -> bool:
        with suppress(OSError):
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{ports[1]}/readyz").status == 200)
        return False

    content = fill(9 * MIB + 1)
    with runner.served(told, ready) as process:
        with ContentStore(f"127.0.0.1:{ports[0]}") as client:
            digest = client.put(content).digest
            assert str(digest) == f"sha256:{hashlib.sha256(content).hexdigest()}"
            assert client.get(digest) == content
        (inside,) = children(process)
        assert status(inside)["Uid"].split() == ["65532"] * 4
        assert int(status(inside)["CapEff"], 16) == int(status(inside)["CapBnd"], 16) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (runner.folder / "log").read_text("utf-8")


def test_it_can_be_asked_what_is_wrong(
    runner: Runner, moto: S3Server, redis_url: str, unique: str
) -> None:
    """`holdfast doctor` in it finds S3, Redis and the kernel fit."""
    told = environment(moto, redis_url, unique, (free_port(), free_port()))
    done = runner.run("doctor", "--json", environment=told)
    assert done.returncode == 0, done.stderr
    checks = json.loads(done.stdout)
    assert [check for check in checks if check["essential"] and not check["ok"]] == []


@pytest.mark.parametrize("program", ["sh", "/bin/sh", "bash", "pip", "pip3", "apt-get", "dpkg"])
def test_there_is_no_shell_and_no_installer(runner: Runner, program: str) -> None:
    """Whoever gets in finds nothing to run but Python and Holdfast."""
    done = subprocess.run(
        runner.prepare([program], {}, []), capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "no such file" in done.stderr or "not found" in done.stderr


def test_nothing_in_it_can_be_written(runner: Runner) -> None:
    """Its files belong to root, and its root is read-only even for those that don't."""
    code = "open('/home/nonroot/x', 'w')"
    done = runner.python(code)
    assert "Read-only file system" in done.stderr


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that a process has begun itself."""
    listed = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(number) for path in listed for number in path.read_text("ascii").split()]


def status(process: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{process}/status").read_text("ascii").splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
