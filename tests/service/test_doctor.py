"""`holdfast doctor` and a frontend's start before backends that hang."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from holdfast.checks import Check
from holdfast.errors import Unavailable
from holdfast.service.backends import checked_store
from holdfast.service.doctor import examine
from holdfast.service.settings import Settings
from tests.servers.authority import DAY, Authority
from tests.service.processes import LISTEN


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A port that takes connections, whose answers a test sees to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def settings(server: socket.socket, redis_url: str, folder: Path) -> Settings:
    """Those of a frontend whose S3 is that server."""
    return Settings(
        s3_bucket="bucket",
        s3_endpoint=f"http://127.0.0.1:{server.getsockname()[1]}",
        s3_path_style=True,
        redis_url=redis_url,
        data_dir=folder,
        listen=[LISTEN],
        call_deadline=1.0,
    )


def failures(checks: list[Check]) -> list[str]:
    """What was found that isn't well."""
    return [check.found for check in checks if check.essential and not check.ok]


async def test_a_hung_store(silent: socket.socket, redis_url: str, tmp_path: Path) -> None:
    """The doctor says that a store hangs, when its time is over, and looks at all else."""
    said: list[str] = []
    checks = await examine(settings(silent, redis_url, tmp_path), said.append)
    [found] = failures(checks)
    assert "S3 hasn't answered within 1 s" in found
    assert {"Redis version", f"listener {LISTEN}"} <= {check.name for check in checks}
    assert sorted(said) == ["Redis", "bucket bucket", "the disk cache and the listeners"]


async def test_side_by_side(silent: socket.socket, redis_url: str, tmp_path: Path) -> None:
    """All looks have begun before the first has ended."""
    begun = threading.Event()

    def hang_up() -> None:
        begun.wait()
        with suppress(OSError):
            while True:
                silent.accept()[0].close()

    def say(what: str) -> None:
        if what == "Redis":
            begun.set()

    hanging = threading.Thread(target=hang_up)
    hanging.start()
    with closing(silent):
        chosen = settings(silent, redis_url, tmp_path).model_copy(update={"call_deadline": 20.0})
        [found] = failures(await examine(chosen, say))
        assert "hasn't answered" not in found
        silent.shutdown(socket.SHUT_RDWR)
        hanging.join()


def test_a_start(silent: socket.socket, redis_url: str, tmp_path: Path) -> None:
    """A frontend says what it looks at before it does, and gives up when its time is over."""
    chosen = settings(silent, redis_url, tmp_path)
    with (
        capture_logs() as lines,
        pytest.raises(Unavailable, match="S3 hasn't answered within 1 s"),
        checked_store(chosen),
    ):
        pass
    assert lines[0]["event"] == "store access check started"
    assert lines[0]["bucket"] == "bucket"


async def test_a_listeners_certificate(redis_url: str, tmp_path: Path) -> None:
    """The doctor says until when a certificate is valid, and what is wrong with one."""
    authority = Authority()
    cert, key = authority.server(ends=10 * DAY).write(tmp_path)
    url = f"tls://127.0.0.1:0?cert={cert}&key={key}&tenant=a"
    chosen = Settings(redis_url=redis_url, data_dir=tmp_path, listen=[url])

    async def found() -> Check:
        [check] = [one for one in await examine(chosen) if one.name.startswith("certificate of")]
        return check

    first = await found()
    assert (first.ok, first.name) == (True, "certificate of tls://127.0.0.1:0")
    assert "valid until 20" in first.found
    authority.server(ends=2 * DAY).write(tmp_path)
    soon = await found()
    assert (soon.ok, soon.essential, soon.advice) == (False, False, "renew it")
    key.chmod(0o644)
    assert "everybody may read its key" in (await found()).found
    cert.write_bytes(b"")
    last = await found()
    assert last.essential
    assert "tls.crt has no certificate" in last.found


async def test_the_http_port(silent: socket.socket, redis_url: str, tmp_path: Path) -> None:
    """The doctor sees that another program has the HTTP port, and looks at its certificate."""
    cert, key = Authority().server(ends=10 * DAY).write(tmp_path)
    url = f"tls://127.0.0.1:{silent.getsockname()[1]}?cert={cert}&key={key}"
    chosen = Settings(redis_url=redis_url, data_dir=tmp_path, listen=[LISTEN], http=url)
    checks = {check.name: check for check in await examine(chosen)}
    assert not checks["HTTP port"].ok
    assert "in use" in checks["HTTP port"].found
    assert any(check.ok for name, check in checks.items() if name.startswith("certificate of tls"))


async def test_beside_a_running_frontend(
    silent: socket.socket, redis_url: str, tmp_path: Path
) -> None:
    """Where a frontend should run already, its listeners are well if somebody serves there."""
    with socket.socket(socket.AF_UNIX) as local:
        path = tmp_path / "s"
        local.bind(str(path))
        local.listen()
        listen = [f"unix://{path}?tenant=a", f"tcp://127.0.0.1:{silent.getsockname()[1]}?tenant=a"]
        chosen = Settings(redis_url=redis_url, data_dir=tmp_path, listen=listen)
        names = {f"listener {url}" for url in listen}

        async def found(*, running: bool) -> list[Check]:
            return [one for one in await examine(chosen, running=running) if one.name in names]

        assert [one.ok for one in await found(running=True)] == [True, True]
        assert [one.ok for one in await found(running=False)] == [False, False]
    silent.close()
    for check in await found(running=True):
        assert "start the server" in check.advice
        assert not check.ok
        assert check.essential
