"""What a writer records of its ingest stands in Redis under the names that any version reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.coordination.changes import Progress, Sealed
from tests.coordination.fleet import DIGEST, NOW, PART, SPILLED, STORED, Frontend

OPENED = {
    "data_key": "a",
    "offset": "0",
    "live": "0",
    "total": "0",
    "expected": "",
    "started_at": str(NOW),
    "updated_at": str(NOW),
}
"""The fields of an ingest that has just been opened."""
AT_ITS_END = {
    "upload_id": "up",
    "begun": "1.5",
    "part_size": "8",
    "offset": "8",
    "live": "8",
    "hash": "h8",
    "crc": "0",
    "crc_filled": "0",
    "boundary_hash": "h8",
}
"""What the checkpoint of a full part sets."""


async def fields(one: Frontend) -> dict[str, str]:
    """All fields of the ingest."""
    stored = await one.client.hgetall(one.keys.ingest("ref"))
    return {name.decode(): value.decode() for name, value in stored.items()}


@pytest.mark.parametrize("change", ["open", "checkpoint", "save", "restart"])
async def test_each_change_says_when_by_redis(one: Frontend, change: str) -> None:
    """Whatever the caller's clock says, an ingest is listed as having moved when Redis's says."""
    lease, _ = await one.open("ref", "n1", "a")
    if change == "open":
        await one.client.delete(one.keys.ingest("ref"), one.keys.lease("ref"))
        await one.open("ref", "n2", "a")
    elif change == "checkpoint":
        await one.ingests.checkpoint(lease, "a", 1, PART, checkpoint=STORED, now_ns=NOW)
    elif change == "save":
        await one.ingests.save(lease, "a", SPILLED, NOW)
    else:
        await one.ingests.restart(lease, "a", "b", NOW)
    assert await one.client.zscore(one.keys.index, "ref") > NOW // 10**6


async def test_a_checkpoint(one: Frontend) -> None:
    """The checkpoint of a full part sets the upload, both hashes, and an empty last block."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.checkpoint(lease, "a", 1, PART, checkpoint=STORED, now_ns=NOW)
    assert await fields(one) == {**OPENED, **AT_ITS_END}


async def test_the_checkpoint_of_a_short_part(one: Frontend) -> None:
    """A short last part leaves the hash of the last boundary, which a rewind takes up."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.checkpoint(lease, "a", 1, PART, checkpoint=STORED, now_ns=NOW)
    short = replace(STORED, offset=10, live=10, hash="h10", full=False)
    await one.ingests.checkpoint(lease, "a", 2, PART, checkpoint=short, now_ns=NOW)
    moved = {"offset": "10", "live": "10", "hash": "h10"}
    assert await fields(one) == {**OPENED, **AT_ITS_END, **moved}


async def test_when_an_upload_was_created(one: Frontend) -> None:
    """A checkpoint keeps the time of the upload, the epoch too, and leaves what it doesn't know."""
    lease, _ = await one.open("ref", "n1", "a")
    epoch = replace(STORED, begun=0.0)
    await one.ingests.checkpoint(lease, "a", 1, PART, checkpoint=epoch, now_ns=NOW)
    unknown = replace(STORED, begun=None)
    await one.ingests.checkpoint(lease, "a", 1, PART, checkpoint=unknown, now_ns=NOW)
    assert (await fields(one))["begun"] == "0.0"


async def test_a_tail(one: Frontend) -> None:
    """A saved tail sets its object, its sums, and how far the ingest is with it."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.save(lease, "a", replace(SPILLED, sums=b"\x01\xab"), NOW)
    assert await fields(one) == {
        **OPENED,
        "tail_key": "t",
        "tail_size": "2",
        "tail_sums": "01ab",
        "offset": "10",
        "live": "10",
        "hash": "h10",
        "crc": "7",
        "crc_filled": "2",
    }


async def test_a_part_in_place_of_a_tail(one: Frontend) -> None:
    """The checkpoint of the part that has a tail's bytes removes all that is said of the tail."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.save(lease, "a", replace(SPILLED, offset=2), NOW)
    await one.ingests.checkpoint(lease, "a", 1, PART, checkpoint=STORED, now_ns=NOW)
    assert await fields(one) == {**OPENED, **AT_ITS_END}


async def test_a_sealed_ingest(one: Frontend) -> None:
    """A sealed ingest says so, and nothing else of it changes."""
    lease, _ = await one.open("ref", "n1", "a")
    await one.ingests.save(lease, "a", Sealed(), NOW)
    assert await fields(one) == {**OPENED, "sealed": "1"}


async def test_progress(one: Frontend) -> None:
    """Progress sets what was received and declared; a digest that isn't known is empty."""
    lease, _ = await one.open("ref", "n1", "a")
    assert await one.ingests.progress(lease, "a", Progress(5, 50, DIGEST), NOW)
    declared = {"live": "5", "total": "50", "expected": str(DIGEST)}
    assert await fields(one) == {**OPENED, **declared}
    assert await one.ingests.progress(lease, "a", Progress(6, 0, None), NOW)
    assert await fields(one) == {**OPENED, "live": "6"}
