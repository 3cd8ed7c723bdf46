"""containerd and the frontend go and come back; containers go on or come up again."""

from __future__ import annotations

import signal

import pytest

from tests.nodes.images import Image
from tests.nodes.node import Node
from tests.nodes.site import Site

pytestmark = pytest.mark.containerd


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_containerd_restarts(
    node: Node, image: Image, reference: str, unique: str, detached: str, number: int
) -> None:
    """A restarted containerd finds its image whole, and its container has gone on running."""
    node.stop(number)
    node.start()
    assert node.complete(reference, unique)
    assert node.running(detached, unique)
    assert node.run(reference, namespace=unique) == image.greeting


@pytest.fixture
def detached(node: Node, reference: str, unique: str) -> str:
    """A container that runs."""
    node.pull(reference, namespace=unique)
    return node.run_detached(reference, namespace=unique)


def test_frontend_restarts(
    node: Node, pair: Site, image: Image, reference: str, unique: str, detached: str
) -> None:
    """A killed and restarted frontend costs no restart of containerd, nor its containers."""
    frontend = pair.frontends[pair.nodes.index(node)]
    frontend.kill()
    assert node.running(detached, unique)
    frontend.start()
    node.reaches(image.root, unique)
    assert node.complete(reference, unique)
    assert node.run(reference, namespace=unique) == image.greeting


@pytest.mark.parametrize("first", ["frontend", "machine"])
def test_reboot(
    node: Node, pair: Site, image: Image, reference: str, unique: str, first: str
) -> None:
    """After a power failure, with the socket served before or after, a container comes up."""
    node.pull(reference, namespace=unique)
    frontend = pair.frontends[pair.nodes.index(node)]
    node.crash()
    frontend.kill()
    starts = [frontend.start, node.boot]
    for start in starts if first == "frontend" else reversed(starts):
        start()
    node.reaches(image.root, unique)
    assert node.complete(reference, unique)
    assert node.run(reference, namespace=unique) == image.greeting
