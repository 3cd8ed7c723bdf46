"""What containerd's collector leaves and takes, and what that does to the others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from holdfast.clocks import uptime
from holdfast.protos import content_pb2 as pb
from tests.nodes.conftest import ON_AGENTS_TOO
from tests.nodes.images import MIB, Image
from tests.nodes.node import PATIENCE, Node
from tests.servers.process import wait_until
from tests.service.conftest import Fill
from tests.service.transports import TRANSPORTS

pytestmark = pytest.mark.containerd
ROOT = "containerd.io/gc.root"


def ours(node: Node, image: Image) -> set[str]:
    """What Holdfast lists of an image for a node."""
    return node.held() & set(image.blobs)


def test_labels(node: Node, image: Image, reference: str, unique: str) -> None:
    """A root label keeps content over a collection; without it the content goes."""
    node.pull(reference, namespace=unique)
    kept = image.layers[-1]
    node.ctr("content", "label", kept, f"{ROOT}=now", namespace=unique)
    assert f"{ROOT}=now" in node.ctr("content", "ls", namespace=unique)
    node.forget(reference, unique)
    assert node.digests(unique) == {kept}
    assert ours(node, image) == {kept}
    node.ctr("content", "label", kept, f"{ROOT}=", namespace=unique)
    node.collect(unique)
    assert node.digests(unique) == set()
    assert ours(node, image) == set()


@ON_AGENTS_TOO
def test_another_node_keeps_its_own(
    node: Node, other: Node, image: Image, reference: str, unique: str
) -> None:
    """A node that removes an image takes nothing from another one, which runs it still."""
    for each in (node, other):
        each.pull(reference, namespace=unique)
    node.forget(reference, unique)
    assert ours(node, image) == set()
    assert ours(other, image) >= image.needed
    assert other.complete(reference, unique)
    assert other.run(reference, namespace=unique) == image.greeting


def test_another_namespace_keeps_its_own(
    node: Node, image: Image, reference: str, unique: str
) -> None:
    """Content that two namespaces of a node have goes when the second one has dropped it."""
    spaces = f"{unique}-a", f"{unique}-b"
    for space in spaces:
        node.pull(reference, namespace=space)
    node.forget(reference, spaces[0])
    assert node.run(reference, namespace=spaces[1]) == image.greeting
    node.forget(reference, spaces[1])
    assert ours(node, image) == set()


def test_prune_references(node: Node, image: Image, reference: str, unique: str) -> None:
    """`ctr content prune references` drops the layers; what was unpacked runs all the same."""
    node.pull(reference, namespace=unique)
    node.ctr("content", "prune", "references", namespace=unique)
    assert ours(node, image).isdisjoint(image.layers)
    printed = node.run(reference, snapshotter="overlayfs", namespace=unique)
    assert printed == image.greeting


def messages(data: bytes, ref: str) -> Iterator[pb.WriteContentRequest]:
    """What commits some bytes."""
    for start in range(0, len(data), MIB):
        yield pb.WriteContentRequest(
            action=pb.WRITE, ref=ref, offset=start, data=data[start : start + MIB]
        )
    yield pb.WriteContentRequest(action=pb.COMMIT, ref=ref, offset=len(data), total=len(data))


def test_leases(node: Node, fill: Fill, unique: str) -> None:
    """A lease keeps what was written under it, a half-written ref too, until it is deleted."""
    data = fill(9 * MIB)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    node.ctr("leases", "create", "--id", unique, namespace=unique)
    metadata = (("containerd-namespace", unique), ("containerd-lease", unique))
    half = iter([pb.WriteContentRequest(action=pb.WRITE, ref="half", total=10, data=b"12345")])
    with node.content() as content:
        written = list(content.Write(messages(data, "whole"), metadata=metadata, timeout=PATIENCE))
        assert written[-1].digest == digest
        list(content.Write(half, metadata=metadata, timeout=PATIENCE))
        node.collect(unique)
        assert node.digests(unique) == {digest}

        def offset() -> int:
            asked = pb.StatusRequest(ref="half")
            return content.Status(asked, metadata=metadata, timeout=PATIENCE).status.offset

        # Written when its writer has gone, for which containerd doesn't wait.
        wait_until(lambda: offset() == 5, "the half that was written")
        node.ctr("leases", "delete", "--sync", unique, namespace=unique)
        assert node.digests(unique) == set()
        assert digest not in node.held()
        with pytest.raises(grpc.RpcError) as refused:
            offset()
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


MANY = 50_000
"""Pieces of content that a node has."""
COLLECTED = 1800.0
"""Seconds for a collection of half of them, at most."""
ABREAST = 16
"""Commits at once."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
# An agent passes these calls on, one by one: it would only take as long once more.
@pytest.mark.parametrize("pair", TRANSPORTS, indirect=True, scope="session")
def test_many_labelled(
    node: Node, unique: str, record_property: Callable[[str, object], None]
) -> None:
    """One collection takes each of many pieces that no root label keeps, and no other one."""
    metadata = (("containerd-namespace", unique), ("containerd-lease", unique))
    node.ctr("leases", "create", "--id", unique, namespace=unique)
    began = uptime()
    with node.content() as content, ThreadPoolExecutor(ABREAST) as pool:

        def commit(number: int) -> str:
            data = f"{unique} {number}".encode()
            labels = {"number": str(number)} | ({} if number % 2 else {ROOT: "now"})
            request = pb.WriteContentRequest(
                action=pb.COMMIT, ref=str(number), total=len(data), data=data, labels=labels
            )
            answers = list(content.Write(iter([request]), metadata=metadata, timeout=PATIENCE))
            return answers[-1].digest

        digests = list(pool.map(commit, range(MANY)))
    committed = uptime()
    assert node.held() >= set(digests)
    # Not `--sync`: `ctr` waits for 90 s, and this takes minutes.
    node.ctr("leases", "delete", unique, namespace=unique)
    wait_until(lambda: node.held().isdisjoint(digests[1::2]), "the collection", COLLECTED)
    collected = uptime()
    assert node.digests(unique) == set(digests[::2])
    assert node.held() & set(digests) == set(digests[::2])
    record_property("seconds for the commits", committed - began)
    record_property("seconds for the collection", collected - committed)
