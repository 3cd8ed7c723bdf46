"""What BuildKit, nerdctl and containerd's differ ask of a content store, message by message.

Sources: BuildKit's `cache/blobs.go`, `cache/refs.go` and `util/contentutil`;
containerd 2.3's `core/content/helpers.go`, `core/content/proxy` and `plugins/diff/walking`.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from tests.service.conftest import Fill
from tests.service.fleet import DEADLINE, HEADER, Fleet, Frontend, Tenant, refused, sha256

UNCOMPRESSED = "containerd.io/uncompressed"
SOURCE = "containerd.io/distribution.source.docker.io"
VARIANT = "buildkit.io/compression/digest.zstd"
PIECE = 240


def as_buildkit(frontend: Frontend, tenant: str, namespace: str = "buildkit") -> Tenant:
    """A tenant whose calls carry the headers of containerd's client."""
    own = frontend.tenant(tenant)
    headers = (("containerd-namespace", namespace), ("containerd-lease", f"lease-{namespace}"))
    return Tenant(own.stub, ((HEADER, tenant), *headers))


@dataclass
class Writer:
    """containerd's remote writer: one message at a time, the ref in the first one only."""

    call: grpc.aio.StreamStreamCall[Any, Any]
    offset: int = 0
    digest: str = ""

    @classmethod
    async def open(cls, tenant: Tenant, ref: str, total: int = 0, expected: str = "") -> Writer:
        """Its first message; a client seeks to the offset of the answer."""
        writer = cls(tenant.stub.Write(metadata=tenant.metadata, timeout=DEADLINE))
        writer.offset = (
            await writer.send(action=pb.STAT, ref=ref, total=total, expected=expected)
        ).offset
        return writer

    async def send(self, **fields: Any) -> pb.WriteContentResponse:
        """A message and its answer."""
        await self.call.write(pb.WriteContentRequest(**fields))
        reply = await self.call.read()
        if reply is grpc.aio.EOF:
            raise grpc.aio.AioRpcError(
                await self.call.code(),
                await self.call.initial_metadata(),
                await self.call.trailing_metadata(),
                await self.call.details(),
            )
        assert isinstance(reply, pb.WriteContentResponse)
        self.digest = reply.digest or self.digest
        return reply

    async def write(self, data: bytes) -> None:
        """A WRITE; one that is answered short is an error."""
        reply = await self.send(action=pb.WRITE, offset=self.offset, data=data)
        assert reply.offset == self.offset + len(data)
        self.offset = reply.offset

    def truncate(self, size: int) -> None:
        """Nothing is sent before the next WRITE."""
        self.offset = size

    async def commit(
        self, size: int, expected: str, labels: dict[str, str] | None = None
    ) -> pb.WriteContentResponse:
        """COMMIT; the client checks size and digest of the answer, then closes."""
        reply = await self.send(
            action=pb.COMMIT, total=size, offset=self.offset, expected=expected, labels=labels
        )
        assert not size or reply.offset == size
        assert not expected or reply.digest == expected
        await self.close()
        return reply

    async def close(self) -> None:
        """CloseSend, and the server's end of the stream."""
        await self.call.done_writing()
        assert await self.call.read() is grpc.aio.EOF


