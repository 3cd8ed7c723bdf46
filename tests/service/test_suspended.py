"""A machine that was suspended: what it knew before is as old as everybody else's clocks say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.clocks import uptime
from holdfast.coordination.leases import TTL
from holdfast.protos import content_pb2 as pb
from holdfast.storage.keys import RECORDS
from holdfast.storage.s3_clock import ServerClock
from tests.service.fleet import Fleet, refused, sha256
from tests.storage.scripted import Reply
from tests.stores.counting import CountingStore

pytestmark = pytest.mark.skipif(
    not hasattr(time, "CLOCK_BOOTTIME"), reason="only Linux tells that it was suspended"
)

Suspend = Callable[[float], None]
HELLO = sha256(b"hello")


@pytest.fixture
def suspend() -> Iterator[Suspend]:
    """Puts this machine to sleep for some seconds: the monotonic clock doesn't notice."""
    clock: Any = uptime
    slept, original, given = [0.0], clock.func, clock.args

    def reading(which: int) -> float:
        return float(original(which)) + slept[0]

    def sleep(seconds: float) -> None:
        slept[0] += seconds

    # The clock itself is changed, because many modules hold it.
    clock.__setstate__((reading, given, {}, {}))
    yield sleep
    clock.__setstate__((original, given, {}, {}))


async def test_a_lease_that_ran_out_meanwhile(
    folder_fleet: Fleet, tenant: str, suspend: Suspend
) -> None:
    """A stream writes nothing more under a lease that ran out while its machine slept."""
    stream = (await folder_fleet.frontend()).tenant(tenant).write("ref")
    await stream.send(pb.WRITE, data=b"hel")
    suspend(TTL)
    assert "lost its lease" in await refused(
        StatusCode.ABORTED, stream.send(pb.WRITE, offset=3, data=b"lo")
    )


async def test_a_record_that_was_read_before(
    folder_fleet: Fleet, tenant: str, suspend: Suspend
) -> None:
    """A record that was believed for half a minute is read again after a night's sleep."""
    counting = CountingStore(folder_fleet.store)
    client = (await folder_fleet.frontend(store=counting)).tenant(tenant)
    await client.commit("ref", b"hello")
    await client.read(HELLO)
    before = len(counting.operations(RECORDS))
    assert await client.read(HELLO) == b"hello"
    assert len(counting.operations(RECORDS)) == before
    suspend(8 * 3600.0)
    assert await client.read(HELLO) == b"hello"
    assert len(counting.operations(RECORDS)) == before + 1


def test_the_age_of_an_ingest(suspend: Suspend) -> None:
    """The store's clock has gone on: data isn't taken for younger than it is."""
    clock = ServerClock()
    clock.note(http_response=Reply(headers={"date": "Tue, 24 Nov 2026 12:00:00 GMT"}))
    before = clock.now()
    suspend(3600.0)
    assert clock.now() - before >= 3600.0
