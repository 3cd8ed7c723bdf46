"""What strange and idle clients get, and that they harm nobody else."""

from __future__ import annotations

import asyncio

import pytest
from grpc import StatusCode

from holdfast.errors import ConfigurationError
from holdfast.protos import content_pb2 as pb
from holdfast.service.listeners import parse
from holdfast.values import MAX_LABEL_BYTES, MAX_LABELS
from tests.service.fleet import HEADER, Fleet, Tenant, eventually, refused, sha256
from tests.stores.counting import CountingStore

HELLO = sha256(b"hello")
NO_NAMES = ["a/b", "..", ".", "/", "a" * 64, "a" * 300, "A", "a b", "../b", "a%2fb"]


@pytest.mark.parametrize("name", NO_NAMES)
async def test_strange_tenants(folder_fleet: Fleet, name: str) -> None:
    """A header that names no tenant is refused by every RPC, and nothing is written under it."""
    store = CountingStore(folder_fleet.store)
    client = (await folder_fleet.frontend(store)).tenant("a")
    client.metadata = ((HEADER, name),)
    for call in (
        client.info(HELLO),
        client.update(HELLO, {}),
        client.list(),
        client.delete(HELLO),
        client.read(HELLO),
        client.status("ref"),
        client.statuses(),
        client.abort("ref"),
        client.write("ref").send(pb.STAT),
    ):
        text = await refused(StatusCode.INVALID_ARGUMENT, call)
        assert len(text.encode()) <= 1024
    assert store.calls == []


@pytest.mark.parametrize("name", ["a%2Fb", "%2e%2e", "a%00b", "a%0Ab", "%C3%BC", "a" * 300])
def test_strange_tenants_of_sockets(name: str) -> None:
    """A listener that would be an impossible tenant's is refused at start, escapes undone."""
    with pytest.raises(ConfigurationError, match="tenant"):
        parse(f"unix:///run/holdfast/a.sock?tenant={name}")


async def test_largest_labels(folder_fleet: Fleet, tenant: str) -> None:
    """Key and value have 4,096 bytes together, counted in UTF-8: one more is refused."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    await client.commit("ref", b"hello")
    key = "k" * 100
    fits, too_long = "v" * (MAX_LABEL_BYTES - 100), "v" * (MAX_LABEL_BYTES - 99)
    assert dict((await client.update(HELLO, {key: fits})).labels) == {key: fits}
    wide = "\u00fc" * ((MAX_LABEL_BYTES - 100) // 2)
    assert dict((await client.update(HELLO, {key: wide})).labels) == {key: wide}
    many = {f"k{number}": "v" for number in range(MAX_LABELS + 1)}
    for labels in ({key: too_long}, {key: wide + "\u00fc"}, {too_long: "v" * 100}, {"": "v"}, many):
        text = await refused(StatusCode.INVALID_ARGUMENT, client.update(HELLO, labels))
        assert len(text.encode()) <= 1024
        stream = client.write("other")
        await stream.send(pb.WRITE, data=b"other")
        await refused(StatusCode.INVALID_ARGUMENT, stream.send(pb.COMMIT, labels=labels))
        await client.abort("other")
    assert dict((await client.info(HELLO)).labels) == {key: wide}
    assert [info.digest for info in await client.list()] == [HELLO]


async def test_one_label_too_many(folder_fleet: Fleet, tenant: str) -> None:
    """A label that is added to as many as a hold can have is refused; one that is there isn't."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    await client.commit("ref", b"hello", labels={f"k{n}": "v" for n in range(MAX_LABELS)})
    update = client.update(HELLO, {"more": "v"}, "labels.more")
    await refused(StatusCode.INVALID_ARGUMENT, update)
    assert (await client.update(HELLO, {"k0": "w"}, "labels.k0")).labels["k0"] == "w"


@pytest.mark.parametrize(
    "ref",
    [
        "with spaces  and\ttabs",
        "ünïcödé/\u4e2d\u6587/\U0001f433",
        "line\nbreak",
        "{braces}:colons:lease:x",
        "*?[a-z]",
        "%2e/../..",
        "x" * 1024,
    ],
)
async def test_strange_refs(folder_fleet: Fleet, tenant: str, ref: str) -> None:
    """A ref is any text: it is written, listed, found by filters, carried on, and aborted."""
    frontends = [await folder_fleet.frontend() for _ in range(2)]
    clients = [frontend.tenant(tenant) for frontend in frontends]
    stream = clients[0].write(ref)
    await stream.send(pb.WRITE, data=b"hel")
    await stream.half_close()
    await eventually(lambda: clients[1].status(ref))
    assert [status.ref for status in await clients[1].statuses()] == [ref]
    stream = clients[1].write(ref)
    assert (await stream.send(pb.STAT)).offset == 3
    await stream.send(pb.WRITE, offset=3, data=b"lo")
    await stream.send(pb.COMMIT, expected=HELLO)
    assert await clients[0].read(HELLO) == b"hello"
    await clients[0].write(ref).send(pb.WRITE, data=b"x")
    await clients[1].abort(ref)
    assert await clients[0].statuses() == []


async def test_silent_streams(folder_fleet: Fleet, tenant: str) -> None:
    """Streams that say nothing hold no ref and no buffer, and go when their clients do."""
    frontend = await folder_fleet.frontend()
    client = frontend.tenant(tenant)
    free = frontend.counted("holdfast_buffer_free_bytes")
    silent = [client.stub.Write(metadata=client.metadata) for _ in range(100)]
    await asyncio.gather(*(call.wait_for_connection() for call in silent))
    await client.commit("ref", b"hello")
    assert await client.read(HELLO) == b"hello"
    assert frontend.counted("holdfast_streams") == frontend.counted("holdfast_leases") == 0
    assert frontend.counted("holdfast_buffer_free_bytes") == free
    for call in silent:
        call.cancel()


async def test_one_byte_at_a_time(folder_fleet: Fleet, tenant: str) -> None:
    """Bytes that come one by one cost the store nothing until the blob is whole."""
    store = CountingStore(folder_fleet.store)
    frontend = await folder_fleet.frontend(store)
    client = frontend.tenant(tenant)
    stream = client.write("ref")
    await stream.send(pb.STAT)
    store.calls.clear()
    data = b"0123456789" * 30
    for offset in range(len(data)):
        reply = await stream.send(pb.WRITE, offset=offset, data=data[offset : offset + 1])
        assert reply.offset == offset + 1
    assert store.calls == []
    await eventually(lambda: _offset_is(client, "ref", len(data)))
    await stream.send(pb.COMMIT, expected=sha256(data))
    assert await client.read(sha256(data)) == data


async def _offset_is(client: Tenant, ref: str, offset: int) -> bool:
    return (await client.status(ref)).offset == offset


async def test_filters_that_are_too_much(folder_fleet: Fleet, tenant: str) -> None:
    """Too many filters, characters or patterns are refused before anything is looked at."""
    store = CountingStore(folder_fleet.store)
    client = (await folder_fleet.frontend(store)).tenant(tenant)
    too_much = (["a"] * 257, ["a==" + "x" * 65_536], ["a~=/x/"] * 33, [",".join(["a~=/x/"] * 33)])
    for filters in too_much:
        for call in (client.list(*filters), client.statuses(*filters)):
            await refused(StatusCode.INVALID_ARGUMENT, call)
    assert "list" not in store.operations()