async def test_a_diff(fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A layer is made: thousands of small WRITEs, COMMIT without a total, then Info."""
    buildkit = as_buildkit(await fleet.frontend(), tenant)
    layer = gzip.compress(plain := fill(300_000), 1)
    writer = await Writer.open(buildkit, "w7zl5xm1uy4jyq3ph8kgc4yv6")
    writer.truncate(0)
    for start in range(0, len(layer), PIECE):
        await writer.write(layer[start : start + PIECE])
        if start % (64 * PIECE) == 0:
            assert (await writer.send(action=pb.STAT)).offset == writer.offset
    assert writer.digest == sha256(layer)
    await writer.commit(0, sha256(layer), {UNCOMPRESSED: sha256(plain)})
    info = await buildkit.info(sha256(layer))
    assert (info.size, dict(info.labels)) == (len(layer), {UNCOMPRESSED: sha256(plain)})
    assert await buildkit.read(sha256(layer)) == layer


async def test_a_diff_begun_before(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A diff whose ref has bytes of an earlier try begins anew: Truncate(0), then WRITE at 0."""
    buildkit = as_buildkit(await folder_fleet.frontend(), tenant)
    first = await Writer.open(buildkit, "diff")
    await first.write(fill(1000))
    await first.close()
    layer = fill(500)
    again = await Writer.open(buildkit, "diff")
    assert again.offset == 1000
    again.truncate(0)
    await again.write(layer)
    assert (await again.commit(0, sha256(layer))).offset == len(layer)
    assert await buildkit.read(sha256(layer)) == layer


async def test_the_same_diff_twice(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A diff that comes out the same is ALREADY_EXISTS; a missing label is added afterwards."""
    buildkit = as_buildkit(await folder_fleet.frontend(), tenant)
    layer = fill(2000)
    await buildkit.commit("first", layer, labels={"k": "v"})
    writer = await Writer.open(buildkit, "second")
    await writer.write(layer)
    await refused(StatusCode.ALREADY_EXISTS, writer.commit(0, sha256(layer), {UNCOMPRESSED: "x"}))
    info = await buildkit.update(sha256(layer), {UNCOMPRESSED: "y"}, f"labels.{UNCOMPRESSED}")
    assert info.labels[UNCOMPRESSED] == "y"
    assert info.labels["k"] == "v"


async def test_an_open_writer_is_waited_for(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Whoever opens a ref that is being written gets UNAVAILABLE, and tries until it is free."""
    frontend = await folder_fleet.frontend()
    buildkit, data = as_buildkit(frontend, tenant), fill(100)
    first = await Writer.open(buildkit, "ref")
    await first.write(data)
    for _ in range(3):
        assert "ref" in await refused(StatusCode.UNAVAILABLE, Writer.open(buildkit, "ref"))
    await first.close()
    second = await Writer.open(buildkit, "ref")
    assert second.offset == len(data)
    await second.commit(len(data), sha256(data))


async def test_a_descriptor_that_is_there(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A writer opened with the digest of what is held is told ALREADY_EXISTS at once."""
    buildkit, data = as_buildkit(await folder_fleet.frontend(), tenant), fill(100)
    opening = await Writer.open(buildkit, "layer", len(data), sha256(data))
    await opening.write(data)
    await opening.commit(len(data), sha256(data))
    again = Writer.open(buildkit, "layer-again", len(data), sha256(data))
    await refused(StatusCode.ALREADY_EXISTS, again)
    assert await buildkit.statuses() == []


async def test_a_copy_goes_on(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """A copy that broke off goes on at the offset that the next writer is told."""
    buildkit, data = as_buildkit(await folder_fleet.frontend(), tenant), fill(5000)
    first = await Writer.open(buildkit, "copy", len(data), sha256(data))
    await first.write(data[:3000])
    await first.close()
    second = await Writer.open(buildkit, "copy", len(data), sha256(data))
    assert second.offset == 3000
    await second.write(data[3000:])
    await second.commit(len(data), sha256(data))
    assert await buildkit.read(sha256(data)) == data


async def test_a_blob_of_a_build_record(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """COMMIT with neither size nor digest tells the digest: a client takes it from there."""
    buildkit, data = as_buildkit(await folder_fleet.frontend(), tenant), fill(700)
    writer = await Writer.open(buildkit, "history-tlrf4y6n0")
    await writer.write(data)
    assert (await writer.commit(0, "")).digest == sha256(data)


async def test_nothing_at_all(folder_fleet: Fleet, tenant: str) -> None:
    """An empty blob, such as a config of `scratch`, can be committed without a WRITE."""
    buildkit = as_buildkit(await folder_fleet.frontend(), tenant)
    writer = await Writer.open(buildkit, "empty")
    assert (await writer.commit(0, sha256(b""))).offset == 0
    assert (await buildkit.info(sha256(b""))).size == 0


async def test_compression_variants(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Labels by which BuildKit links a layer's compressions are set one by one, and kept."""
    buildkit, layer, other = as_buildkit(await folder_fleet.frontend(), tenant), fill(90), fill(91)
    for data in (layer, other):
        await buildkit.commit(sha256(data), data, labels={UNCOMPRESSED: sha256(b"plain")})
    await buildkit.update(sha256(layer), {VARIANT: sha256(other)}, f"labels.{VARIANT}")
    await buildkit.update(sha256(layer), {SOURCE: "library/a,b"}, f"labels.{SOURCE}")
    assert dict((await buildkit.info(sha256(layer))).labels) == {
        UNCOMPRESSED: sha256(b"plain"),
        VARIANT: sha256(other),
        SOURCE: "library/a,b",
    }
    cleared = await buildkit.update(sha256(layer), {}, f"labels.{VARIANT}")
    assert VARIANT not in cleared.labels


async def test_walks(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """The filters that they walk with find what they are meant to find."""
    buildkit = as_buildkit(await folder_fleet.frontend(), tenant)
    layer, index, bare = fill(50), fill(51), fill(52)
    plain = sha256(b"plain")
    await buildkit.commit("layer", layer, labels={UNCOMPRESSED: plain, SOURCE: "library/a,lib/b"})
    await buildkit.commit("index", index, labels={"containerd.io/gc.root": "2026-11-24T00:00:00Z"})
    await buildkit.commit("bare", bare)
    walks = {
        f'labels."{UNCOMPRESSED}"=={plain}': {layer},
        f'labels."{UNCOMPRESSED}"=={sha256(b"none")}': set(),
        f'labels."{SOURCE}"~="(^|,)lib/b(,|$)"': {layer},
        'labels."containerd.io/gc.root"': {index},
        f"digest=={sha256(bare)}": {bare},
        f'digest~=^sha256,labels."{UNCOMPRESSED}"!={plain}': {index, bare},
    }
    for walk, wanted in walks.items():
        found = {info.digest for info in await buildkit.list(walk)}
        assert found == {sha256(data) for data in wanted}, walk
    both = [f'labels."{UNCOMPRESSED}"=={plain}', f"digest=={sha256(bare)}"]
    assert len(await buildkit.list(*both)) == 2


async def test_the_namespace_decides_nothing(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Headers of containerd's client change nothing: the listener alone names the tenant."""
    frontend, data = await folder_fleet.frontend(), fill(40)
    await as_buildkit(frontend, tenant, "buildkit").commit("ref", data)
    for namespace in ("k8s.io", "buildkit_history", "../other", ""):
        found = await as_buildkit(frontend, tenant, namespace).list()
        assert [info.digest for info in found] == [sha256(data)]
    assert await as_buildkit(frontend, f"{tenant}-b", "buildkit").list() == []


@pytest.mark.parametrize(
    "ref",
    [
        "buildkit/1/" + "x" * 1000,
        "layer-sha256:" + "0" * 64 + "-docker.io/library/alpine:latest@suffix with spaces",
        "convert-uncompress-from-sha256:" + "f" * 64,
        "résumé/層/🧱",
        "..",
        "a/../b\\c\n\t\"'*?{}",
    ],
)
async def test_refs(fleet: Fleet, fill: Fill, tenant: str, ref: str) -> None:
    """Any ref of up to 1 KiB works: written, asked for, broken off, carried on, committed."""
    buildkit, data = as_buildkit(await fleet.frontend(), tenant), fill(3000)
    writer = await Writer.open(buildkit, ref)
    await writer.write(data[:1000])
    assert (await buildkit.status(ref)).ref == ref
    await writer.close()
    assert [status.ref for status in await buildkit.statuses()] == [ref]
    again = await Writer.open(buildkit, ref)
    await again.write(data[1000:])
    await again.commit(len(data), sha256(data))
    assert await buildkit.statuses() == []
    await buildkit.abort(ref)


async def test_children_of_a_manifest(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """The labels that hold an image together are set in one Update, beside those that are there."""
    buildkit, manifest = as_buildkit(await folder_fleet.frontend(), tenant), fill(600)
    await buildkit.commit("manifest", manifest, labels={SOURCE: "library/a"})
    children = {f"containerd.io/gc.ref.content.l.{n}": sha256(b"%d" % n) for n in range(20)}
    paths = [f"labels.{key}" for key in children]
    updated = await buildkit.update(sha256(manifest), children, *paths)
    assert dict(updated.labels) == {SOURCE: "library/a", **children}
