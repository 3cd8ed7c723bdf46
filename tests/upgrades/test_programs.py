"""Programs that tend a store, of one version after the other: what one begins, the other ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.service.fleet import Tenant, sha256
from tests.service.processes import connected
from tests.upgrades.aging import grow_old, objects
from tests.upgrades.replacing import beside
from tests.upgrades.versions import Version

KIB: Final = 2**10


@dataclass(frozen=True)
class Site:
    """Frontends of both versions on a folder, in which both have written.

    Attributes:
        folder: the data folder.
        settings: of all programs.
        turns: the versions, the one that begins first.
        clients: a tenant's calls through the frontends of these.
    """

    folder: Path
    settings: Mapping[str, Any]
    turns: tuple[Version, Version]
    clients: tuple[Tenant, Tenant]

    def next(self, turn: int, *command: str, **more: Any) -> str:
        """Runs a command of the version whose turn it is."""
        return self.turns[turn % 2].done(*command, **self.settings, **more)


@pytest.fixture(params=["old", "new"])
async def site(
    old: Version,
    new: Version,
    redis_url: str,
    tmp_path: Path,
    unique: str,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Site]:
    """A site in which either version has the first turn."""
    turns = (old, new) if request.param == "old" else (new, old)
    folder = tmp_path / "data"
    settings = {"data_dir": folder, "redis_url": redis_url}
    async with AsyncExitStack() as stack:
        clients = []
        for version in turns:
            running = version.serving(tmp_path / f"{version.name}.log", **settings)
            served = await stack.enter_async_context(beside(running))
            clients.append(await stack.enter_async_context(connected(served.address, unique)))
        yield Site(folder, settings, turns, (clients[0], clients[1]))


def content(unique: str) -> tuple[bytes, ...]:
    """Two inline blobs and two objects."""
    return tuple(f"{n}{unique}".encode() * size for n, size in enumerate((1, 2, 9_000, 10_000)))


async def test_collections(site: Site, unique: str) -> None:
    """A blob that nobody holds goes through retention, burial and doom, a run of each in turn."""
    held, gone = content(f"{unique}-held"), content(f"{unique}-gone")
    for turn, data in enumerate((*held, *gone)):
        await site.clients[turn % 2].commit(f"ref-{turn}", data)
    for turn, data in enumerate(gone):
        await site.clients[(turn + 1) % 2].delete(sha256(data))
    before = objects(site.folder, "data")
    seen = []
    for turn in range(6):
        told = json.loads(site.next(turn, "gc", "--json"))
        assert told["errors"] == told["brakes"] == []
        seen += [(kind, fate) for kind, fates in told["counts"].items() for fate in fates]
        grow_old(site.folder, 8)
    assert {("records", "condemned"), ("records", "buried"), ("data", "deleted")} <= set(seen)
    left = objects(site.folder, "data")
    assert len(before) == 4
    assert len(left) == 2
    for client in site.clients:
        for data in held:
            assert await client.read(sha256(data)) == data
        assert {info.digest for info in await client.list()} == set(map(sha256, held))
    scrubbed = [json.loads(site.next(turn, "scrub", "--json", "--once")) for turn in range(2)]
    assert [told["found"] for told in scrubbed] == [{}, {}]
    told = [json.loads(site.next(by, "explain", sha256(held[2]), "--json")) for by in range(2)]
    assert told[0]["record"] == told[1]["record"]
    assert told[0]["record"]["state"] == "live"


async def test_expiry(site: Site, unique: str) -> None:
    """A tenant that one version has missed is dropped by the other, and no other tenant is."""
    data = content(unique)[2]
    await site.clients[0].commit("here", data)
    kept = site.folder.parent / "nodes"
    kept.write_text("somebody-else\n")
    expire = ("tenants", "expire", "--existing", str(kept), "--apply", "--accept", "--json")
    site.next(0, *expire)
    grow_old(site.folder, 2)
    site.next(1, *expire)
    assert objects(site.folder, f"holds/{unique}") == {}
    listed = map(json.loads, site.next(0, "tenants", "list", "--json").splitlines())
    assert [told["digests"] for told in listed if told["tenant"] == unique] == [0]
