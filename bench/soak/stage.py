"""The fleet: frontends, a Redis, perhaps an S3 server and proxies before it, collectors.

And how to hurt them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.soak.views import Views
from holdfast.digests import Digest
from holdfast.storage.keys import DATA, TAILS, hold_prefix, record_key
from tests.servers.process import free_port, listens, wait_until
from tests.servers.redis import binary
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server, minio_binary

FRONTENDS = 3
COLLECTORS = 2
FRONTENDS_VIEW = "frontends"
LEASE = 3.0
TENANTS = ("t0", "t1", "t2", "t3")
START_TIMEOUT = 120.0
"""Seconds for a program to start, with the faults that it meets meanwhile."""
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Vitals:
    """Of a process: memory in bytes, descriptors, threads."""

    memory: int
    descriptors: int
    threads: int


@dataclass
class Program:
    """A process that can be killed, stopped and started again."""

    name: str
    command: list[str]
    log: Path
    port: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    def start(self) -> None:
        """Starts it; doesn't wait."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        self.starts += 1

    @property
    def running(self) -> bool:
        """Whether it is there."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        """Sends a signal, if it is there."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and waits."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def end(self, timeout: float = 60.0) -> int:
        """SIGTERM, and waits; kills what doesn't end."""
        if self.process is None:
            return 0
        self.signal(signal.SIGCONT)
        self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return -1

    def ready(self) -> None:
        """Waits until it listens; one that couldn't start, because of a fault, tries again."""

        def up() -> bool:
            if not self.running:
                self.start()
            return listens(self.port)

        wait_until(up, f"start of {self.name}, see {self.log}", START_TIMEOUT)

    def vitals(self) -> Vitals | None:
        """How it is, or None if it isn't there."""
        if self.process is None:
            return None
        folder = Path(f"/proc/{self.process.pid}")
        try:
            resident = int((folder / "statm").read_text().split()[1]) * PAGE
            threads = len(list((folder / "task").iterdir()))
            return Vitals(resident, len(list((folder / "fd").iterdir())), threads)
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return None


