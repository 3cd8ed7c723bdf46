"""The frontend dies while a node pulls; the store goes and comes back; containerd is first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis

from holdfast.coordination.keys import Keys
from holdfast.service.settings import Settings
from tests.nodes.images import MIB, Image, make_image
from tests.nodes.node import CtrError, Node
from tests.nodes.programs import GENERATIONS, programs
from tests.nodes.site import Site, site
from tests.servers.process import START_TIMEOUT, free_port, wait_until
from tests.servers.registry import Registry
from tests.servers.s3 import BUCKET, minio_binary, minio_server
from tests.service.conftest import Fill

pytestmark = pytest.mark.containerd
PART = Settings().part_size


@pytest.fixture(params=GENERATIONS)
def alone(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A node on a frontend; neither is started."""
    with site() as made:
        made.frontend(programs(request.param))
        yield made


def test_containerd_first(alone: Site, registry: Registry, image: Image, reference: str) -> None:
    """A containerd that starts before its store serves, and a pull waits until it is there."""
    (node,) = alone.nodes
    node.boot()
    assert node.ctr("images", "ls", "-q") == ""
    pull = node.begin("images", "pull", "--plain-http", reference)
    wait_until(lambda: registry.asked[image.root] > 0, "the pull's first request")
    alone.frontends[0].start()
    node.end(pull)
    assert node.run(reference) == image.greeting


def parts(site: Site, node: Node, digest: str) -> int:
    """How many parts of a layer that a node pulls are stored and known to Redis."""
    with redis.Redis.from_url(str(site.backend["redis_url"]), decode_responses=True) as client:
        return sum(client.llen(key) for key in client.keys(f"{Keys(node.name).parts('*')}{digest}"))


def test_frontend_killed_in_a_pull(
    node: Node, other: Node, pair: Site, registry: Registry, image: Image, reference: str,
    fill: Fill, unique: str,
) -> None:  # fmt: skip
    """A frontend that dies in the middle of a layer fails one pull; the next fetches the rest."""
    large = image.layers[-1]
    size = len(image.blobs[large].body)
    gate = registry.gate(large, size - MIB // 4)
    pull = node.begin("images", "pull", "--plain-http", reference, namespace=unique)
    assert gate.reached.wait(START_TIMEOUT)
    wait_until(lambda: parts(pair, node, large) == 1, "the first part")
    frontend = pair.frontends[pair.nodes.index(node)]
    frontend.kill()
    gate.opened.set()
    with pytest.raises(CtrError):
        node.end(pull)

    second = make_image(fill)
    meanwhile = registry.add(unique, "2", second.root, second.blobs)
    other.pull(meanwhile, namespace=unique)
    assert other.run(meanwhile, namespace=unique) == second.greeting

    frontend.start()
    node.pull_when_there(reference, namespace=unique)
    assert registry.served[large] <= size + (size - PART)
    assert node.complete(reference, unique)
    assert node.run(reference, namespace=unique) == image.greeting


@pytest.mark.minio
@pytest.mark.parametrize("generation", GENERATIONS)
def test_store_away(
    generation: str, registry: Registry, reference: str, fill: Fill, unique: str
) -> None:
    """Without its bucket a node can't pull; when it is back, nothing needs to be restarted."""
    if minio_binary() is None:
        pytest.skip("MinIO isn't built here (it takes Go): `make tools`")
    port = free_port()
    backend = {"s3_bucket": BUCKET, "s3_endpoint": f"http://127.0.0.1:{port}"}
    with ExitStack() as bucket, site(s3_path_style=True, **backend) as made:
        made.frontend(programs(generation))
        bucket.enter_context(minio_server(made.folder, port))
        made.start()
        (node,) = made.nodes
        node.pull(reference)
        second = make_image(fill)
        later = registry.add(unique, "2", second.root, second.blobs)

        bucket.close()
        node.ctr("images", "rm", reference)
        with pytest.raises(CtrError, match="S3 can't be reached"):
            node.pull(later)

        bucket.enter_context(minio_server(made.folder, port))
        node.pull_when_there(later)
        assert node.run(later) == second.greeting
        # A collection that failed is made good by the next one that removes any content.
        node.forget(later)
        assert node.held() == set()
