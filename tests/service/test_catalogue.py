"""Info, Update, List and Delete, as docs/wire.md specifies them."""

from __future__ import annotations

import asyncio

import pytest
from grpc import StatusCode

from holdfast.digests import Digest
from holdfast.protos import content_pb2 as pb
from holdfast.service.store.hold_reading import LIST_BATCH
from holdfast.storage.keys import record_key
from holdfast.storage.records import FORMAT
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, drained, refused, sha256
from tests.storage.edited import edited

HELLO = sha256(b"hello")


async def test_info(fleet: Fleet, tenant: str) -> None:
    """Info tells a hold's size, labels and times, in nanoseconds."""
    client = (await fleet.frontend()).tenant(tenant)
    await client.commit("ref", b"hello", labels={"k": "v"})
    info = await client.info(HELLO)
    assert (info.digest, info.size, dict(info.labels)) == (HELLO, 5, {"k": "v"})
    assert info.created_at == info.updated_at
    assert info.created_at.ToNanoseconds() > 10**18
    assert await client.info(HELLO) == info


async def test_unknown(folder_fleet: Fleet, tenant: str) -> None:
    """What nobody committed is NOT_FOUND to Info, Update and Read."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    for call in (client.info(HELLO), client.update(HELLO, {}), client.read(HELLO)):
        assert HELLO in await refused(StatusCode.NOT_FOUND, call)


async def test_malformed_digest(folder_fleet: Fleet, tenant: str) -> None:
    """A malformed digest is INVALID_ARGUMENT to every RPC that takes one."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    for digest in ("", "sha256", "sha256:", "sha256:" + "g" * 64, "md5:" + "0" * 32, "x" * 5000):
        for call in (
            client.info(digest),
            client.update(digest, {}),
            client.read(digest),
            client.delete(digest),
        ):
            text = await refused(StatusCode.INVALID_ARGUMENT, call)
            assert len(text.encode()) <= 1024


async def test_shared_info_makes_a_hold(fleet: Fleet, tenant: str) -> None:
    """Under `shared`, Info of what the fleet has makes a durable hold, then replies."""
    frontend = await fleet.frontend()
    await frontend.tenant(f"{tenant}-a").commit("ref", b"hello", labels={"k": "v"})
    other = frontend.tenant(f"{tenant}-b")
    assert await other.list() == []
    info = await other.info(HELLO)
    assert (info.size, dict(info.labels)) == (5, {})
    assert [listed.digest for listed in await other.list()] == [HELLO]
    await frontend.tenant(f"{tenant}-a").delete(HELLO)
    assert await other.read(HELLO) == b"hello"


async def test_isolated(fleet: Fleet, tenant: str) -> None:
    """Under `isolated`, what another tenant brought is NOT_FOUND until it is committed."""
    frontend = await fleet.frontend(sharing="isolated")
    await frontend.tenant(f"{tenant}-a").commit("ref", b"hello")
    other = frontend.tenant(f"{tenant}-b")
    await refused(StatusCode.NOT_FOUND, other.info(HELLO))
    await refused(StatusCode.NOT_FOUND, other.read(HELLO))
    await other.commit("ref", b"hello")
    assert await other.read(HELLO) == b"hello"


async def test_update_replaces_all(fleet: Fleet, tenant: str) -> None:
    """Without a mask, or with `labels`, Update replaces all labels and moves updated_at."""
    client = (await fleet.frontend()).tenant(tenant)
    await client.commit("ref", b"hello", labels={"a": "1", "b": "2"})
    before = await client.info(HELLO)
    updated = await client.update(HELLO, {"c": "3"})
    assert dict(updated.labels) == {"c": "3"}
    assert updated.updated_at.ToNanoseconds() > before.updated_at.ToNanoseconds()
    assert (updated.created_at, updated.size) == (before.created_at, 5)
    assert dict((await client.update(HELLO, {"d": "4"}, "labels")).labels) == {"d": "4"}
    assert dict((await client.info(HELLO)).labels) == {"d": "4"}


async def test_update_sets_one(fleet: Fleet, tenant: str) -> None:
    """`labels.<key>` sets one label, whose key may hold dots; an empty value removes it."""
    client = (await fleet.frontend()).tenant(tenant)
    await client.commit("ref", b"hello", labels={"a": "1", "x.y/z": "2"})
    updated = await client.update(HELLO, {"x.y/z": "3", "ignored": "9"}, "labels.x.y/z", "labels.a")
    assert dict(updated.labels) == {"x.y/z": "3"}


