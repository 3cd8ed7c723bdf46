"""Runs some of the conformance tests by hand.

    make tools-conformance
    .venv/bin/python -m tests.conformance minio -test.v -test.run 'TestSuiteDirect/Resume$'

The first word is the store: folder, moto or minio; what follows goes to the tests, which
are a program made with `go test -c`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conformance.stage import on_s3, two_frontends
from tests.conformance.suite import command, program
from tests.servers.redis import redis_server
from tests.servers.s3 import minio_server, moto_server


@contextmanager
def store(kind: str, folder: Path) -> Iterator[dict[str, object]]:
    """Settings for a store of its own."""
    if kind == "folder":
        yield {"data_dir": folder / "data"}
        return
    with moto_server() if kind == "moto" else minio_server(folder) as server:
        os.environ.update(server.environment())
        yield on_s3(server, "by-hand")


def main(kind: str, *options: str) -> int:
    """Starts all that is needed, runs the tests, and returns their exit code."""
    where = program()
    if kind not in {"folder", "moto", "minio"} or where is None:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    with (
        tempfile.TemporaryDirectory(prefix="hf-") as name,
        store(kind, Path(name)) as settings,
        redis_server(Path(name)) as redis_url,
        two_frontends(Path(name), redis_url, settings) as frontends,
    ):
        line = command(where, frontends, "-test.timeout=10m", *options)
        return subprocess.run(line, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or ["folder"])))
