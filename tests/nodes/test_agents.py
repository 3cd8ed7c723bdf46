"""Nodes whose sockets agents serve, while their frontends die, are replaced, and are gone."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import grpc
import pytest

from holdfast.protos import content_pb2 as pb
from holdfast.protos import content_pb2_grpc
from tests.nodes.agents import FRONTENDS, Agents
from tests.nodes.budgets import peak_memory, watched
from tests.nodes.images import MIB
from tests.nodes.large_images import LargeImage, make_large_image
from tests.nodes.node import PATIENCE, CtrError, Node
from tests.nodes.site import AGENT_CACHE, AGENT_DISK, AGENT_REPLAY, at_once
from tests.servers.process import wait_until
from tests.servers.registry import Registry
from tests.service.conftest import Fill

pytestmark = pytest.mark.containerd

FEW = 64 * 1024
"""Bytes of what isn't a block: the notes of what the agent remembers."""
REST = 150 * MIB
"""What an agent needs but its budgets: the program, messages under way, the allocator's rest."""
SHORT = (24 * MIB, 20 * MIB)
"""44 MiB for each of two nodes."""
LONG = (160 * MIB,) * 6 + (64 * MIB,)
"""1 GiB."""
BEARABLE = 8.0
"""Seconds; longer than an agent's patience."""
NAMESPACE = (("containerd-namespace", "default"),)
UNPACKED = "overlayfs"
"""The snapshotter to which a pull unpacks."""
Pull = subprocess.Popen[str]


def disturbances(agents: Agents) -> Iterator[Callable[[], object]]:
    """One frontend is killed and comes back, then all are replaced one after another."""

    def kill_and_revive() -> None:
        agents.rolling.revive(agents.kill_a_writer())

    yield kill_and_revive
    for number in range(FRONTENDS):
        yield partial(agents.rolling.replace, number)