@pytest.mark.parametrize("path", ["size", "digest", "created_at", "labels.", "label.a", "", "*"])
async def test_update_of_the_immutable(folder_fleet: Fleet, tenant: str, path: str) -> None:
    """Another mask path is INVALID_ARGUMENT and changes nothing."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    await client.commit("ref", b"hello", labels={"a": "1"})
    await refused(StatusCode.INVALID_ARGUMENT, client.update(HELLO, {"a": "2"}, "labels.a", path))
    assert dict((await client.info(HELLO)).labels) == {"a": "1"}


async def test_concurrent_updates(fleet: Fleet, tenant: str) -> None:
    """Updates of different labels through different frontends at once are all kept."""
    frontends = [await fleet.frontend() for _ in range(2)]
    await frontends[0].tenant(tenant).commit("ref", b"hello")
    updates = [
        frontends[n % 2].tenant(tenant).update(HELLO, {f"k{n}": "v"}, f"labels.k{n}")
        for n in range(8)
    ]
    await asyncio.gather(*updates)
    labels = dict((await frontends[0].tenant(tenant).info(HELLO)).labels)
    assert labels == {f"k{n}": "v" for n in range(8)}


async def test_update_needs_a_hold(folder_fleet: Fleet, tenant: str) -> None:
    """Update of what only another tenant holds is NOT_FOUND."""
    frontend = await folder_fleet.frontend()
    await frontend.tenant(f"{tenant}-a").commit("ref", b"hello")
    await refused(StatusCode.NOT_FOUND, frontend.tenant(f"{tenant}-b").update(HELLO, {"a": "1"}))


async def test_list(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """List gives this tenant's holds only, in messages of about 100, through filters."""
    frontend = await fleet.frontend()
    client = frontend.tenant(tenant)
    await frontend.tenant(f"{tenant}-b").commit("ref", b"other")
    data = [fill(10 + n) for n in range(12)]
    for n, body in enumerate(data):
        await client.commit("ref", body, labels={"n": str(n % 3)})
    assert {info.digest for info in await client.list()} == {sha256(body) for body in data}
    assert {info.digest for info in await client.list("")} == {sha256(body) for body in data}
    chosen = await client.list("labels.n==1", f"digest=={sha256(data[0])}")
    assert {info.digest for info in chosen} == {
        sha256(body) for n, body in enumerate(data) if n % 3 == 1 or n == 0
    }


async def test_list_in_messages(folder_fleet: Fleet, tenant: str) -> None:
    """A long List comes in messages of about a hundred entries."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    bodies = [f"blob {n}".encode() for n in range(LIST_BATCH + 20)]
    for body in bodies:
        await client.commit("ref", body)
    stream = client.stub.List(pb.ListContentRequest(), metadata=client.metadata)
    sizes = [len(message.info) for message in await drained(stream)]
    assert sizes == [LIST_BATCH, 20]


async def test_malformed_filters(folder_fleet: Fleet, tenant: str) -> None:
    """A syntax error in a filter is INVALID_ARGUMENT and names the position."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    for text in ("labels.a==", "==x", 'labels."a', "a,,b", "digest=~x"):
        for call in (client.list(text), client.statuses(text)):
            assert any(c.isdigit() for c in await refused(StatusCode.INVALID_ARGUMENT, call))


async def test_delete(fleet: Fleet, tenant: str) -> None:
    """Delete gives up this tenant's hold; others still read the blob."""
    one, two = await fleet.frontend(), await fleet.frontend()
    await one.tenant(f"{tenant}-a").commit("ref", b"hello")
    await two.tenant(f"{tenant}-b").commit("ref", b"hello")
    await two.tenant(f"{tenant}-a").info(HELLO)
    await one.tenant(f"{tenant}-a").delete(HELLO)
    assert await two.tenant(f"{tenant}-a").list() == []
    assert [info.digest for info in await one.tenant(f"{tenant}-b").list()] == [HELLO]
    assert await two.tenant(f"{tenant}-b").read(HELLO) == b"hello"


async def test_delete_is_seen_by_all_frontends(folder_fleet: Fleet, tenant: str) -> None:
    """An Info that another frontend had cached sees a Delete at once."""
    one = await folder_fleet.frontend(sharing="isolated")
    two = await folder_fleet.frontend(sharing="isolated")
    await one.tenant(tenant).commit("ref", b"hello")
    for _ in range(2):
        await two.tenant(tenant).info(HELLO)
    await one.tenant(tenant).delete(HELLO)
    await refused(StatusCode.NOT_FOUND, two.tenant(tenant).info(HELLO))


