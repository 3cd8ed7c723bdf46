"""A commit that took effect, and whose ingest stayed in Redis because Redis was away."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from holdfast.coordination.ingests import Ingests
from holdfast.digests import Digest
from holdfast.errors import Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.storage.folder import FolderStore
from holdfast.storage.records import Records, State, new_nonce
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, refused, sha256


async def away(*_: object, **_options: object) -> None:
    """As Redis is when it can't be reached."""
    raise Unavailable("Redis is away")


def _become(store: FolderStore, digest: str, *states: State) -> None:
    """Turns a record as the collector does."""
    records = Records(store)
    for state in states:
        seen = records.read(Digest.parse(digest))
        assert seen
        records.write(seen.record.turned(state, new_nonce()), seen)


@pytest.mark.parametrize("size", [1000, 100_000])
@pytest.mark.parametrize(
    "states",
    [(State.CONDEMNED,), (State.CONDEMNED, State.LIVE), (State.CONDEMNED, State.TOMBSTONE)],
    ids=["condemned", "pardoned", "buried"],
)
async def test_what_was_deleted_since_stays_deleted(
    folder_fleet: Fleet,
    folder_store: FolderStore,
    monkeypatch: pytest.MonkeyPatch,
    tenant: str,
    fill: Fill,
    size: int,
    states: tuple[State, ...],
) -> None:
    """Whoever carries it out later makes no hold again: its tenant may have deleted it since."""
    first = (await folder_fleet.frontend()).tenant(tenant)
    data = fill(size)
    with monkeypatch.context() as patch:
        patch.setattr(Ingests, "forget", away)
        await refused(StatusCode.UNAVAILABLE, first.commit("ref", data))
    await first.delete(sha256(data))
    _become(folder_store, sha256(data), *states)
    second = (await folder_fleet.frontend()).tenant(tenant)
    stream = second.write("ref")
    assert (await stream.send(pb.STAT)).offset == 0
    await stream.half_close()
    assert await second.list() == []


@pytest.mark.parametrize("size", [1000, 100_000])
async def test_a_commit_is_ok_when_it_is_over(
    folder_fleet: Fleet,
    folder_store: FolderStore,
    monkeypatch: pytest.MonkeyPatch,
    tenant: str,
    fill: Fill,
    size: int,
) -> None:
    """A commit isn't OK while it can be carried out again: what is deleted might come back."""
    frontend = await folder_fleet.frontend()
    client, other, data = frontend.tenant(tenant), frontend.tenant(f"{tenant}-o"), fill(size)
    await other.commit("theirs", data)
    with monkeypatch.context() as patch:
        patch.setattr(Ingests, "forget", away)
        stream = client.write("ref")
        await stream.write_all(data)
        await refused(StatusCode.UNAVAILABLE, stream.send(pb.COMMIT))
    again = client.write("ref")
    await refused(StatusCode.ALREADY_EXISTS, again.send(pb.STAT, expected=sha256(data)))
    await client.delete(sha256(data))
    await other.delete(sha256(data))
    _become(folder_store, sha256(data), State.CONDEMNED, State.TOMBSTONE)
    stream = (await folder_fleet.frontend()).tenant(tenant).write("ref")
    assert (await stream.send(pb.STAT)).offset == 0
    await stream.half_close()
    assert await client.list() == []
