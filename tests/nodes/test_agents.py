"""Nodes whose sockets agents serve, through three frontends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.nodes.images import Image, make_layered_image
from tests.nodes.node import PATIENCE, Node
from tests.nodes.programs import GENERATIONS, programs
from tests.nodes.site import LEASE_TTL, Site, at_once, site
from tests.servers.process import wait_until
from tests.servers.registry import Registry
from tests.service.conftest import Fill
from tests.service.rolling import Rolling

pytestmark = pytest.mark.containerd

MIB = 2**20
SIZES = (2 * MIB, 20 * MIB)
RATE = 20e6


@dataclass
class Agents:
    """A node with each containerd, each on an agent, and the three frontends behind them."""

    site: Site
    rolling: Rolling

    @property
    def nodes(self) -> list[Node]:
        """The nodes."""
        return self.site.nodes

    def kill_a_writer(self) -> None:
        """Kills the next frontend that receives a write."""

        def killed() -> bool:
            for one in self.rolling.served:
                if one.process.poll() is None and one.counted("holdfast_streams"):
                    one.kill()
                    return True
            return False

        wait_until(killed, "a write", PATIENCE)


def fetched_once(registry: Registry, image: Image) -> bool:
    """Whether each byte of the layers was fetched once."""
    lengths = [len(image.blobs[layer].body) for layer in image.layers]
    return [registry.served[layer] for layer in image.layers] == lengths


@contextmanager
def agents_of() -> Iterator[Agents]:
    """Runs all of it on a folder."""
    found = [programs(generation) for generation in GENERATIONS]
    with site() as made:
        settings = {
            **made.backend,
            "data_dir": made.folder / "data",
            "lease_ttl": LEASE_TTL,
            "drain_grace": 1,
        }
        rolling = Rolling(made.folder, 3, settings)
        with rolling.running():
            addresses = [f"127.0.0.1:{port}" for port in rolling.ports]
            for each in found:
                made.agent(addresses, each)
            made.start()
            yield Agents(made, rolling)


@pytest.fixture
def agents() -> Iterator[Agents]:
    with agents_of() as made:
        yield made


@pytest.fixture
def slow(registry: Registry) -> Iterator[Registry]:
    """An image source on a slow line."""
    registry.rate = RATE
    yield registry
    registry.rate = 0


def test_a_killed_frontend_and_none_at_all(
    agents: Agents, slow: Registry, fill: Fill, unique: str
) -> None:
    """A pull doesn't notice that frontends die; without any, what was pulled starts again."""
    image: Image = make_layered_image(fill, SIZES)
    reference = slow.add(unique, "1", image.root, image.blobs)
    first, second = agents.nodes
    pull = first.begin("images", "pull", "--plain-http", reference)
    for _ in range(2):
        agents.kill_a_writer()
    first.end(pull)
    assert fetched_once(slow, image)
    second.pull(reference)
    for node in agents.nodes:
        assert node.complete(reference)
        assert node.run(reference) == image.greeting

    for frontend in agents.rolling.served:
        frontend.process.kill()
        frontend.process.wait()
    at_once([frontend.kill for frontend in agents.site.frontends])
    at_once([frontend.start for frontend in agents.site.frontends])
    for node in agents.nodes:
        node.stop()
        node.start()
        node.reaches(image.root)
        assert node.run(reference) == image.greeting
