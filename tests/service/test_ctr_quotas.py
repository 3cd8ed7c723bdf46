"""containerd's own client at a quota."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.conftest import Fill
from tests.service.ctr import ctr, node_socket, run_ctr
from tests.service.fleet import sha256

MIB = 2**20

pytestmark = pytest.mark.containerd


@pytest.fixture
def node(tmp_path: Path, socket_folder: Path, redis_url: str, tenant: str) -> Iterator[Path]:
    """The socket of a node that may hold 3 MiB."""
    bound = 3 * MIB
    with node_socket(tmp_path, socket_folder, redis_url, tenant, tenant_bytes=bound) as path:
        yield path


@pytest.mark.parametrize("declared", [True, False])
def test_a_refused_ingest(node: Path, fill: Fill, declared: bool) -> None:
    """`ctr content ingest` fails with the bound's text at once, and succeeds after `rm`."""
    held, data = fill(2 * MIB), fill(2 * MIB + 1)
    ctr(node, "ingest", "held", stdin=held)
    sizes = ["--expected-size", str(len(data)), "--expected-digest", sha256(data)]
    ingest = ["ingest", "ref", *(sizes if declared else [])]
    # Without a size, some bytes were kept, behind which `ctr` can't continue from a pipe.
    again = ["ingest", "again", *ingest[2:]]
    done = run_ctr(node, *ingest, stdin=data)
    assert done.returncode != 0
    assert f"holds {2 * MIB} bytes, of {3 * MIB} that it may" in done.stderr.decode()
    assert ctr(node, "get", sha256(held)) == held
    ctr(node, "rm", sha256(held))
    ctr(node, *again, stdin=data)
    assert ctr(node, "ls", "-q").decode().split() == [sha256(data)]
