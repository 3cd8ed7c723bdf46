"""Nodes that pull one image at the same moment fetch it once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import pytest

from holdfast.protos import fleet_pb2, fleet_pb2_grpc
from tests.nodes.images import Image, make_layered_image
from tests.nodes.node import CtrError, Node
from tests.nodes.programs import GENERATIONS, programs
from tests.nodes.site import Site, at_once, site
from tests.servers.process import wait_until
from tests.servers.registry import Registry
from tests.service.conftest import Fill

pytestmark = pytest.mark.containerd

MIB = 2**20
SIZES = (2 * MIB, 3 * MIB, 24 * MIB)
RATE = 30e6
PROGRESS = 4.0
"""Seconds without progress after which a kubelet's pull ends; containerd's own default is 5 min."""
SLOW = 3 * MIB
"""Bytes/s. containerd writes a MiB at a time, and 2.x counts as progress what has been written. The
leader makes some each third of a second, which leaves a busy machine more than 3 s."""


@pytest.fixture
def four() -> Iterator[Site]:
    """Four nodes of two versions, each on a frontend of its own."""
    with site() as made:
        for number in range(4):
            made.frontend(programs(GENERATIONS[number % 2]))
        made.start()
        yield made


@pytest.fixture
def image(fill: Fill) -> Image:
    """An image of five layers, one of them large."""
    return make_layered_image(fill, SIZES)


@pytest.fixture
def slow(registry: Registry) -> Iterator[Registry]:
    """An image source on a line that all nodes share."""
    registry.rate = RATE
    yield registry
    registry.rate = 0


def fetched(registry: Registry, image: Image) -> float:
    """How often the layers' bytes were fetched."""
    return sum(registry.served[layer] for layer in image.layers) / image.layer_bytes


def flight_of(node: Node, digest: str) -> fleet_pb2.Flight | None:
    """What the fleet knows of the write of a digest; None if nobody writes it."""
    with grpc.insecure_channel(f"unix:{node.socket}") as channel:
        reply = fleet_pb2_grpc.FleetStub(channel).Flights(fleet_pb2.FlightsRequest(), timeout=30)
    return next((flight for flight in reply.flights if flight.digest == digest), None)


def leader_of(node: Node, digest: str) -> str:
    """The node that the fleet waits for with this digest; "" if there is none."""
    flight = flight_of(node, digest)
    return flight.leader if flight else ""


def leads(node: Node, digest: str) -> bool:
    """Whether the fleet waits for this node with a digest."""
    return leader_of(node, digest) == node.name


def pull_unless_killed(node: Node, reference: str, killed: set[str]) -> None:
    """Pulls; only a node that was killed meanwhile may fail."""
    try:
        node.pull(reference)
    except CtrError:
        if node.name not in killed:
            raise


@pytest.mark.timeout(300)
def test_four_nodes_fetch_once(four: Site, slow: Registry, image: Image, reference: str) -> None:
    """Old and new containerds that begin together fetch each layer once, and all can run it."""
    at_once([partial(node.pull, reference) for node in four.nodes])
    assert fetched(slow, image) <= 1.05
    for node in four.nodes:
        assert node.complete(reference)
        assert node.held() >= image.needed
        assert node.run(reference) == image.greeting


@pytest.fixture(params=GENERATIONS)
def kubelets(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Two nodes whose containerd ends a pull that makes no progress for `PROGRESS`."""
    with site() as made:
        for _ in range(2):
            made.frontend(programs(request.param))
        for node in made.nodes:
            node.progress = PROGRESS
        made.start()
        yield made


@pytest.mark.timeout(300)
def test_a_wait_is_no_lack_of_progress(
    kubelets: Site, registry: Registry, fill: Fill, unique: str
) -> None:
    """A kubelet's pull may wait for another node for longer than it may lack progress."""
    image = make_layered_image(fill, (int(2.5 * PROGRESS * SLOW),))
    reference = registry.add(unique, "1", image.root, image.blobs)
    leader, follower = kubelets.nodes
    registry.rate = SLOW
    try:
        with ThreadPoolExecutor() as pool:
            first = pool.submit(leader.pull_as_kubelet, reference)
            wait_until(lambda: first.done() or leads(leader, image.layers[-1]), "a leader")
            if first.done():
                first.result()
            begun = time.monotonic()
            follower.pull_as_kubelet(reference)
            assert time.monotonic() - begun > PROGRESS
            first.result()
    finally:
        registry.rate = 0
    assert fetched(registry, image) <= 1.05


@pytest.mark.timeout(300)
def test_a_wait_is_in_no_transaction(
    kubelets: Site, registry: Registry, image: Image, reference: str
) -> None:
    """While a node waits for another one's layer, its containerd writes into its database."""
    leader, follower = kubelets.nodes
    large = image.layers[-1]
    gate = registry.gate(large, after=12 * MIB)

    def waits() -> bool:
        flight = flight_of(follower, large)
        return flight is not None and follower.name in flight.waiters

    with ThreadPoolExecutor() as pool:
        pulls = [pool.submit(leader.pull, reference)]
        try:
            wait_until(gate.reached.is_set, "half a layer")
            pulls.append(pool.submit(follower.pull, reference))
            wait_until(waits, "a node that waits")
            follower.ctr("namespaces", "create", "meanwhile")
            assert "meanwhile" in follower.ctr("namespaces", "list", "-q")
            assert waits()
        finally:
            gate.opened.set()
        for pull in pulls:
            pull.result()
    assert fetched(registry, image) <= 1.05


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_leader_that_dies(four: Site, registry: Registry, image: Image, reference: str) -> None:
    """If the leader's frontend and its node die in mid-layer, one other node fetches instead."""
    large = image.layers[-1]
    gate = registry.gate(large, after=12 * MIB)
    killed: set[str] = set()
    pulls = [partial(pull_unless_killed, node, reference, killed) for node in four.nodes]

    def kill_the_leader() -> None:
        assert gate.reached.wait(60)
        names = [node.name for node in four.nodes]
        wait_until(lambda: any(leader_of(node, large) for node in four.nodes), "a leader")
        number = names.index(leader_of(four.nodes[0], large))
        killed.add(names[number])
        four.frontends[number].kill()
        four.nodes[number].crash()
        gate.opened.set()
        four.frontends[number].start()
        four.nodes[number].boot()

    at_once([*pulls, kill_the_leader])
    at_once([partial(node.pull_when_there, reference) for node in four.nodes])
    assert fetched(registry, image) <= 2.1
    for node in four.nodes:
        assert node.complete(reference)
        assert node.run(reference) == image.greeting
