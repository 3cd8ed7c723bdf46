"""A node whose agent reaches its frontend over TLS, and is known by its certificate."""

from __future__ import annotations

import pytest

from tests.nodes.images import Image
from tests.nodes.programs import GENERATIONS, programs
from tests.nodes.site import Frontend, site
from tests.servers.authority import Authority
from tests.servers.process import free_port

pytestmark = [pytest.mark.containerd, pytest.mark.slow]


def test_a_node_by_its_certificate(image: Image, reference: str) -> None:
    """A containerd pulls and runs an image through an agent that shows a certificate."""
    with site() as made:
        authority, port = Authority(), free_port()
        cert, key = authority.server().write(made.folder, "frontend")
        own, own_key = authority.client("system:node:node-0").write(made.folder, "node")
        ca = authority.write(made.folder)
        unit = made.agent([f"127.0.0.1:{port}"], programs(GENERATIONS[0]))
        [node] = made.nodes
        unit.settings = {
            **unit.settings,
            # The certificate alone says which tenant this is.
            "listen": f"unix://{node.socket}?tenant=somebody-else",
            "agent_tenant_header": "",
            "agent_tls_ca": ca,
            "agent_tls_cert": own,
            "agent_tls_key": own_key,
        }
        socket = made.folder / "f.sock"
        listen = (
            f"tls://127.0.0.1:{port}?cert={cert}&key={key}&client-ca={ca}&cn=system:node:(.%2B) "
            f"unix://{socket}?tenant={node.name}"
        )
        settings = {**made.backend, "data_dir": made.folder / "data", "listen": listen}
        made.frontends.append(Frontend(made.folder / "elsewhere.log", settings))
        made.start()
        node.pull(reference)
        assert node.run(reference) == image.greeting
        through_agent = node.held()
        node.socket = socket
        assert node.held() == through_agent == node.digests()
