"""What only a cluster or a sentinel does: slots that move, masters that change."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from dataclasses import replace
from typing import Any

from redis.crc import key_slot

from holdfast.coordination.client import Client
from holdfast.coordination.connection import BOUNDS, close_client, open_client, translated
from holdfast.coordination.ingest import Done
from holdfast.coordination.keys import TENANTS, Keys
from holdfast.coordination.probe import probe
from holdfast.errors import Unavailable
from tests.coordination.fleet import DIGEST, NOW, SPILLED, Frontend, frontend
from tests.servers.redis_topologies import Cluster, Watched, admin

QUEUE = 8
"""Callers that ask a master that hangs for ever, four for each request that may wait."""


def test_one_slot_per_tenant() -> None:
    """All keys of a tenant share a slot, whatever is in its refs."""
    keys = Keys("node-1.example")
    refs = ["ref", "{other}", "}{", "a:b", ""]
    names = [keys.index, keys.gen, keys.hold(DIGEST), keys.guard(DIGEST)]
    for ref in refs:
        names += [keys.lease(ref), keys.ingest(ref), keys.parts(ref), keys.done(ref)]
    assert {key_slot(name.encode()) for name in names} == {key_slot(b"node-1.example")}
    assert key_slot(TENANTS.encode()) != key_slot(b"node-1.example")
    assert len(set(names)) == len(names)


async def test_a_slot_that_moves(cluster: Cluster, unique: str) -> None:
    """A script whose slot has moved to another node runs there."""
    async with frontend(cluster.url, unique) as one:
        await one.ingests.find(unique, "ref")
        cluster.move_slot(key_slot(unique.encode()))
        lease, _ = await one.open("ref", "n", "a")
        await one.checkpoint(lease, "a", 1, 8)
        assert (await one.find("ref")).offset == 8


async def test_a_slot_that_is_moving(cluster: Cluster, unique: str) -> None:
    """While a slot is moving, what isn't there any more is asked for where it goes."""
    async with frontend(cluster.url, unique) as one:
        names = [f"{{{unique}}}{number}" for number in range(50)]
        await one.client.get(names[0])
        with cluster.moving_slot(key_slot(unique.encode())):
            # The source has none of them, and the target accepts them only after ASKING.
            await asyncio.gather(*(one.client.set(name, name, px=60_000) for name in names))
            found = await asyncio.gather(*(one.client.get(name) for name in names))
            assert [value.decode() for value in found] == names
            await asyncio.gather(*(one.client.delete(name) for name in names))


async def test_tenants_of_all_nodes(cluster: Cluster, unique: str) -> None:
    """Tenants are spread over the nodes, and each of them works."""
    owners = set()
    async with frontend(cluster.url, unique) as one:
        for number in range(12):
            tenant = f"{unique}-{number}"
            other = Frontend(one.client, tenant)
            await other.open("ref", "n", "a")
            owners.add(one.client.get_node_from_key(other.keys.index).port)
            assert await other.unreachable_keys() == set()
    assert owners == set(cluster.ports)


async def test_the_probe_of_a_cluster(cluster: Cluster, unique: str) -> None:
    """Every node of a cluster is looked at."""
    async with frontend(cluster.url, unique) as one:
        checks = await probe(one.client)
    versions = {check.name for check in checks if check.name.endswith("version")}
    assert versions == {f"Redis 127.0.0.1:{port} version" for port in cluster.ports}
    assert all(check.ok for check in checks if check.essential)


async def test_a_master_that_hangs(cluster: Cluster, unique: str) -> None:
    """Requests to other masters don't wait behind those to one that gives no answer."""
    client: Any = open_client(cluster.url, replace(BOUNDS, requests=2))
    names = [Keys(f"{unique}-{number}").index for number in range(50)]
    await client.get(names[0])
    hanging = names[0]
    port = client.get_node_from_key(hanging).port
    other = next(name for name in names if client.get_node_from_key(name).port != port)
    server = cluster.servers[cluster.ports.index(port)]

    waiting = asyncio.Event()

    async def ask(number: int) -> None:
        while True:
            if number == QUEUE - 1:
                waiting.set()
            with suppress(Exception):
                await client.get(hanging)
            await asyncio.sleep(0)  # a full line refuses at once

    server.signal(signal.SIGSTOP)
    tasks = [asyncio.create_task(ask(number)) for number in range(QUEUE)]
    try:
        await waiting.wait()
        answers = [await _answers(client, other) for _ in range(3)]
    finally:
        server.signal(signal.SIGCONT)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await close_client(client)
    assert any(answers)


async def _answers(client: Client, key: str) -> bool:
    try:
        async with translated():
            await client.get(key)
    except Unavailable:
        return False
    return True


async def test_many_at_once(one: Frontend) -> None:
    """Each of many requests at once gets its own reply."""
    refs = [f"ref{number}" for number in range(256)]
    opened = await asyncio.gather(*(one.open(ref, ref, ref) for ref in refs))
    assert [ingest.data_key for _, ingest in opened] == refs
    found = await asyncio.gather(*(one.ingests.find(one.tenant, ref) for ref in refs))
    assert [ingest.ref for ingest in found if ingest] == refs


async def test_everything_is_reachable(one: Frontend) -> None:
    """After whatever happened to refs, each key has a TTL or the index of tenants leads to it."""
    for number in range(8):
        ref, key = f"ref{number}", f"a{number}"
        lease, _ = await one.open(ref, f"n{number}", key)
        await one.checkpoint(lease, key, 1, 8)
        if number == 1:
            await one.ingests.restart(lease, key, "fresh", NOW)
        elif number == 2:
            await one.ingests.rewind(lease, key, 0, 0)
        elif number == 3:
            await one.ingests.save(lease, key, SPILLED, NOW)
        elif number == 4:
            await one.ingests.freeze(lease, key, "{}")
        elif number == 5:
            await one.ingests.drop(lease, key, Done("sha256:x", 8))
        elif number == 6:
            await one.ingests.abort(one.tenant, ref)
        elif number == 7:
            await one.ingests.release(one.tenant, ref, "n7")
    async with one.cache.changing(one.tenant, DIGEST, delete=True):
        pass
    found = await one.cache.look_up(one.tenant, DIGEST)
    assert await one.cache.fill(one.tenant, DIGEST, found.ticket, "entry")
    assert len(await one.stored_keys()) > 15
    assert await one.unreachable_keys() == set()


async def test_a_failover(watched: Watched, unique: str) -> None:
    """After a failover the new master is asked, knows the ingest, and takes scripts and orders."""
    async with frontend(watched.url, unique) as one:
        lease, _ = await one.open("ref", "n", "a")
        lost = await one.ingests.watch_lost()
        await one.client.wait(1, 10_000)
        before = watched.master()
        watched.fail_over()
        assert watched.master() != before
        await one.checkpoint(lease, "a", 1, 8)
        assert (await one.find("ref")).offset == 8
        assert admin(watched.master()).exists(one.keys.parts("ref"))
        await lost.close()
        again = await one.ingests.watch_lost()
        await one.ingests.abort(unique, "ref")
        heard = await again.next(10.0)
        assert heard == "n"
        await again.close()
