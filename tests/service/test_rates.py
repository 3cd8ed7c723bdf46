"""Rates of tenants: calls are refused, written bytes are slowed down, and nothing else is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import grpc
import pytest
from grpc import StatusCode

from holdfast.errors import PUSHBACK, Overloaded
from holdfast.protos import content_pb2 as pb
from holdfast.service.holdings.quotas import Quota, Quotas
from holdfast.service.rpc.rates import BURST, REMEMBERED, Rates, TokenBuckets
from holdfast.tasks import begin
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Frontend, eventually, refused, sha256

KIB, MIB = 2**10, 2**20


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    """The clock of the rates."""
    return Time()


@pytest.fixture
def counted() -> Counter[str]:
    """How many refusals there were, by bound."""
    return Counter()


@pytest.fixture
def quotas() -> Quotas:
    """One tenant has rates, all others have none."""
    return Quotas(Quota(), {"a": Quota(call_rate=10, write_rate=1000)})


@pytest.fixture
def rates(quotas: Quotas, counted: Counter[str], time: Time) -> Rates:
    """The rates of a frontend."""

    def refused(bound: str) -> None:
        counted[bound] += 1

    return Rates(quotas, refused, time)


def calls(rates: Rates, tenant: str, wanted: int) -> int:
    """How many calls are admitted at once."""
    for admitted in range(wanted):
        try:
            rates.call(tenant)
        except Overloaded:
            return admitted
    return wanted


def test_calls(rates: Rates, counted: Counter[str], time: Time) -> None:
    """After a burst, the rate decides how many calls are admitted; idle time isn't saved up."""
    assert calls(rates, "a", 100) == 10 * BURST
    assert counted == {"call_rate": 1}
    for seconds, admitted in ((0.05, 0), (0.06, 1), (1.0, 10), (3600.0, 10 * BURST)):
        time.now += seconds
        assert calls(rates, "a", 100) == admitted
    assert calls(rates, "b", 1000) == 1000


def test_when_to_retry(rates: Rates, time: Time) -> None:
    """A refused call is told when the next one is admitted, and then it is."""
    calls(rates, "a", 100)
    with pytest.raises(Overloaded) as caught:
        rates.call("a")
    assert 0 < caught.value.pause <= 0.1
    assert "more than 10 calls a second" in str(caught.value)
    time.now += caught.value.pause + 1e-6
    rates.call("a")


def test_bytes(rates: Rates, time: Time) -> None:
    """A tenant that has written more than its burst waits until that is paid off."""
    rates.wrote("a", 2000)
    assert rates.owes("a") == 0
    rates.wrote("a", 500)
    assert rates.owes("a") == pytest.approx(0.5)
    time.now += 0.25
    assert rates.owes("a") == pytest.approx(0.25)
    rates.wrote("a", 16 * MIB)
    assert rates.owes("a") == pytest.approx(0.25 + 16 * MIB / 1000)
    assert rates.owes("b") == 0


def test_a_rate_that_is_raised(rates: Rates, quotas: Quotas) -> None:
    """A waiting tenant benefits from a higher rate, or from none, at once."""
    rates.wrote("a", 102_000)
    assert rates.owes("a") == pytest.approx(100)
    quotas.set({"a": Quota(write_rate=100_000)})
    assert rates.owes("a") < 1.1
    quotas.set({})
    assert rates.owes("a") == 0


def test_many_tenants(time: Time) -> None:
    """A hundred thousand tenants need no more memory than ten thousand; the latest are known."""
    buckets = TokenBuckets(time)
    for number in range(100_000):
        buckets.take(f"t{number}", 10, 5)
    assert len(buckets) == REMEMBERED
    assert buckets.left("t99999", 10) == 10 * BURST - 5
    assert buckets.left("t1", 10) == 10 * BURST


def test_no_rate_no_memory(rates: Rates) -> None:
    """Of tenants without a rate, nothing is remembered."""
    for number in range(100):
        rates.call(f"t{number}")
        rates.wrote(f"t{number}", 1000)
    assert (len(rates._calls), len(rates._bytes)) == (0, 0)


# -- through a frontend


def pushback(error: grpc.aio.AioRpcError) -> str | None:
    """The time after which a refused client should retry, in ms."""
    found = dict(error.trailing_metadata() or ())
    value = found.get(PUSHBACK)
    return None if value is None else str(value)


