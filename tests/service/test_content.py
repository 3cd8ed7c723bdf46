"""What the RPCs do with errors that nobody foresaw, and with messages that they have served."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from grpc import StatusCode
from structlog.testing import capture_logs

from holdfast.protos import content_pb2 as pb
from tests.service.fleet import HEADER, Fleet, Frontend, eventually, refused, sha256

HELLO = sha256(b"hello")
SECRET = "/etc/secret"


def broken(*_: Any, **__: Any) -> Any:
    """A bug."""
    raise RuntimeError(SECRET)


@pytest.fixture
async def frontend(folder_fleet: Fleet) -> Frontend:
    """One frontend on a folder."""
    return await folder_fleet.frontend()


async def test_unforeseen_error(
    frontend: Frontend, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that isn't ours is INTERNAL, counted and logged, and tells clients nothing."""
    inside, client = frontend.running.frontend, frontend.tenant(tenant)
    for owner, name in (
        (inside.catalogue, "info"), (inside.catalogue, "list"), (inside.catalogue, "delete"),
        (inside.catalogue, "update"), (inside.reader, "read"), (inside.commits, "abort"),
        (inside.sessions, "open"), (inside.ingests, "find"), (inside.ingests, "each"),
    ):  # fmt: skip
        monkeypatch.setattr(type(owner), name, broken)
    calls = {
        "Info": client.info(HELLO), "List": client.list(), "Delete": client.delete(HELLO),
        "Update": client.update(HELLO, {}), "Read": client.read(HELLO),
        "Abort": client.abort("ref"), "Write": client.write("ref").send(pb.STAT),
        "Status": client.status("ref"), "ListStatuses": client.statuses(),
    }  # fmt: skip
    with capture_logs() as logs:
        for call in calls.values():
            text = await refused(StatusCode.INTERNAL, call)
            assert SECRET not in text
            assert "log" in text
    failed = [one for one in logs if one["event"] == "RPC failed with an unexpected error"]
    assert [one["rpc"] for one in failed] == list(calls)
    assert {str(one["exc_info"]) for one in failed} == {SECRET}
    counted = frontend.running.frontend.metrics.registry.get_sample_value
    for rpc in ("Info", "List", "Write"):
        assert counted("holdfast_rpcs_total", {"rpc": rpc, "code": "INTERNAL", "role": "node"}) == 1


async def test_unforeseen_error_keeps_the_bytes(
    frontend: Frontend, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that ends by an unforeseen error leaves its bytes durable and its ref free."""
    client = frontend.tenant(tenant)
    stream = client.write("ref")
    await stream.send(pb.WRITE, data=b"hello")
    with monkeypatch.context() as patch:
        patch.setattr(type(frontend.running.frontend.catalogue), "held", broken)
        await refused(StatusCode.INTERNAL, stream.send(pb.STAT, expected=HELLO))
    assert (await client.write("ref").send(pb.STAT)).offset == 5


async def test_header_given_twice(frontend: Frontend, tenant: str) -> None:
    """A client that adds a tenant header beside the proxy's is refused."""
    client = frontend.tenant(tenant)
    client.metadata += ((HEADER, f"{tenant}-b"),)
    await refused(StatusCode.PERMISSION_DENIED, client.list())


async def test_idle_stream_keeps_no_message(frontend: Frontend, tenant: str) -> None:
    """A stream that waits for its next message has let go of the one before."""
    stream = frontend.tenant(tenant).write("ref")
    size = 8 * 2**20 + 1
    await stream.send(pb.WRITE, data=bytes(size))

    def kept() -> bool:
        gc.collect()
        return any(
            isinstance(found, pb.WriteContentRequest) and len(found.data) == size
            for found in gc.get_objects()
        )

    await eventually(lambda: not kept())