def pull_through(
    agents: Agents, registry: Registry, images: Sequence[LargeImage], references: Sequence[str]
) -> None:
    """Has each node pull its image, and disturbs that each time when some more has come."""
    total = sum(image.layer_bytes for image in images)
    valve = registry.valve(layer for image in images for layer in image.layers)
    pulls = [
        node.begin("images", "pull", "--plain-http", reference)
        for node, reference in zip(agents.nodes, references, strict=True)
    ]
    steps = list(disturbances(agents))
    share = total // (len(steps) + 1)
    for number, disturb in enumerate(steps, 1):
        valve.allow(number * share)
        valve.drained(PATIENCE)
        valve.allow(number * share + share // 2)  # bytes come meanwhile, and are outstanding after
        disturb()
    valve.allow(total)
    for node, pull in zip(agents.nodes, pulls, strict=True):
        node.end(pull)


def add(registry: Registry, unique: str, images: Sequence[LargeImage]) -> list[str]:
    """Adds images to the image source; returns their names there."""
    return [
        registry.add(f"{unique}/{number}", "1", image.root, image.blobs)
        for number, image in enumerate(images)
    ]


def fetched_once(registry: Registry, image: LargeImage) -> bool:
    """Whether each byte of the layers was fetched once."""
    return all(registry.served[layer] == image.blobs[layer].size for layer in image.layers)


def digest_of(node: Node, digest: str) -> str:
    """The digest of what containerd reads from its store under a digest."""
    found = hashlib.sha256()
    with node.content() as content:
        request = pb.ReadContentRequest(digest=digest)
        for reply in content.Read(request, metadata=NAMESPACE, timeout=PATIENCE):
            found.update(reply.data)
    return f"sha256:{found.hexdigest()}"


def answer_to(node: Node, digest: str) -> grpc.StatusCode:
    """How the agent answers an Info within a time that a node's database can bear."""
    with grpc.insecure_channel(f"unix:{node.socket}") as channel:
        try:
            stub = content_pb2_grpc.ContentStub(channel)
            stub.Info(pb.InfoRequest(digest=digest), timeout=BEARABLE)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize(
    "sizes", [SHORT, pytest.param(LONG, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
    ids=["short", "1 GiB"],
)  # fmt: skip
def test_frontends_come_and_go(
    agents: Agents,
    registry: Registry,
    fill: Fill,
    unique: str,
    sizes: Sequence[int],
    record_property: Callable[[str, object], None],
) -> None:
    """A containerd doesn't notice that a frontend is killed and all are replaced as it pulls."""
    images = [make_large_image(fill, sizes) for _ in agents.nodes]
    references = add(registry, unique, images)
    folders = [node.folder / "agent" / "cache" for node in agents.nodes]
    begun = [len(node.log) for node in agents.nodes]
    with watched(*folders) as disks:
        pull_through(agents, registry, images, references)
        for node, image in zip(agents.nodes, images, strict=True):
            assert fetched_once(registry, image)
            for digest in image.blobs:
                assert digest_of(node, digest) == digest
    for node, image, reference, start in zip(agents.nodes, images, references, begun, strict=True):
        complaints = node.complaints(start)
        assert not complaints, complaints
        assert node.complete(reference)
        assert node.run(reference, snapshotter=UNPACKED) == image.greeting
    for agent, disk in zip(agents.agents, disks, strict=True):
        assert agent.served is not None
        memory = peak_memory(agent.served.process.pid)
        record_property("MiB of memory", memory / MIB)
        record_property("MiB on disk", disk.most / MIB)
        assert memory <= AGENT_CACHE + AGENT_REPLAY + REST
        assert 0 < disk.most <= AGENT_DISK + FEW


def signal_frontends(agents: Agents, number: int) -> None:
    """Cuts the network, which swallows all that is sent from then on (SIGSTOP), or mends it."""
    for frontend in agents.rolling.served:
        frontend.process.send_signal(number)


def begin_pull(node: Node, registry: Registry, image: LargeImage, reference: str) -> Pull:
    """Begins a pull, and waits until it has asked for the image's index."""
    before = registry.asked[image.root]
    pull = node.begin("images", "pull", "--plain-http", reference)
    wait_until(lambda: registry.asked[image.root] > before, "the pull's first request")
    return pull


def starts_again(node: Node, image: LargeImage, reference: str) -> None:
    """Checks that a container of an image runs, for which all layers are read and unpacked anew."""
    node.reaches(image.root)
    assert node.run(reference) == image.greeting


@pytest.fixture
def network() -> Iterator[ExitStack]:
    """What mends the network if a test fails."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.slow
def test_without_a_network(
    agents: Agents, network: ExitStack, registry: Registry, fill: Fill, unique: str
) -> None:
    """If the network is cut, started images start again; the rest fails in time, or waits."""
    images = [make_large_image(fill, SHORT) for _ in agents.nodes]
    references = add(registry, unique, images)
    at_once([partial(node.pull, name) for node, name in zip(agents.nodes, references, strict=True)])
    for node, reference, image in zip(agents.nodes, references, images, strict=True):
        assert node.run(reference) == image.greeting

    network.callback(signal_frontends, agents, signal.SIGCONT)
    signal_frontends(agents, signal.SIGSTOP)
    for agent, node in zip(agents.agents, agents.nodes, strict=True):
        agent.kill()
        agent.start()
        node.stop()
        node.start()
    at_once(
        [
            partial(starts_again, node, image, reference)
            for node, image, reference in zip(agents.nodes, images, references, strict=True)
        ]
    )

    others = list(zip(agents.nodes, reversed(images), reversed(references), strict=True))
    for node, image, _ in others:
        assert answer_to(node, image.root) is grpc.StatusCode.UNAVAILABLE
    pulls = [begin_pull(node, registry, image, reference) for node, image, reference in others]
    for agent, node, reference in zip(agents.agents, agents.nodes, references, strict=True):
        agent.kill()
        shutil.rmtree(node.folder / "agent")
        agent.start()
        with pytest.raises(CtrError, match=r"(?i)unavailable"):
            node.run(reference)

    signal_frontends(agents, signal.SIGCONT)
    for (node, image, reference), pull in zip(others, pulls, strict=True):
        node.end(pull)
        assert node.run(reference) == image.greeting
