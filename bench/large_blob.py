"""One large blob through one frontend on a folder: does memory stay within its bound?

The bound is 250 MiB and the buffer budget, whatever the size. Figures of speed are
given beside what the same disk does with a plain file, written and synced, hashed
on the way, since that is what the frontend has to do at least.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from holdfast import ContentStore

MIB = 2**20
GIB = 2**30
BUDGET = 256 * MIB
BASE = 250 * MIB
BASELINE = 2 * GIB
SAMPLE = 0.2
TENANT = "bench"


@dataclass(frozen=True)
class Result:
    """Sizes in bytes, rates in bytes per second."""

    size: int
    write_rate: float
    commit_seconds: float
    read_rate: float
    plain_rate: float
    peak_writing: int
    peak: int
    limit: int
    verified: bool

    @property
    def within_limits(self) -> bool:
        """Whether the bytes came back and memory kept to its bound."""
        return self.verified and self.peak <= self.limit

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "within_limits": self.within_limits}

    def text(self) -> str:
        """For people."""
        return "\n".join(
            (
                f"blob              {self.size / GIB:8.1f} GiB, verified: {self.verified}",
                f"written           {self.write_rate / MIB:8.0f} MiB/s",
                f"  to a plain file {self.write_rate / self.plain_rate:8.2f} x",
                f"commit            {self.commit_seconds:8.3f} s after the last byte",
                f"read              {self.read_rate / MIB:8.0f} MiB/s",
                f"plain file        {self.plain_rate / MIB:8.0f} MiB/s",
                f"memory, writing   {self.peak_writing / MIB:8.0f} MiB at most",
                f"memory            {self.peak / MIB:8.0f} MiB at most",
                f"  its limit       {self.limit / MIB:8.0f} MiB",
            )
        )


def content(size: int) -> Iterator[bytes]:
    """Pieces of 1 MiB, no two alike."""
    base = random.Random(1).randbytes(MIB)  # noqa: S311 -- content
    for number in range(size // MIB):
        yield number.to_bytes(8, "big") + base[8:]


class Memory:
    """Watches the resident memory of a process."""

    def __init__(self, process: int) -> None:
        self._status = Path(f"/proc/{process}/statm")
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._end = threading.Event()
        self.peak = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(SAMPLE):
            resident = int(self._status.read_text().split()[1]) * self._page
            self.peak = max(self.peak, resident)

    def stop(self) -> None:
        """Ends the watching."""
        self._end.set()
        self._thread.join()


@contextmanager
def frontend(folder: Path) -> Iterator[tuple[int, str]]:
    """A frontend on a folder; yields its process id and its address."""
    socket = folder / "s.sock"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "holdfast.cli", "serve"),
            *("--data-dir", str(folder / "data"), "--buffer-budget", str(BUDGET)),
            *("--listen", f"unix://{socket}?tenant={TENANT}", "--log-level", "warning"),
        ]
    )
    try:
        deadline = time.monotonic() + 60
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the frontend doesn't start")
            time.sleep(0.05)
        yield process.pid, f"unix://{socket}"
    finally:
        process.terminate()
        process.wait()


def plain(folder: Path, size: int) -> float:
    """How fast a plain file is written, hashed on the way, and synced."""
    running, begun = hashlib.sha256(), time.perf_counter()
    with (folder / "plain").open("wb") as file:
        for piece in content(size):
            running.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    rate = size / (time.perf_counter() - begun)
    (folder / "plain").unlink()
    return rate


def run(gib: float, folder: Path | None) -> Result:
    """Writes and reads back a blob of `gib` GiB below `folder`."""
    size = int(gib * 1024) * MIB
    root = Path(tempfile.mkdtemp(prefix="hf-bench-", dir=folder))
    try:
        plain_rate = plain(root, min(size, BASELINE))
        with frontend(root) as (process, address), ContentStore(address) as store:
            memory = Memory(process)
            try:
                return _measure(store, memory, size, plain_rate)
            finally:
                memory.stop()
    finally:
        shutil.rmtree(root)


def _measure(store: ContentStore, memory: Memory, size: int, plain_rate: float) -> Result:
    expected = hashlib.sha256()
    begun = time.perf_counter()
    with store.writer("large", total=size) as writer:
        for piece in content(size):
            expected.update(piece)
            writer.write(piece)
        writer.flush()
        written = time.perf_counter()
        committed = writer.commit()
    done = time.perf_counter()
    peak_writing = memory.peak
    found = hashlib.sha256()
    with store.open(committed.digest) as blob:
        while piece := blob.read(MIB):
            found.update(piece)
    return Result(
        size=size,
        write_rate=size / (written - begun),
        commit_seconds=done - written,
        read_rate=size / (time.perf_counter() - done),
        plain_rate=plain_rate,
        peak_writing=peak_writing,
        peak=memory.peak,
        limit=BASE + BUDGET,
        verified=found.hexdigest() == expected.hexdigest() == committed.digest.hex,
    )
