"""What a node does with images, as on containerd's own store."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from holdfast.protos import content_pb2 as pb
from tests.nodes.conftest import ON_AGENTS_TOO
from tests.nodes.images import ARCHITECTURE, OTHER, Image
from tests.nodes.node import Node
from tests.servers.registry import Registry

pytestmark = pytest.mark.containerd


def in_archive(path: Path) -> dict[str, bytes]:
    """The blobs of an OCI archive, by digest."""
    with tarfile.open(path) as archive:
        found = {}
        for entry in archive:
            if entry.isfile() and entry.name.startswith("blobs/sha256/"):
                body = archive.extractfile(entry)
                assert body is not None
                found[f"sha256:{entry.name.rpartition('/')[2]}"] = body.read()
    return found


@ON_AGENTS_TOO
def test_pull_and_run(
    node: Node, registry: Registry, image: Image, reference: str, unique: str
) -> None:
    """A pulled image is complete, each layer was fetched once, and a container of it runs."""
    node.pull(reference, namespace=unique)
    assert node.complete(reference, unique)
    assert node.digests(unique) >= image.needed | {image.root}
    assert node.held() >= image.needed | {image.root}
    assert sum(registry.served[layer] for layer in image.layers) == image.layer_bytes
    assert node.run(reference, namespace=unique) == image.greeting


def test_other_nodes_fetch_nothing(
    node: Node, other: Node, registry: Registry, image: Image, reference: str, unique: str
) -> None:
    """What one node has pulled, another has without fetching it, and can run."""
    node.pull(reference, namespace=unique)
    other.pull(reference, namespace=unique)
    assert other.complete(reference, unique)
    assert other.held() >= image.needed
    assert sum(registry.served[layer] for layer in image.layers) == image.layer_bytes
    assert other.run(reference, namespace=unique) == image.greeting


@ON_AGENTS_TOO
def test_all_platforms_go_round(
    node: Node, other: Node, image: Image, reference: str, unique: str
) -> None:
    """Both platforms of an index are pulled, exported byte by byte, and imported elsewhere."""
    node.pull(reference, "--platform", f"linux/{ARCHITECTURE}", namespace=unique)
    node.ctr(
        "content", "fetch", "--plain-http", "--platform", f"linux/{OTHER}", reference,
        namespace=unique,
    )  # fmt: skip
    archive = node.exported(reference, "--all-platforms", namespace=unique)
    bodies = in_archive(archive)
    assert {digest: bodies.get(digest) for digest in image.blobs} == {
        digest: blob.body for digest, blob in image.blobs.items()
    }
    other.ctr("images", "import", "--all-platforms", str(archive), namespace=unique)
    assert other.digests(unique) >= set(image.blobs)
    assert other.run(reference, namespace=unique) == image.greeting


def test_push(
    node: Node, other: Node, registry: Registry, image: Image, reference: str, unique: str
) -> None:
    """A pushed image is what was pulled, and another node pulls and runs it."""
    node.pull(reference, namespace=unique)
    pushed = reference.replace("/" + unique, f"/pushed-{unique}")
    node.ctr(
        "images", "push", "--plain-http", "--platform", f"linux/{ARCHITECTURE}",
        pushed, reference, namespace=unique,
    )  # fmt: skip
    root = registry.find(f"pushed-{unique}", "1")
    assert root is not None
    assert root.digest in image.blobs
    other.pull(pushed, namespace=unique)
    assert other.run(pushed, namespace=unique) == image.greeting


def test_convert(node: Node, image: Image, reference: str, unique: str) -> None:
    """A converted image has the layers' plain bytes, which are new content, and runs."""
    node.pull(reference, namespace=unique)
    target = f"localhost/converted-{unique}:1"
    node.ctr("images", "convert", "--uncompress", "--oci", reference, target, namespace=unique)
    bodies = in_archive(node.exported(target, namespace=unique))
    # The zstd layer too: containerd finds out by its first bytes.
    assert {hashlib.sha256(body).hexdigest() for body in bodies.values()} >= {
        hashlib.sha256(plain).hexdigest() for plain in image.plain
    }
    assert node.run(target, namespace=unique) == image.greeting


@ON_AGENTS_TOO
def test_diff(node: Node, reference: str, unique: str) -> None:
    """The diff of a snapshot, which comes in many small messages, is an ordinary layer."""
    node.pull(reference, namespace=unique)
    rows = [line.split() for line in node.ctr("snapshots", "ls", namespace=unique).splitlines()[1:]]
    (top,) = {row[0] for row in rows} - {row[1] for row in rows}
    before = node.held()
    node.ctr("snapshots", "diff", "--keep", top, namespace=unique)
    (layer,) = node.held() - before
    with node.content() as content:
        request = pb.ReadContentRequest(digest=layer)
        replies = content.Read(request, metadata=(("containerd-namespace", unique),))
        body = b"".join(reply.data for reply in replies)
    assert f"sha256:{hashlib.sha256(body).hexdigest()}" == layer
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(body))) as archive:
        assert "noise/large" in archive.getnames()
