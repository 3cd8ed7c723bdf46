"""containerd's own client, `ctr`, on our socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.protos import content_pb2 as pb
from tests.service.conftest import Fill
from tests.service.ctr import ctr, node_socket, run_ctr
from tests.service.fleet import sha256
from tests.service.processes import connected

MIB = 2**20

pytestmark = pytest.mark.containerd


@pytest.fixture
def node(tmp_path: Path, socket_folder: Path, redis_url: str, tenant: str) -> Iterator[Path]:
    """The socket of one node, which two frontends' folder and Redis stand behind."""
    with node_socket(tmp_path, socket_folder, redis_url, tenant) as path:
        yield path


def test_ingest_list_get_remove(node: Path, fill: Fill) -> None:
    """`ctr content ingest`, `ls`, `get` and `rm` do what they do on containerd's own store."""
    for size in (5, 100_000, 9 * MIB + 1):
        data = fill(size)
        digest = sha256(data)
        ctr(node, "ingest", f"ref-{size}", "--expected-size", str(size),
            "--expected-digest", digest, stdin=data)  # fmt: skip
        assert digest in ctr(node, "ls").decode()
        assert ctr(node, "get", digest) == data
        assert ctr(node, "ls", "-q").decode().split() == [digest]
        ctr(node, "rm", digest)
        assert ctr(node, "ls", "-q") == b""


def test_labels(node: Path, fill: Fill) -> None:
    """`ctr content label` sets and clears labels, and `ls` filters by them."""
    data = fill(1000)
    ctr(node, "ingest", "ref", stdin=data)
    ctr(node, "label", sha256(data), "containerd.io/gc.root=now")
    assert "containerd.io/gc.root=now" in ctr(node, "ls").decode()
    assert ctr(node, "ls", "-q", 'labels."containerd.io/gc.root"==now').decode().strip()
    ctr(node, "label", sha256(data), "containerd.io/gc.root=")
    assert "gc.root" not in ctr(node, "ls").decode()


async def test_active(node: Path, tenant: str, fill: Fill) -> None:
    """`ctr content active` shows what is being written."""
    async with connected(f"unix:{node}", tenant) as client:
        stream = client.write("layer-1")
        await stream.send(pb.STAT, total=3 * MIB)
        await stream.write_all(fill(2 * MIB))
        await stream.half_close()
    listed = ctr(node, "active").decode()
    assert "layer-1" in listed
    assert "2.097MB" in listed


def test_wrong_digest(node: Path) -> None:
    """`ctr content ingest` of other bytes than announced fails, naming the digest."""
    wrong = ("--expected-digest", sha256(b"other"))
    done = run_ctr(node, "ingest", "ref", *wrong, stdin=b"bytes")
    assert done.returncode != 0
    assert "unexpected commit digest" in done.stderr.decode()
