"""BuildKit, on nodes whose containerd keeps its content in Holdfast, fetches a base image once."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.nodes.buildkit import buildkit, program
from tests.nodes.images import make_layered_image
from tests.nodes.programs import GENERATIONS, programs
from tests.nodes.site import at_once, site
from tests.servers.registry import Registry
from tests.service.conftest import Fill

pytestmark = [pytest.mark.containerd, pytest.mark.slow]

MIB = 2**20
RATE = 30e6
ASKED_FOR = MIB
"""Bytes from which a layer is fetched once: `FLIGHT_SIZE`."""


@pytest.mark.timeout(300)
def test_two_builds_fetch_a_base_once(
    registry: Registry, fill: Fill, unique: str, tmp_path: Path
) -> None:
    """Two builds at once that begin with the same image, on both containerds, fetch it once."""
    program("buildkitd")
    image = make_layered_image(fill, (2 * MIB, 24 * MIB))
    reference = registry.add(unique, "1", image.root, image.blobs)
    (tmp_path / "Dockerfile").write_text(f"FROM {reference}\nCOPY Dockerfile /\n")
    registry.rate = RATE
    try:
        with site() as made, ExitStack() as stack:
            for generation in GENERATIONS:
                made.frontend(programs(generation))
            made.start()
            host = reference.partition("/")[0]
            daemons = [stack.enter_context(buildkit(node, host)) for node in made.nodes]
            at_once([partial(daemon.build, tmp_path) for daemon in daemons])
            large = [one for one in image.layers if len(image.blobs[one].body) >= ASKED_FOR]
            for layer in large:
                assert registry.served[layer] <= 1.05 * len(image.blobs[layer].body)
            for node in made.nodes:
                assert node.held() >= set(image.layers)
    finally:
        registry.rate = 0
