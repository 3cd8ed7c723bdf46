"""Ten nodes, three frontends, one store: fetched once, kept for the last, gone with the last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest

from holdfast.service.backends import open_store
from holdfast.service.settings import DOOM_MINIMUM, Settings
from holdfast.storage.keys import COLLECTOR, RECORDS, REPORTS, TENANTS, record_digest
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import Records, State
from tests.nodes.images import ARCHITECTURE, Image
from tests.nodes.node import Node
from tests.nodes.programs import GENERATIONS, programs
from tests.nodes.site import Site, at_once, site
from tests.nodes.test_images import in_archive
from tests.servers.registry import Registry
from tests.service.processes import run

pytestmark = [pytest.mark.containerd, pytest.mark.slow]

GONE = State.TOMBSTONE
HOUR = 3600.0
AGES = {
    "ingest_lifetime": 1000,  # s; more than the 15 min in which a request may land
    "retain_for": 0,
    "gc_data_age": 3000,  # s; more than the lifetime and half an hour
    "gc_read_grace": 0,
    "gc_doom": DOOM_MINIMUM,
}


@pytest.fixture
def ten() -> Iterator[Site]:
    """Ten nodes on three frontends, every other one with either containerd."""
    found = [programs(GENERATIONS[number % 2]) for number in range(10)]
    with site(**AGES) as made:
        for nodes in (found[:4], found[4:7], found[7:]):
            made.frontend(*nodes)
        made.start()
        yield made


def collect(ten: Site) -> None:
    """Runs `holdfast gc` every hour: it condemns, buries, dooms, and deletes."""
    for _ in range(4):
        ten.age(HOUR)
        done = run("gc", "--json", data_dir=ten.folder / "data", **ten.backend)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["ok"]


@pytest.mark.timeout(600)
def test_ten_nodes(ten: Site, registry: Registry, image: Image, reference: str) -> None:
    """Layers are fetched once for ten nodes, outlive nine of them, and go with the tenth."""
    first, *others = ten.nodes
    last = others[-1]
    first.pull(reference)
    fetched = {digest: registry.served[digest] for digest in image.layers}
    assert fetched == {digest: len(image.blobs[digest].body) for digest in image.layers}
    at_once([partial(node.pull, reference) for node in others])
    assert {digest: registry.served[digest] for digest in image.layers} == fetched
    assert [node.held() >= image.needed for node in ten.nodes] == [True] * 10

    at_once([partial(node.forget, reference) for node in ten.nodes[:9]])
    assert [node.held() for node in ten.nodes[:9]] == [set()] * 9
    collect(ten)
    reads_all(last, image, reference)

    last.forget(reference)
    collect(ten)
    assert left(ten) == []


def reads_all(node: Node, image: Image, reference: str) -> None:
    """Checks that a node reads, unpacks, runs and exports an image."""
    assert node.complete(reference)
    assert node.run(reference) == image.greeting
    bodies = in_archive(node.exported(reference, "--platform", f"linux/{ARCHITECTURE}"))
    assert bodies.keys() >= image.needed
    assert all(bodies[digest] == image.blobs[digest].body for digest in image.needed)


def left(ten: Site) -> list[str]:
    """What is in the store but tombstones, and what the fleet knows of itself."""
    settings = Settings(data_dir=ten.folder / "data", redis_url=str(ten.backend["redis_url"]))
    with closing(open_store(settings)) as store:
        records = Records(store)
        found = {key: records.read(record_digest(key)) for key in keys(store, RECORDS)}
        buried = {key for key, seen in found.items() if seen and seen.record.state is GONE}
        assert len(buried) > 0
        uploads = [f"upload of {upload.key}" for upload in store.list_uploads("")]
        own = ("fleet/", TENANTS, COLLECTOR, REPORTS)
        return uploads + sorted(k for k in keys(store) - buried if not k.startswith(own))


def keys(store: ObjectStore, prefix: str = "") -> set[str]:
    """The keys of a store."""
    return {entry.key for entry in store.list(prefix)}