async def test_delete_of_the_unknown(folder_fleet: Fleet, tenant: str) -> None:
    """Delete of what isn't held, or isn't known at all, is OK and does nothing."""
    frontend = await folder_fleet.frontend()
    await frontend.tenant(f"{tenant}-a").commit("ref", b"hello")
    await frontend.tenant(f"{tenant}-b").delete(HELLO)
    await frontend.tenant(f"{tenant}-b").delete(sha256(b"nothing"))
    assert await frontend.tenant(f"{tenant}-a").read(HELLO) == b"hello"


async def test_delete_during_list(folder_fleet: Fleet, tenant: str) -> None:
    """Deletes while a List is open are normal: containerd's collector does just that."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    for n in range(LIST_BATCH + 50):
        await client.commit("ref", f"blob {n}".encode())
    stream = client.stub.List(pb.ListContentRequest(), metadata=client.metadata)
    async for message in stream:
        await asyncio.gather(*(client.delete(info.digest) for info in message.info))
    assert await client.list() == []


async def test_recommit_after_delete(fleet: Fleet, tenant: str) -> None:
    """What was deleted can be committed again."""
    client = (await fleet.frontend()).tenant(tenant)
    for _ in range(2):
        await client.commit("ref", b"hello", labels={"a": "1"})
        assert await client.read(HELLO) == b"hello"
        await client.delete(HELLO)


async def test_data_gone(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A held blob whose data is gone is NOT_FOUND to Info, and a commit of it heals."""
    client = (await fleet.frontend()).tenant(tenant)
    data = fill(100_000)
    await client.commit("ref", data)
    for entry in list(fleet.store.list("data/")):
        fleet.store.delete(entry.key)
    await refused(StatusCode.NOT_FOUND, client.info(sha256(data)))
    await client.commit("ref", data, expected=sha256(data))
    assert await client.read(sha256(data)) == data


async def test_record_of_a_newer_version(folder_fleet: Fleet, tenant: str) -> None:
    """A record of a future format version is refused, naming both versions, and kept."""
    frontend = await folder_fleet.frontend()
    client = frontend.tenant(tenant)
    await client.commit("ref", b"hello")
    key = record_key(Digest.parse(HELLO))
    body = edited(folder_fleet.store.get(key).body, format=7)
    folder_fleet.store.put(key, body)
    other = (await folder_fleet.frontend()).tenant(f"{tenant}-b")
    for call in (other.info(HELLO), other.read(HELLO), other.commit("ref", b"hello")):
        text = await refused(StatusCode.FAILED_PRECONDITION, call)
        assert "7" in text
        assert f"up to {FORMAT}" in text
    assert folder_fleet.store.get(key).body == body


async def test_damaged_record(folder_fleet: Fleet, tenant: str) -> None:
    """An edited or truncated record is DATA_LOSS, never wrong bytes."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    await client.commit("ref", b"hello")
    key = record_key(Digest.parse(HELLO))
    whole = folder_fleet.store.get(key).body
    damaged = b"", whole[:-10], whole.replace(b'"size":5', b'"size":4'), b"[]", b"{}"
    for body in (*damaged, edited(whole, size=6)):
        folder_fleet.store.put(key, body)
        other = (await folder_fleet.frontend()).tenant(f"{tenant}-b")
        await refused(StatusCode.DATA_LOSS, other.read(HELLO))


async def test_tenant_header_is_required(folder_fleet: Fleet) -> None:
    """Where the header decides the tenant, a call without it, or with a bad name, is refused."""
    frontend = await folder_fleet.frontend()
    client = frontend.tenant("a")
    client.metadata = ()
    await refused(StatusCode.PERMISSION_DENIED, client.list())
    for name in ("..", "a/b", "A", "x" * 64, ""):
        client.metadata = (("x-holdfast-tenant", name),)
        code = StatusCode.INVALID_ARGUMENT if name else StatusCode.PERMISSION_DENIED
        await refused(code, client.info(HELLO))


async def test_namespace_header_decides_nothing(folder_fleet: Fleet, tenant: str) -> None:
    """Containerd's namespace header changes nothing."""
    frontend = await folder_fleet.frontend()
    client = frontend.tenant(tenant)
    await client.commit("ref", b"hello")
    client.metadata += (("containerd-namespace", "k8s.io"),)
    assert (await client.info(HELLO)).digest == HELLO
