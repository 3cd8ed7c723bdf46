"""containerd's own client, `ctr`, and a node's socket for it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.service.processes import serving


@contextmanager
def node_socket(
    folder: Path, socket_folder: Path, redis_url: str, tenant: str, **settings: Any
) -> Iterator[Path]:
    """The socket of one node, which a frontend of its own serves; skips if there is no `ctr`."""
    if shutil.which("ctr") is None:
        pytest.skip("ctr isn't installed here (Debian's package containerd)")
    path = socket_folder / "node.sock"
    with serving(
        folder / "log",
        data_dir=folder / "data",
        redis_url=redis_url,
        listen=f"unix://{path}?tenant={tenant}",
        **settings,
    ):
        yield path


def run_ctr(node: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Runs `ctr content …`; returns how it ended."""
    return subprocess.run(
        ["ctr", "--address", str(node), "--timeout", "30s", "content", *arguments],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


def ctr(node: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """Runs `ctr content …`, which must succeed; returns what it prints."""
    done = run_ctr(node, *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
