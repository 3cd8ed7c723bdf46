"""`holdfast warm --from` between two fleets, each with a store and a Redis of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast import ContentStore
from holdfast.cli.warming import COPIED, TENANT
from holdfast.digests import Digest
from holdfast.service.backends import STORE_FOLDER
from holdfast.storage.folder import FolderStore
from holdfast.storage.keys import HOLDS, RETAINED
from tests.service.processes import LISTEN, Served, run, serving

LAYERS = [b"config", b"s" * 100_000, b"l" * (9 * 2**20)]
"""Inside a record, as one object, and in parts."""


@dataclass(frozen=True)
class Site:
    """A fleet of one frontend."""

    served: Served
    folder: Path

    def keys(self, prefix: str) -> list[str]:
        """What its store has below a prefix."""
        store = FolderStore(self.folder / STORE_FOLDER)
        return [entry.key for entry in store.list(prefix)]

    def tenant(self, name: str) -> ContentStore:
        """A client of its frontend."""
        return ContentStore(self.served.address, tenant=name)


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    """Two fleets; the tenant `ci` of the first holds the layers."""
    with ExitStack() as stack:
        made = []
        for name in ("full", "empty"):
            folder = tmp_path / name
            served = stack.enter_context(
                serving(tmp_path / f"{name}.log", listen=LISTEN, data_dir=folder)
            )
            made.append(Site(served, folder))
        full, empty = made
        with full.tenant("ci") as store:
            for layer in LAYERS:
                store.put(layer)
        yield full, empty


def warm(full: Site, empty: Site, *wanted: Digest) -> list[dict[str, object]]:
    """Warms digests in the empty fleet, from the full one; returns what the command reports."""
    done = run(
        "warm",
        *map(str, wanted),
        "--json",
        "--from",
        full.served.address,
        "-a",
        empty.served.address,
        holdfast_tenant="",
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_another_fleet_gets_what_it_lacks(sites: tuple[Site, Site]) -> None:
    """Blobs come from the other fleet whole; nobody gets a hold there, or keeps one here."""
    full, empty = sites
    wanted = [Digest.of(layer) for layer in LAYERS]
    held = full.keys(HOLDS)
    told = warm(full, empty, *wanted)
    assert [one["sent"] for one in told] == [len(layer) for layer in LAYERS]
    assert (full.keys(HOLDS), empty.keys(HOLDS)) == (held, [])
    assert len(empty.keys(RETAINED)) == len(LAYERS)
    with empty.tenant("node-1") as node:
        for digest, layer in zip(wanted, LAYERS, strict=True):
            assert node.info(digest).size == len(layer)
            assert node.get(digest) == layer
    assert [one["sent"] for one in warm(full, empty, *wanted)] == [0, 0, 0]


def test_a_second_run_gives_up_what_a_copy_has_left(sites: tuple[Site, Site]) -> None:
    """If a command died between a copy and its end, another run gives up the hold that it left."""
    full, empty = sites
    with empty.tenant(TENANT) as died, empty.tenant("node-1") as node:
        digest = died.put(LAYERS[1], labels={COPIED: "copied"}).digest
        node.info(digest)
        assert [one["sent"] for one in warm(full, empty, digest)] == [0]
        assert list(died.list()) == []
        assert [info.digest for info in node.list()] == [digest]
