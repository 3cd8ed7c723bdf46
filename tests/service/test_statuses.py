"""ListStatuses of however many ingests: a message that clients take, in bounded memory."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from holdfast.coordination import read_ingests
from holdfast.coordination.connection import open_client
from holdfast.coordination.keys import Keys
from holdfast.filters import Filter
from holdfast.service.rpc import statuses
from holdfast.service.rpc.grpcio import MAX_MESSAGE
from holdfast.values import Status
from tests.service.fleet import Fleet

MANY, LENGTH = 16_000, 1000
"""So many refs of so many bytes are more than a message takes; 100,000 of containerd's are, too."""


async def put_ingests(redis_url: str, tenant: str, refs: list[str]) -> None:
    """Ingests as Redis keeps them, each one second younger than the one before."""
    client: Any = open_client(redis_url)
    keys = Keys(tenant)
    try:
        for start in range(0, len(refs), 5000):
            async with client.pipeline(transaction=False) as pipe:
                for number, ref in enumerate(refs[start : start + 5000], start):
                    fields = {"data_key": f"data/{number}", "offset": number, "updated_at": number}
                    pipe.hset(keys.ingest(ref), mapping=fields)
                    pipe.zadd(keys.index, {ref: number})
                await pipe.execute()
    finally:
        await client.aclose()


async def drop_ingests(redis_url: str, tenant: str) -> None:
    """Gives Redis its memory back: other tests use it too."""
    client: Any = open_client(redis_url)
    try:
        async for key in client.scan_iter(match=f"holdfast:{{{tenant}}}:*", count=5000):
            await client.unlink(key)
    finally:
        await client.aclose()


async def test_more_than_a_message_holds(
    folder_fleet: Fleet, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of too many, those that moved longest ago are told of; the others once these are gone."""
    monkeypatch.setattr(statuses, "LARGEST", 10_000)
    refs = [f"ref {number:04}" for number in range(1500)]
    await put_ingests(folder_fleet.redis_url, tenant, refs)
    client = (await folder_fleet.frontend()).tenant(tenant)
    first = [status.ref for status in await client.statuses()]
    assert 100 < len(first) < 1500
    assert first == refs[: len(first)]
    for ref in first:
        await client.abort(ref)
    second = [status.ref for status in await client.statuses()]
    assert second[0] == refs[len(first)]
    # What a filter leaves out takes no room.
    assert [status.ref for status in await client.statuses('ref=="ref 1499"')] == ["ref 1499"]


async def test_more_refs_than_are_read_at_once(
    folder_fleet: Fleet, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of many ingests come, each once, in their order."""
    monkeypatch.setattr(read_ingests, "REFS", 300)
    refs = [f"ref {number:04}" for number in range(900)]
    await put_ingests(folder_fleet.redis_url, tenant, refs)
    client = (await folder_fleet.frontend()).tenant(tenant)
    assert [status.ref for status in await client.statuses()] == refs


async def test_a_full_message(folder_fleet: Fleet, redis_url: str, tenant: str) -> None:
    """As many statuses come as fit into a message that containerd's client takes."""
    refs = [f"k8s.io/1/{number:06}".ljust(LENGTH, "x") for number in range(MANY)]
    await put_ingests(folder_fleet.redis_url, tenant, refs)
    try:
        client = (await folder_fleet.frontend()).tenant(tenant)
        found = [status.ref for status in await client.statuses()]
        assert MANY * 3 / 4 < len(found) < MANY
        assert found == refs[: len(found)]
    finally:
        await drop_ingests(redis_url, tenant)  # a frontend's user may not look at all keys


def test_a_reply_fits_into_a_message() -> None:
    """The bound leaves room for what a message has beside its statuses."""
    assert statuses.LARGEST < MAX_MESSAGE


async def test_patterns_are_matched_beside_the_loop(folder_fleet: Fleet, tenant: str) -> None:
    """Costly patterns over many refs are bounded, and matched where they stall nobody."""
    refs = [f"{number:04}" + "a" * 1000 for number in range(400)]
    await put_ingests(folder_fleet.redis_url, tenant, refs)
    client = (await folder_fleet.frontend()).tenant(tenant)
    costly = [f"ref~=/(a?){{{n}}}(x+x+)+y$/" for n in range(1, 30)]
    threads = set()
    matches = Filter.parse(costly).matches_status

    def watched(status: Status) -> bool:
        threads.add(threading.get_ident())
        return matches(status)

    ingests = (await folder_fleet.frontend()).running.frontend.ingests
    assert not (await statuses.statuses(ingests.each(tenant), watched)).statuses
    assert await client.statuses(*costly) == []
    assert threads
    assert threading.get_ident() not in threads
