"""A reply that is lost after its script ran: redis-py runs it again, to the same effect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfast.coordination.ingest import Done
from holdfast.coordination.leases import Lease
from holdfast.coordination.scripts import _sha
from tests.coordination.fleet import DIGEST, NOW, SPILLED, Frontend, frontend
from tests.servers.cutting_proxy import CuttingProxy, cutting_proxy
from tests.servers.redis_topologies import port_of

Act = Callable[[Frontend, Lease], Awaitable[object]]

DONE = Done(str(DIGEST), 8)
STEPS: dict[str, Act] = {
    "renew": lambda one, lease: one.leases.renew(lease),
    "checkpoint": lambda one, lease: one.checkpoint(lease, "a", 2, 16),
    "save": lambda one, lease: one.ingests.save(lease, "a", replace(SPILLED, offset=12), NOW),
    "restart": lambda one, lease: one.ingests.restart(lease, "a", "b", NOW),
    "rekey": lambda one, lease: one.ingests.rekey(lease, "a", "b"),
    "rewind": lambda one, lease: one.ingests.rewind(lease, "a", 0, 0),
    "freeze": lambda one, lease: one.ingests.freeze(lease, "a", "{}", DIGEST),
    "take_turn": lambda one, _: one.ingests.take_turn(one.tenant, DIGEST, "a", None),
    "forget": lambda one, lease: one.ingests.drop(lease, "a", DONE, DIGEST),
    "ending": lambda one, _: one.ingests.ending(one.tenant, "ref", "n"),
    "release": lambda one, _: one.ingests.release(one.tenant, "ref", "n"),
    "abort": lambda one, _: one.ingests.abort(one.tenant, "ref"),
}


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[CuttingProxy]:
    """A proxy in front of the Redis."""
    async with cutting_proxy(port_of(redis_url)) as made:
        yield made


async def state(one: Frontend) -> dict[str, Any]:
    """All that the tenant has in Redis, but for when that changed by Redis's clock."""
    found: dict[str, Any] = {}
    for key in await one.stored_keys():
        kind = await one.client.type(key)
        name = key.replace(one.tenant, "")
        if kind == b"hash":
            found[name] = await one.client.hgetall(key)
        elif kind == b"list":
            found[name] = await one.client.lrange(key, 0, -1)
        elif kind == b"zset":
            dated = key == one.keys.index
            found[name] = await one.client.zrange(key, 0, -1, withscores=not dated)
        else:
            found[name] = await one.client.get(key)
    return found


@pytest.mark.parametrize(("name", "act"), STEPS.items(), ids=STEPS)
async def test_a_lost_reply(
    redis_url: str, proxy: CuttingProxy, unique: str, name: str, act: Act
) -> None:
    """Whichever script's reply is lost, Redis ends up as if it hadn't been."""
    states = []
    for lose, tenant in ((False, unique), (True, f"{unique}-cut")):
        async with (
            frontend(f"redis://127.0.0.1:{proxy.port}/0", tenant) as one,
            frontend(redis_url, tenant) as direct,
        ):
            lease, _ = await one.open("ref", "n", "a")
            await one.checkpoint(lease, "a", 1, 8)
            if lose:
                proxy.lose_reply_to(_sha(name).encode())
            await act(one, lease)
            states.append(await state(direct))
    assert proxy.cuts == 1
    assert states[0] == states[1]


async def test_a_lost_reply_to_open(proxy: CuttingProxy, unique: str) -> None:
    """A stream whose opening was answered to nobody has the ref all the same."""
    async with frontend(f"redis://127.0.0.1:{proxy.port}/0", unique) as one:
        await one.ingests.find(unique, "ref")
        proxy.lose_reply_to(_sha("open").encode())
        lease, ingest = await one.open("ref", "n", "a")
        assert (proxy.cuts, ingest.data_key) == (1, "a")
        await one.checkpoint(lease, "a", 1, 8)


@pytest.mark.parametrize("name", ["change_begin", "change_end", "hold_fill", "hold_look_up"])
async def test_a_lost_reply_of_the_cache(proxy: CuttingProxy, unique: str, name: str) -> None:
    """The cache of holds goes on: what was filled in is found, what was changed isn't."""
    async with frontend(f"redis://127.0.0.1:{proxy.port}/0", unique) as one:
        proxy.lose_reply_to(_sha(name).encode())
        for entry in ("old", "new"):
            found = await one.cache.look_up(unique, DIGEST)
            assert await one.cache.fill(unique, DIGEST, found.ticket, entry)
            assert (await one.cache.look_up(unique, DIGEST)).entry == entry
            async with one.cache.changing(unique, DIGEST, delete=True):
                pass
            assert (await one.cache.look_up(unique, DIGEST)).entry is None
        assert proxy.cuts == 1
