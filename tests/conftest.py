"""Fixtures that all tests share: servers for the session, names of one's own."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from hypothesis import settings

import tests.conformance.summary as conformance
import tests.faults.summary as faults
import tests.traced_threads  # noqa: F401 -- for all threads that any test starts
from tests import scratch, slowest
from tests.failures import pytest_runtest_logreport  # noqa: F401 -- a hook
from tests.hangs import (  # noqa: F401 -- hooks
    pytest_exception_interact,
    pytest_runtest_protocol,
    pytest_timeout_set_timer,
)
from tests.servers.redis import RedisDatabases, RedisServer
from tests.servers.s3 import (
    ACCESS_KEY,
    SECRET_KEY,
    S3Server,
    minio_binary,
    minio_server,
    moto_server,
)

# How long an example takes says nothing here: the machine may be busy with others.
settings.register_profile("holdfast", deadline=None)
settings.load_profile("holdfast")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have counted, so that it can be quoted."""
    faults.pytest_terminal_summary(terminalreporter)
    conformance.tell(terminalreporter)
    slowest.tell(terminalreporter)


@pytest.fixture(scope="session", autouse=True)
def _no_ambient_settings() -> Iterator[None]:
    """No test sees the settings or the credentials of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("HOLDFAST_", "AWS_")) and name != "HOLDFAST_TEST_BIN":
                patch.delenv(name)
        if transport := os.environ.get("TEST_TRANSPORT"):
            patch.setenv("HOLDFAST_TRANSPORT", transport)
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session", autouse=True)
def _models_of_s3_are_read_once() -> Iterator[None]:
    """Stores that tests open share botocore's models, whose parsing is most of what one costs."""
    begun = Loader.__init__
    read: dict[object, object] = {}

    def sharing(self: Loader, *paths: Any, **options: Any) -> None:
        begun(self, *paths, **options)
        vars(self)["_cache"] = read

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loader, "__init__", sharing)
        yield


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell that runs the tests in the background has them, and their children, ignore SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisDatabases]:
    """A Redis for this worker's session."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield RedisDatabases(server)


@pytest.fixture
def redis_url(redis_databases: RedisDatabases) -> Iterator[str]:
    """A Redis for this test alone: a database, which is emptied afterwards."""
    with redis_databases.one() as url:
        yield url


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    """Moto's S3 for this worker's session; tests take prefixes of their own in it."""
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """MinIO for this worker's session; tests take prefixes of their own in it."""
    if minio_binary() is None:
        pytest.skip("MinIO isn't built here (it takes Go): `make tools`")
    with minio_server(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def unique() -> str:
    """A name that no other test uses: for prefixes, tenants and refs."""
    return secrets.token_hex(6)


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder in memory, if there is enough: for many stores in folders, each for a moment."""
    where = scratch.choose(os.environ) or None
    with tempfile.TemporaryDirectory(prefix="hf-", dir=where, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def store_folder(tmp_path: Path, in_memory: Path) -> Path:
    """A folder for a store; its 256 locks, which are empty and never synced, are in memory."""
    folder, locks = tmp_path / "store", in_memory / "locks"
    folder.mkdir(0o700)
    locks.mkdir(0o700)
    (folder / "locks").symlink_to(locks)
    return folder


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder whose path is short enough for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="hf-", dir="/tmp") as folder:
        yield Path(folder)
