"""What systemd is told of a frontend's life."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.service.process.notify import READY, notify
from tests.service.processes import serving

PATIENCE = 60.0


@contextmanager
def service_manager(address: str) -> Iterator[socket.socket]:
    """A socket that takes what systemd would be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(PATIENCE)
        yield manager


def test_ready_and_stopping(
    tmp_path: Path, socket_folder: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says READY=1 once its socket is served, and STOPPING=1 when it drains."""
    address = socket_folder / "notify"
    node = socket_folder / "node.sock"
    monkeypatch.setenv("NOTIFY_SOCKET", str(address))
    with (
        service_manager(str(address)) as manager,
        serving(
            tmp_path / "log",
            data_dir=tmp_path / "data",
            redis_url=redis_url,
            listen=f"unix://{node}?tenant=a",
        ) as served,
    ):
        assert manager.recv(64) == b"READY=1"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(node))
        assert served.terminate() == 0
        assert manager.recv(64) == b"STOPPING=1"


def test_the_abstract_namespace(unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's name that begins with @ has no file."""
    monkeypatch.setenv("NOTIFY_SOCKET", f"@holdfast-{unique}")
    with service_manager(f"\0holdfast-{unique}") as manager:
        notify(READY)
        assert manager.recv(64) == b"READY=1"


def test_nobody_there(
    tmp_path: Path, socket_folder: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frontend serves even if the one who wanted to be told has gone, and logs that."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(socket_folder / "gone"))
    with serving(tmp_path / "log", data_dir=tmp_path / "data", redis_url=redis_url) as served:
        assert served.terminate() == 0
        said = served.event("service manager not notified")
        assert said
        assert said["state"] == "READY=1"
