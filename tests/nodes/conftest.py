"""Two nodes for many tests, an image source, images of one's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nodes.images import Image, make_image
from tests.nodes.node import Node
from tests.nodes.programs import GENERATIONS, programs
from tests.nodes.site import Site, site
from tests.servers.registry import Registry, registry_server
from tests.service.conftest import Fill, fill
from tests.service.transports import TRANSPORTS

__all__ = ["fill"]


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """An image source; tests take repositories of their own in it."""
    with registry_server() as server:
        yield server


@pytest.fixture(scope="session", params=TRANSPORTS)
def pair(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A node with each containerd, each on a frontend of its own, all on one store.

    Tests take namespaces of their own, and leave both nodes running.
    """
    found = [programs(generation) for generation in GENERATIONS]
    with site(transport=request.param) as made:
        for each in found:
            made.frontend(each)
        made.start()
        yield made


@pytest.fixture(params=range(len(GENERATIONS)), ids=GENERATIONS)
def node(request: pytest.FixtureRequest, pair: Site) -> Node:
    """A node of the pair, with each containerd."""
    number: int = request.param
    return pair.nodes[number]


@pytest.fixture
def other(node: Node, pair: Site) -> Node:
    """The pair's other node, with another containerd."""
    (found,) = (each for each in pair.nodes if each is not node)
    return found


@pytest.fixture
def image(fill: Fill) -> Image:
    """An image whose layers no other test has."""
    return make_image(fill)


@pytest.fixture
def reference(registry: Registry, image: Image, unique: str) -> str:
    """The image's name in the image source."""
    return registry.add(unique, "1", image.root, image.blobs)
