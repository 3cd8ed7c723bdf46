"""Two nodes for many tests, an image source, images of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.nodes.agents import Agents, agents_of
from tests.nodes.images import Image, make_image
from tests.nodes.node import Node
from tests.nodes.programs import GENERATIONS, programs
from tests.nodes.site import Site, site
from tests.servers.registry import Registry, registry_server
from tests.service.conftest import Fill, fill
from tests.service.transports import TRANSPORTS

__all__ = ["fill"]

AGENTS: Final = "agents"
"""Not a transport: what serves the nodes are agents, which reach frontends over mTLS."""
ON_AGENTS_TOO: Final = pytest.mark.parametrize(
    "pair", [*TRANSPORTS, AGENTS], indirect=True, scope="session"
)
"""For tests that run on agents in each run; without it they do so in the long ones."""


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """An image source; tests take repositories of their own in it."""
    with registry_server() as server:
        yield server


@pytest.fixture(scope="session")
def agents() -> Iterator[Agents]:
    """A node with each containerd, each on an agent; tests leave all of it running."""
    with agents_of([programs(generation) for generation in GENERATIONS]) as made:
        yield made


@pytest.fixture(scope="session", params=[*TRANSPORTS, pytest.param(AGENTS, marks=pytest.mark.slow)])
def pair(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A node with each containerd, each on a frontend or an agent of its own, all on one store.

    Tests take namespaces of their own, and leave both nodes running.
    """
    if request.param == AGENTS:
        behind: Agents = request.getfixturevalue("agents")
        yield behind.site
        return
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
