"""A small disk of a test's own: a file system in memory that can be full, or read-only."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, *options: str) -> Iterator[Path]:
    """Mounts one at a folder, which is made, until the block is left.

    Args:
        folder: where.
        options: of tmpfs, as `size=96m` or `nr_inodes=3000`.
    """
    folder.mkdir()
    program = shutil.which("mount")
    command = ["-t", "tmpfs", "-o", ",".join(options), "holdfast-test", str(folder)]
    if not program or subprocess.run([program, *command], check=False).returncode:
        pytest.skip("mounting a small disk takes root, and a system that lets it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
