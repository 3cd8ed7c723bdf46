"""Memory that was freed is used again: new memory costs the kernel's clearing of its pages."""

from __future__ import annotations

import asyncio
import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from holdfast.protos import content_pb2 as pb
from holdfast.service.process import allocator
from holdfast.service.process.allocator import tune_heaps
from tests.service.processes import Served, connected, serving

MIB = 2**20
PAGES = MIB // os.sysconf("SC_PAGESIZE")


def new_pages(served: Served) -> int:
    """The pages that the kernel has given a process so far."""
    stat = Path(f"/proc/{served.process.pid}/stat").read_text("ascii")
    return int(stat.rpartition(")")[2].split()[7])


async def write(served: Served, ref: str, size: int) -> None:
    """Writes MiB by MiB, as containerd does."""
    async with connected(served.address, "t") as tenant:
        stream = tenant.write(ref)
        for n in range(size):
            await stream.send(pb.WRITE, offset=n * MIB, data=bytes(MIB))
        stream.cancel()


def test_a_long_write_takes_little_new_memory(tmp_path: Path) -> None:
    """A frontend that has written a blob uses that memory again for the next one."""
    with serving(tmp_path / "log", data_dir=tmp_path / "data") as served:
        asyncio.run(write(served, "first", 64))
        before = new_pages(served)
        asyncio.run(write(served, "second", 64))
        assert new_pages(served) - before < 64 * PAGES // 8


@pytest.mark.parametrize(
    ("environment", "tuned"),
    [({}, 3), ({"MALLOC_MMAP_THRESHOLD_": "2097152"}, 1), ({"GLIBC_TUNABLES": "x=y"}, 1)],
)
def test_an_operators_thresholds_count(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], tuned: int
) -> None:
    """Thresholds in the environment stay as they are; the number of heaps is always ours."""
    set_to: dict[int, int] = {}

    class Library:
        def __init__(self, _: None) -> None: ...

        def mallopt(self, name: int, value: int) -> None:
            set_to[name] = value

    library: Any = Library
    monkeypatch.setattr(ctypes, "CDLL", library)
    tune_heaps(environment)
    assert len(set_to) == tuned
    assert set_to[allocator.M_ARENA_MAX] == allocator.ARENAS
