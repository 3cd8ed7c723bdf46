"""A follower that asks after the leader's COMMIT, when its flight is over, needn't send the bytes.

containerd asks like that if its Info got no answer, because frontends have too much to do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import pytest

from holdfast.coordination.connection import open_client
from holdfast.coordination.keys import flight
from holdfast.digests import Digest
from holdfast.errors import CONTINUED, FLIGHT, KEPT, Unavailable
from holdfast.protos import content_pb2 as pb
from holdfast.storage.port import ObjectStore
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, Tenant, refused, sha256
from tests.service.test_heal import delete_data
from tests.stores.counting import CountingStore

LARGE = 3 * 2**20
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def settings() -> Mapping[str, Any]:
    """Times that no test waits for."""
    return {"flight_wait": 600.0, "flight_patience": 600.0}


@pytest.fixture
async def redis(folder_fleet: Fleet) -> AsyncIterator[Any]:
    """A client of the fleet's Redis."""
    client: Any = open_client(folder_fleet.redis_url)
    yield client
    await client.aclose()


async def landed(leader: Tenant, redis: Any, data: bytes) -> str:
    """A digest that a tenant has committed, and whose flight has lapsed since."""
    digest = sha256(data)
    await leader.commit(f"layer-{digest}", data, expected=digest)
    await redis.delete(flight(Digest.parse(digest)))
    return digest


async def stat(tenant: Tenant, digest: str) -> pb.WriteContentResponse:
    """The answer to a stream's first message, as containerd sends it."""
    return await tenant.write(f"default/12/layer-{digest}").send(pb.STAT, total=LARGE)


async def told(tenant: Tenant, digest: str) -> grpc.aio.AioRpcError:
    """The answer of a tenant that is told to wait."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stat(tenant, digest)
    assert caught.value.code() is UNAVAILABLE
    return caught.value


async def test_a_follower_that_asks_after_the_commit(
    folder_fleet: Fleet, redis: Any, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """It is told by any frontend that the blob is there; it leaves nothing, and its Info has it."""
    one, two = [await folder_fleet.frontend(**settings) for _ in range(2)]
    digest = await landed(one.tenant(f"{unique}-1"), redis, fill(LARGE))
    follower = two.tenant(f"{unique}-2")
    error = await told(follower, digest)
    assert digest in str(error.details())
    assert dict(error.trailing_metadata() or ())[FLIGHT] == f"the-fleet {LARGE} {LARGE}"
    assert await follower.statuses() == []
    assert await follower.list() == []
    assert (await follower.info(digest)).size == LARGE
    assert two.counted("holdfast_flight_waits_total") == 1
    assert two.counted("holdfast_flight_saved_bytes_total") == LARGE


async def test_what_an_info_without_an_answer_has_made(
    folder_fleet: Fleet, redis: Any, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """A tenant that holds the blob, and doesn't know it, isn't let write it either."""
    frontend = await folder_fleet.frontend(**settings)
    digest = await landed(frontend.tenant(unique), redis, fill(LARGE))
    await told(frontend.tenant(unique), digest)


async def test_a_stream_that_is_continued(
    folder_fleet: Fleet, redis: Any, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """An agent that continues a stream isn't told so: perhaps it has sent a COMMIT already."""
    frontend = await folder_fleet.frontend(**settings)
    tenant = frontend.tenant(unique)
    digest = await landed(tenant, redis, fill(LARGE))
    continuing = Tenant(tenant.stub, (*tenant.metadata, (KEPT, CONTINUED)))
    assert (await stat(continuing, digest)).offset == 0


async def test_an_absence_from_before_the_commit(
    folder_fleet: Fleet, redis: Any, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """A look that began half of the patience ago, and found nothing, says nothing of now."""
    one, two = [await folder_fleet.frontend(**settings) for _ in range(2)]
    digest = await landed(one.tenant(f"{unique}-1"), redis, fill(LARGE))
    absences = two.running.frontend.catalogue.absences
    since = absences.now() - settings["flight_patience"] / 2
    absences.note(Digest.parse(digest), absent=True, since=since)
    await told(two.tenant(f"{unique}-2"), digest)


async def test_damaged_content_is_written(
    folder_fleet: Fleet, redis: Any, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """Content whose bytes are gone must be sent again, and nobody waits for it."""
    frontend = await folder_fleet.frontend(**settings)
    data = fill(LARGE)
    digest = await landed(frontend.tenant(f"{unique}-1"), redis, data)
    delete_data(folder_fleet.store, digest)
    second = frontend.tenant(f"{unique}-2")
    await second.commit(f"layer-{digest}", data, expected=digest)
    assert await second.read(digest) == data


async def test_a_tenant_at_its_bound(
    folder_fleet: Fleet, redis: Any, unique: str, fill: Fill, settings: Mapping[str, Any]
) -> None:
    """A tenant whose bound refuses its Info learns of that bound, and isn't told to ask again."""
    one = await folder_fleet.frontend(**settings)
    two = await folder_fleet.frontend(**settings, tenant_bytes=LARGE - 1)
    digest = await landed(one.tenant(f"{unique}-1"), redis, fill(LARGE))
    await refused(grpc.StatusCode.RESOURCE_EXHAUSTED, stat(two.tenant(f"{unique}-2"), digest))


async def test_a_store_that_gives_no_answer(
    folder_fleet: Fleet,
    folder_store: ObjectStore,
    unique: str,
    fill: Fill,
    settings: Mapping[str, Any],
) -> None:
    """No answer is no absence: the tenant is told to try again, and not to fetch."""
    store = CountingStore(folder_store)
    frontend = await folder_fleet.frontend(store, **settings)
    tenant, digest = frontend.tenant(unique), sha256(fill(LARGE))

    def away(_: str, key: str) -> None:
        if key.startswith("blobs/"):
            raise Unavailable("no answer")

    store.before = away
    await refused(UNAVAILABLE, tenant.info(digest))
    error = await told(tenant, digest)
    assert FLIGHT not in dict(error.trailing_metadata() or ())


@pytest.mark.parametrize(("asked", "looks"), [(True, 0), (False, 1)], ids=["asked", "not asked"])
async def test_what_it_costs(
    folder_fleet: Fleet,
    folder_store: ObjectStore,
    unique: str,
    fill: Fill,
    settings: Mapping[str, Any],
    *,
    asked: bool,
    looks: int,
) -> None:
    """A new digest costs one GET of its record, and nothing if it was just asked for."""
    store = CountingStore(folder_store)
    frontend: Frontend = await folder_fleet.frontend(store, **settings)
    tenant, digest = frontend.tenant(unique), sha256(fill(LARGE))
    await tenant.list()  # the tenant's first call notes that it is there
    if asked:
        await refused(grpc.StatusCode.NOT_FOUND, tenant.info(digest))
    store.calls.clear()
    await stat(tenant, digest)
    assert store.operations("blobs/") == ["get"] * looks
    assert len(store.calls) == looks
