"""Holds that can't be read: passed over, deleted by name, replaced by whoever asks again."""

from __future__ import annotations

import pytest
from grpc import StatusCode
from structlog.testing import capture_logs

from holdfast.digests import Digest
from holdfast.protos import content_pb2 as pb
from holdfast.storage.keys import hold_prefix
from tests.service.fleet import Fleet, Frontend, Tenant, refused, sha256
from tests.storage.edited import newer

GOOD, BAD = b"good", b"bad"


def damage(fleet: Fleet, tenant: str, content: bytes, body: bytes) -> None:
    """Overwrites a tenant's holds on some content."""
    for entry in list(fleet.store.list(hold_prefix(tenant, Digest.parse(sha256(content))))):
        fleet.store.put(entry.key, body)


@pytest.fixture(params=[b"", b"{}", b"\xff"])
async def frontend(request: pytest.FixtureRequest, folder_fleet: Fleet, tenant: str) -> Frontend:
    """A frontend that remembers nothing of a tenant's two holds, one of which is damaged."""
    client = (await folder_fleet.frontend()).tenant(tenant)
    for content in (GOOD, BAD):
        await client.commit("ref", content, labels={"name": "x"})
        await client.update(sha256(content), {"name": "y"})
    damage(folder_fleet, tenant, BAD, request.param)
    return await folder_fleet.frontend(sharing="isolated")


@pytest.fixture
def client(frontend: Frontend, tenant: str) -> Tenant:
    """The tenant."""
    return frontend.tenant(tenant)


async def test_list(frontend: Frontend, client: Tenant) -> None:
    """List goes past a damaged hold, says so in the log, and counts it."""
    with capture_logs() as logs:
        assert [info.digest for info in await client.list()] == [sha256(GOOD)]
    (event,) = [entry for entry in logs if entry["event"] == "damaged hold skipped"]
    assert event["log_level"] == "warning"
    assert sha256(BAD).removeprefix("sha256:") in event["reason"]
    assert frontend.counted("holdfast_damaged_holds_total") == 1


async def test_it_counts_as_none(client: Tenant) -> None:
    """Who has only a damaged hold doesn't hold the digest: it may commit it again."""
    await refused(StatusCode.NOT_FOUND, client.info(sha256(BAD)))
    await refused(StatusCode.NOT_FOUND, client.update(sha256(BAD), {"name": "z"}))
    await client.commit("ref", BAD, expected=sha256(BAD), labels={"name": "z"})
    assert dict((await client.info(sha256(BAD))).labels) == {"name": "z"}
    assert {info.digest for info in await client.list()} == {sha256(GOOD), sha256(BAD)}


async def test_shared(folder_fleet: Fleet, client: Tenant, tenant: str) -> None:
    """Under `shared`, Info takes what the fleet has, with a fresh hold."""
    sharing = (await folder_fleet.frontend()).tenant(tenant)
    assert (await sharing.info(sha256(BAD))).size == len(BAD)
    assert {info.digest for info in await client.list()} == {sha256(GOOD), sha256(BAD)}


async def test_delete(folder_fleet: Fleet, client: Tenant, tenant: str) -> None:
    """Delete takes a damaged hold by its name."""
    await client.delete(sha256(BAD))
    assert not list(folder_fleet.store.list(hold_prefix(tenant, Digest.parse(sha256(BAD)))))


async def test_a_newer_version_is_no_damage(
    folder_fleet: Fleet, client: Tenant, tenant: str
) -> None:
    """A hold of a newer version isn't passed over: who can't read it says so."""
    damage(folder_fleet, tenant, BAD, newer())
    await refused(StatusCode.FAILED_PRECONDITION, client.list())
    await refused(
        StatusCode.FAILED_PRECONDITION, client.write("ref").send(pb.STAT, expected=sha256(BAD))
    )
