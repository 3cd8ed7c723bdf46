"""The nine RPCs through an agent are those of a frontend."""

from __future__ import annotations

from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from tests.agent.stage import agent_of
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, refused, sha256


async def test_all_rpcs(folder_fleet: Fleet, tenant: str, fill: Fill) -> None:
    """What is written through an agent is held, read, labelled, listed and deleted through it."""
    frontend = await folder_fleet.frontend()
    body = fill(9 * 2**20 + 7)
    digest = sha256(body)
    async with agent_of([f"127.0.0.1:{frontend.port}"], tenant) as agent:
        node = agent.tenant
        stream = node.write("ref")
        found = await stream.send(pb.STAT, total=len(body))
        assert (found.offset, found.kept) == (0, 0)
        await stream.write_all(body)
        assert (await node.status("ref")).offset == len(body)
        assert [one.ref for one in await node.statuses()] == ["ref"]
        reply = await stream.send(pb.COMMIT, offset=len(body), labels={"a": "b"})
        assert await stream.ended()
        assert (reply.digest, reply.offset, reply.action) == (digest, len(body), pb.COMMIT)
        info = await node.info(digest)
        assert info == await frontend.tenant(tenant).info(digest)
        assert dict(info.labels) == {"a": "b"}
        assert await node.read(digest) == body
        assert await node.read(digest, 4 * 2**20 - 1, 2) == body[4 * 2**20 - 1 :][:2]
        await node.update(digest, {"c": "d"}, "labels.c")
        assert [dict(one.labels) for one in await node.list()] == [{"a": "b", "c": "d"}]
        await node.delete(digest)
        assert await node.list() == []
        await node.abort("ref")
        await refused(StatusCode.NOT_FOUND, node.status("ref"))
        await refused(StatusCode.INVALID_ARGUMENT, node.info("sha256:no"))
