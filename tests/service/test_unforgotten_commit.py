"""A commit that was answered, and whose ingest stayed in Redis because Redis was away."""

from __future__ import annotations

import pytest

from coordination.ingests import Ingests
from holdfast.digests import Digest
from holdfast.errors import Unavailable
from protos import content_pb2 as pb
from storage.folder import FolderStore
from storage.records import Records, State, new_nonce
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, sha256


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

    async def away(*_: object) -> None:
        raise Unavailable("Redis is away")

    first = (await folder_fleet.frontend()).tenant(tenant)
    data = fill(size)
    with monkeypatch.context() as patch:
        patch.setattr(Ingests, "forget", away)
        await first.commit("ref", data)
    await first.delete(sha256(data))
    _become(folder_store, sha256(data), *states)
    second = (await folder_fleet.frontend()).tenant(tenant)
    stream = second.write("ref")
    assert (await stream.send(pb.STAT)).offset == 0
    await stream.half_close()
    assert await second.list() == []
