"""The audit log of a frontend: who did what, and what it never says."""

from __future__ import annotations

from pathlib import Path

import pytest
from grpc import StatusCode

from holdfast.protos import content_pb2 as pb
from tests.servers.process import wait_until
from tests.servers.redis import RedisServer
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, refused, sha256
from tests.service.trusting import Trusting, trusting

ROOT = "containerd.io/gc.root"


@pytest.fixture
async def door(folder_fleet: Fleet, tmp_path: Path) -> Trusting:
    """A frontend that knows its clients by their certificates."""
    return await trusting(folder_fleet, tmp_path)


async def test_deletes_are_written(door: Trusting, fill: Fill, unique: str) -> None:
    """A Delete has a line with the identity, the rule, the peer, the digest and the outcome."""
    data = fill(100)
    async with door.client(f"system:node:{unique}") as node:
        await node.commit(unique, data)
        await node.delete(sha256(data))
    line = door.line(action="delete")
    assert line.pop("timestamp")
    assert line.pop("peer").startswith("ipv4:127.0.0.1:")
    assert line == {
        "event": "audit",
        "action": "delete",
        "tenant": unique,
        "role": "node",
        "rule": "nodes",
        "subject": f"system:node:{unique}",
        "rpc": "Delete",
        "digest": sha256(data),
        "outcome": "OK",
    }


async def test_aborts_are_written(door: Trusting, unique: str) -> None:
    """An Abort, and a stream's own ABORT, each have a line with the ref."""
    async with door.client(f"system:node:{unique}") as node:
        stream = node.write(f"{unique}\n-1")
        await stream.send(pb.STAT)
        await stream.send(pb.ABORT)
        await node.abort(f"{unique}-2")
    assert door.line(action="abort", rpc="Write")["ref"] == f"{unique}\n-1"
    assert door.line(action="abort", rpc="Abort")["ref"] == f"{unique}-2"


async def test_labels_that_stop_protecting_are_written(
    door: Trusting, fill: Fill, unique: str
) -> None:
    """A change of labels that removes or replaces one that protects content has a line."""
    data = fill(100)
    async with door.client(f"system:node:{unique}") as node:
        await node.commit(unique, data, labels={ROOT: "secret-value", "a": "b"})
        await node.update(sha256(data), {"a": "c"}, "labels.a")
        await node.update(sha256(data), {ROOT: ""}, f"labels.{ROOT}")
    line = door.line(action="unprotect")
    assert (line["digest"], line["labels"], line["outcome"]) == (sha256(data), [ROOT], "OK")
    assert "secret-value" not in (door.folder / "audit").read_text()


async def test_a_failure_is_an_outcome(
    own_fleet: Fleet, redis: RedisServer, tmp_path: Path, unique: str
) -> None:
    """What was asked and didn't succeed is written with its status and its reason."""
    door = await trusting(own_fleet, tmp_path)
    redis.stop()
    async with door.client(f"system:node:{unique}") as node:
        await refused(StatusCode.UNAVAILABLE, node.delete(sha256(b"")))
    line = door.line(action="delete", digest=sha256(b""))
    assert line["outcome"] == "UNAVAILABLE"
    assert "Redis" in line["reason"]


async def test_a_line_says_if_nothing_was_there(door: Trusting, fill: Fill, unique: str) -> None:
    """A Delete of content that isn't held, or an Abort of no ingest, is written as no change."""
    data = fill(100)
    async with door.client(f"system:node:{unique}") as node:
        await node.delete(sha256(data))
        await node.abort("nothing")
        await node.commit(unique, data)
        await node.delete(sha256(data))
    door.line(action="abort", ref="nothing")
    wait_until(lambda: len(door.lines(action="delete")) == 2, "two lines")
    assert [line.get("changed") for line in door.lines(action="delete")] == [False, None]
    assert door.line(action="abort")["changed"] is False


async def test_reads_and_writes_are_not_written(door: Trusting, fill: Fill, unique: str) -> None:
    """The log is about what ends something, not about all that is done."""
    data = fill(100)
    async with door.client(f"system:node:{unique}") as node:
        await node.commit(unique, data)
        await node.info(sha256(data))
        await node.read(sha256(data))
        await node.list()
        await node.update(sha256(data), {"a": "b"})
        await node.delete(sha256(data))
    door.line(action="delete")
    assert len(door.lines()) == 1


async def test_clients_that_nobody_knows_are_written(door: Trusting) -> None:
    """A client that no rule matches has a line with its address and why."""
    async with door.client("stranger\\n") as stranger:
        await refused(StatusCode.PERMISSION_DENIED, stranger.info(sha256(b"")))
    line = door.line(action="refuse")
    assert (line["rpc"], line["outcome"]) == ("Info", "PERMISSION_DENIED")
    assert "stranger" in line["reason"]
    assert "tenant" not in line


async def test_figures_say_what_is_missing(door: Trusting) -> None:
    """The metrics say what was left out of the log, and what was lost."""
    assert door.frontend.counted("holdfast_audit_omitted_total") == 0
    assert door.frontend.counted("holdfast_audit_lost_total") == 0
    assert door.frontend.counted("holdfast_identities_current") == 1
    (door.folder / "rules").write_text("rules = 1")
    recognizers = door.frontend.running.frontend.recognizers
    await recognizers.attend()
    await recognizers.attend()  # what stays the same for two looks counts
    assert door.frontend.counted("holdfast_identities_current") == 0
