"""A node that has images moves over to Holdfast, and back, as docs/containerd.md has it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from holdfast.node import Serves
from tests.nodes.agents import frontends_of
from tests.nodes.images import make_image
from tests.nodes.node import Node
from tests.nodes.programs import GENERATIONS, programs
from tests.nodes.site import Frontend, Site, site
from tests.nodes.units import settings_of_unit
from tests.project import pages
from tests.servers.registry import Registry
from tests.service.conftest import Fill

pytestmark = [pytest.mark.containerd, pytest.mark.slow]

OWN_STORE = """\
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", \
"io.containerd.nri.v1.nri"]
"""
DOCUMENTED = "/var/lib/containerd/io.containerd.content.v1.content"
DOCUMENTED_SOCKET = "/run/holdfast/node.sock"


def own_content(node: Node) -> Path:
    """Where that containerd keeps content by itself."""
    return node.folder / "root" / "io.containerd.content.v1.content"


def follow(node: Node, heading: str) -> None:
    """Does on a node what the page's script below a heading does."""
    page = pages.text("docs/containerd.md")
    _, found, section = page.partition(f"\n## {heading}\n")
    assert found
    script = pages.blocks(section.partition("\n## ")[0], "sh")[0]
    assert DOCUMENTED in script
    assert DOCUMENTED_SOCKET in script
    script = script.replace(DOCUMENTED, str(own_content(node)))
    script = script.replace(DOCUMENTED_SOCKET, str(node.socket))
    prelude = 'set -eu\nholdfast() { "$PYTHON" -m holdfast.cli "$@" </dev/null; }\n'
    done = subprocess.run(
        ["sh", "-c", prelude + script],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def configure(node: Node, text: str | None) -> None:
    """Gives a node its file; None is one that has Holdfast in it, as the node makes it."""
    path = node.folder / "config.toml"
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text)


@contextmanager
def served_by(serves: Serves, generation: str) -> Iterator[tuple[Site, Frontend]]:
    """A node whose socket either kind of unit serves; neither is started."""
    with site() as made, ExitStack() as stack:
        if serves is Serves.FRONTEND:
            yield made, made.frontend(programs(generation))
            return
        rolling, authority = stack.enter_context(frontends_of(made))
        unit = made.agent(rolling.addresses, programs(generation))
        (node,) = made.nodes
        cert, key = authority.client(f"system:node:{node.name}").write(node.folder, "node")
        certificate = {"tls.crt": cert, "tls.key": key, "ca.crt": authority.write(node.folder)}
        unit.settings = {
            # What docs/containerd.md has in node.env.
            "listen": f"unix://{node.socket}?tenant={node.name}",
            "agent_frontends": ",".join(rolling.addresses),
            **settings_of_unit(node.folder, certificate),
        }
        yield made, unit


@pytest.mark.parametrize("serves", Serves)
@pytest.mark.parametrize("generation", GENERATIONS)
def test_there_and_back(
    generation: str, serves: Serves, registry: Registry, fill: Fill, unique: str
) -> None:
    """Images and containers outlive the move to Holdfast, and the way back, unfetched."""
    first, second = make_image(fill), make_image(fill)
    reference = registry.add(unique, "1", first.root, first.blobs)
    later = registry.add(unique, "2", second.root, second.blobs)
    with served_by(serves, generation) as (made, unit):
        unit.start()
        (node,) = made.nodes
        configure(node, OWN_STORE)
        node.boot()
        node.pull(reference)
        container = node.run_detached(reference)
        before = node.digests()

        follow(node, "Moving a node over")
        node.stop()
        follow(node, "Moving a node over")
        configure(node, None)
        shutil.rmtree(own_content(node))
        node.start()
        node.reaches(first.root)
        assert node.running(container)
        node.collect()
        assert node.digests() == before
        assert node.held() == before
        assert node.run(reference) == first.greeting
        node.pull(later)

        node.stop()
        follow(node, "Going back")
        unit.stop()
        configure(node, OWN_STORE)
        node.start()
        assert node.running(container)
        node.collect()
        assert node.complete(reference)
        assert node.complete(later)
        assert node.run(later) == second.greeting
    served = sum(registry.served[layer] for layer in first.layers)
    assert served == first.layer_bytes