async def test_what_is_refused(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Beyond its rate a tenant asks for and writes nothing, and still reads, deletes and aborts."""
    one = await folder_fleet.frontend(tenant_call_rate=1)
    client, data = one.tenant(tenant), fill(100)
    await client.commit("ref", data)
    digest = sha256(data)
    refusals: list[Callable[[], Awaitable[object]]] = [
        lambda: client.info(digest),
        lambda: client.update(digest, {"a": "b"}),
        client.list,
        lambda: client.status("ref"),
        client.statuses,
        lambda: client.write("other").send(pb.STAT),
    ]
    for call in refusals:
        exhaust(one, tenant)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call()
        assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
        assert 0 < int(pushback(caught.value) or 0) <= 1000
    exhaust(one, tenant)
    assert await client.read(digest) == data
    await client.abort("ref")
    await client.delete(digest)
    assert await one.tenant(f"{tenant}-other").list() == []
    registry = one.running.frontend.metrics.registry
    assert registry.get_sample_value("holdfast_quota_refusals_total", {"bound": "call_rate"})


async def test_a_fast_writer_waits(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """Beyond its tenant's rate a WRITE waits, whatever its size; STAT and COMMIT don't."""
    one = await folder_fleet.frontend(tenant_write_rate=1)
    rates, client = one.running.frontend.rates, one.tenant(tenant)
    small, large = client.write("small"), client.write("large")
    sizes, sending = {small: 200, large: 300 * KIB}, []
    for stream, size in sizes.items():
        await stream.send(pb.STAT)
        rates.wrote(tenant, size)
        request = pb.WriteContentRequest(action=pb.WRITE, data=bytes(size))
        sending.append(begin(stream.call.write(request)))
    await eventually(lambda: rates.waiting == 2)
    assert (await client.status("small")).offset == 0
    third, data = client.write("third"), fill(10)
    rates.quotas.set({tenant: Quota()})
    for stream, size in sizes.items():
        reply = await stream.call.read()
        assert isinstance(reply, pb.WriteContentResponse)
        assert reply.offset == size, "a raised rate lets them continue"
    await third.send(pb.WRITE, data=data)
    rates.quotas.set({tenant: Quota(write_rate=1)})
    rates.wrote(tenant, MIB)
    await third.send(pb.STAT)
    await third.send(pb.COMMIT, expected=sha256(data))
    await asyncio.gather(*sending)
    for stream in sizes:
        await stream.half_close()


async def test_through_grpcio(folder_fleet: Fleet, fill: Fill, tenant: str) -> None:
    """There, whatever comes next waits, because a message can't be known before it is there."""
    one = await folder_fleet.frontend(tenant_write_rate=1, transport="grpcio")
    rates, stream = one.running.frontend.rates, one.tenant(tenant).write("ref")
    await stream.send(pb.WRITE, data=fill(100))
    await eventually(lambda: rates.waiting == 1)
    await stream.call.write(pb.WriteContentRequest(action=pb.STAT))
    rates.quotas.set({tenant: Quota()})
    reply = await stream.call.read()
    assert isinstance(reply, pb.WriteContentResponse)
    assert reply.offset == 100


@pytest.mark.parametrize("size", [200, 300 * KIB])
async def test_the_end_of_a_waiting_stream(
    folder_fleet: Fleet, fill: Fill, tenant: str, size: int
) -> None:
    """A stream that waits for its rate ends at once if its ref is aborted, or its client leaves."""
    one = await folder_fleet.frontend(tenant_write_rate=1)
    rates, client = one.running.frontend.rates, one.tenant(tenant)
    for end in ("aborted", "left"):
        stream = client.write(end)
        await stream.send(pb.WRITE, data=fill(100))
        request = pb.WriteContentRequest(action=pb.WRITE, offset=100, data=fill(size))
        sending = begin(stream.call.write(request))
        await eventually(lambda: rates.waiting == 1)
        if end == "aborted":
            await client.abort(end)
            await refused(StatusCode.ABORTED, stream.call.read())
        else:
            stream.cancel()
        await eventually(lambda: rates.waiting == 0)
        await asyncio.gather(sending, return_exceptions=True)


def exhaust(one: Frontend, tenant: str) -> None:
    """Uses up a tenant's calls."""
    while calls(one.running.frontend.rates, tenant, 100) == 100:
        pass
