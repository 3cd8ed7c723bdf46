"""A node's socket passes from a frontend of its own to an agent, and back."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from tests.nodes.images import Image
from tests.nodes.node import PATIENCE, Node
from tests.nodes.programs import GENERATIONS, programs
from tests.nodes.site import Frontend, agent_settings, site
from tests.servers.process import free_port
from tests.service.fleet import HEADER

pytestmark = [pytest.mark.containerd, pytest.mark.slow]


def label(node: Node, digest: str, name: str) -> None:
    """Adds a label through what serves the node; containerd keeps its own in its database."""
    with grpc.insecure_channel(f"unix:{node.socket}") as channel:
        info = pb.Info(digest=digest, labels={f"by/{name}": "1"})
        request = pb.UpdateRequest(info=info, update_mask=FieldMask(paths=[f"labels.by/{name}"]))
        content_pb2_grpc.ContentStub(channel).Update(request, timeout=PATIENCE)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_to_an_agent_and_back(generation: str, image: Image, reference: str) -> None:
    """Content, labels and containers outlive both changes, while containerd runs, unfetched."""
    with site() as made:
        unit, port = made.frontend(programs(generation)), free_port()
        [node], by_frontend = made.nodes, unit.settings
        listen = f"tcp://127.0.0.1:{port}?tenant-header={HEADER}"
        elsewhere = Frontend(made.folder / "elsewhere.log", {**by_frontend, "listen": listen})
        made.frontends.append(elsewhere)
        made.start()
        node.pull(reference)
        container = node.run_detached(reference)
        assert set(node.labels()) == node.digests()
        label(node, image.root, "frontend")

        by_agent = agent_settings(node, [f"127.0.0.1:{port}"])
        for made_by, settings in (("agent", by_agent), ("frontend-again", by_frontend)):
            before = node.labels()
            assert before[image.root]
            unit.stop()
            unit.settings = settings
            unit.start()
            node.reaches(image.root)
            assert node.running(container)
            node.collect()
            assert node.labels() == before
            label(node, image.root, made_by)
            assert node.complete(reference)
            assert node.run(reference) == image.greeting