class Stage:
    """All programs of one soak, below one folder."""

    def __init__(self, folder: Path, backend: str, seed: int) -> None:
        self.folder = folder
        self.backend = backend
        self._starting = threading.Lock()
        self.redis = self._redis()
        self.s3: Program | None = self._minio() if backend == "minio" else None
        self.views = _views(self.s3.port, seed) if self.s3 else None
        self.settings = self._settings()
        self.frontends = [self._frontend(index) for index in range(FRONTENDS)]
        self.collectors = [self._collector(index) for index in range(COLLECTORS)]

    def start(self) -> None:
        """Starts everything, and waits until it answers."""
        (self.folder / "redis").mkdir()
        self.redis.start()
        self.redis.ready()
        if self.s3:
            self.s3.start()
            self.s3.ready()
            wait_until(self._bucket, "MinIO's bucket")
        if self.views:
            self.views.start()
        for program in self.frontends:
            program.start()
        for program in self.frontends:
            program.ready()
        for program in self.collectors:
            program.start()

    def programs(self) -> list[Program]:
        """All of them, those that others need last."""
        return [*self.collectors, *self.frontends, *([self.s3] if self.s3 else []), self.redis]

    def mend(self) -> None:
        """Everything runs again."""
        for program in reversed(self.programs()):
            program.signal(signal.SIGCONT)
            if not program.running:
                program.start()
            if program.port:
                program.ready()

    def close(self) -> None:
        """Ends everything."""
        for program in self.programs():
            program.signal(signal.SIGCONT)
            program.kill()
        if self.views:
            self.views.close()

    def restart(self, program: Program) -> None:
        """Kills a program and starts it again; doesn't wait."""
        with self._starting:
            program.kill()
            program.start()

    def revive(self, program: Program) -> None:
        """Starts a program that has ended."""
        with self._starting:
            if not program.running:
                program.start()

    def empty_redis(self) -> None:
        """Takes away what Redis would load when it starts."""
        shutil.rmtree(self.folder / "redis")
        (self.folder / "redis").mkdir()

    def misread(self, moment: float, tenant: str, digest: Digest) -> bool:
        """Whether something of a blob came back wrong from the store since a moment."""
        return self.views is not None and self.views[FRONTENDS_VIEW].flipped_since(
            moment, DATA, TAILS, record_key(digest), hold_prefix(tenant, digest)
        )

    def _redis(self) -> Program:
        port = free_port()
        command = [
            binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir",
            str(self.folder / "redis"), "--save", "", "--appendonly", "yes", "--appendfsync",
            "everysec", "--maxmemory-policy", "noeviction",
        ]  # fmt: skip
        return Program("redis", command, self.folder / "redis.log", port)

    def _minio(self) -> Program:
        program = minio_binary()
        if program is None:
            raise SystemExit("MinIO isn't built here (it takes Go): `make tools`")
        port = free_port()
        environment = {
            "HOME": str(self.folder), "MINIO_ROOT_USER": ACCESS_KEY,
            "MINIO_ROOT_PASSWORD": SECRET_KEY, "MINIO_BROWSER": "off", "MINIO_UPDATE": "off",
            "CI": "on",
        }  # fmt: skip
        data = str(self.folder / "minio")
        command = [program, "server", "--quiet", "--address", f"127.0.0.1:{port}", data]
        return Program("s3", command, self.folder / "minio.log", port, environment)

    def _bucket(self) -> bool:
        assert self.s3 is not None
        try:
            S3Server(f"http://127.0.0.1:{self.s3.port}").make_bucket()
        except Exception:  # noqa: BLE001 -- it is still starting, in many ways
            return False
        return True

    def _settings(self) -> dict[str, str]:
        settings = {
            "REDIS_URL": f"redis://127.0.0.1:{self.redis.port}/0",
            "LEASE_TTL": str(LEASE), "SUSPEND_GRACE": "5", "DRAIN_GRACE": "3",
            "BUFFER_BUDGET": "96MiB", "CACHE_BUDGET": "24MiB", "INGEST_LIFETIME": "960",
            "RETAIN_FOR": "2", "GC_READ_GRACE": "30", "LOG_LEVEL": "warning", "LOG_FORMAT": "json",
            "DATA_DIR": str(self.folder / "data"),
        }  # fmt: skip
        if self.s3:
            settings |= {
                "S3_ENDPOINT": f"http://127.0.0.1:{self.s3.port}", "S3_BUCKET": "holdfast",
                "S3_PATH_STYLE": "true",
            }  # fmt: skip
        credentials = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        return {**{f"HOLDFAST_{name}": value for name, value in settings.items()}, **credentials}

    def _seen_by(self, view: str) -> dict[str, str]:
        """The settings of programs that see the store through a view of their own."""
        if self.views is None:
            return self.settings
        return {**self.settings, "HOLDFAST_S3_ENDPOINT": self.views.endpoint(view)}

    def _frontend(self, index: int) -> Program:
        port = free_port()
        listen = f"tcp://127.0.0.1:{port}?tenant-header=x-holdfast-tenant"
        command = [sys.executable, "-m", "holdfast.cli", "serve", "--listen", listen]
        name = f"frontend-{index}"
        settings = self._seen_by(FRONTENDS_VIEW)
        return Program(name, command, self.folder / f"{name}.log", port, settings)

    def _collector(self, index: int) -> Program:
        """The command itself, and one that also deletes data while others write."""
        command = [sys.executable, "-m", "holdfast.cli", "gc", "--loop", "2", "--json"]
        if index:
            command = [sys.executable, "-m", "bench.soak.collector", "--loop", "3"]
        name = f"collector-{index}"
        return Program(name, command, self.folder / f"{name}.log", 0, self._seen_by(name))


def _views(port: int, seed: int) -> Views:
    """One for all frontends, and one for each collector, which alone can bear wrong listings."""
    collectors = {f"collector-{index}": True for index in range(COLLECTORS)}
    return Views(seed, port, {FRONTENDS_VIEW: False, **collectors})
