"""What the frontend's metrics say of its transport."""

from __future__ import annotations

import re
from pathlib import Path

from holdfast.service.listeners import parse
from holdfast.transport.counts import Refusal
from tests.service.fleet import Fleet, Frontend, eventually, sha256
from tests.transport.raw_client import MAX_CONCURRENT_STREAMS, Kind, connected, frame

HELLO = sha256(b"hello")
FIGURES = r"^(holdfast_transport_\w+)(?:\{kind=\"(\w+)\"\})? (\S+)$"


def figures(frontend: Frontend) -> dict[str, float]:
    """All figures of the transport; refusals with their kind behind the name."""
    text = frontend.running.frontend.metrics.exposition().decode()
    found = re.findall(FIGURES, text, re.MULTILINE)
    return {
        f"{name.removeprefix('holdfast_transport_')} {kind}".strip(): float(value)
        for name, kind, value in found
    }


def refusals(found: dict[str, float]) -> dict[str, float]:
    """The figures of refusals, by their kinds."""
    return {kind: found[f"refused_total {kind}"] for kind in Refusal}


async def test_what_is_counted(folder_fleet: Fleet, tenant: str) -> None:
    """Connections, calls, messages and bytes in both directions are counted."""
    frontend = await folder_fleet.frontend(transport="own")
    client, data = frontend.tenant(tenant), bytes(100_000)
    await client.commit("ref", data)
    before = figures(frontend)
    assert (before["connections"], before["accepted_total"]) == (1, 1)
    assert await client.read(sha256(data)) == data
    await client.info(sha256(data))
    await eventually(lambda: figures(frontend)["streams"] == 0)
    after = figures(frontend)
    assert after["calls_total"] - before["calls_total"] == 2
    assert after["received_messages_total"] - before["received_messages_total"] == 2
    assert after["sent_messages_total"] - before["sent_messages_total"] >= 2
    assert after["sent_bytes_total"] - before["sent_bytes_total"] > len(data)
    assert 0 < after["received_bytes_total"] - before["received_bytes_total"] < 10_000


async def test_listeners_are_summed(folder_fleet: Fleet, tenant: str, tmp_path: Path) -> None:
    """The figures are those of all listeners, whose connections are told to end by a drain."""
    frontend = await folder_fleet.frontend(transport="own")
    await frontend.servers.listen(parse(f"unix://{tmp_path}/socket?tenant={tenant}"))
    port = await frontend.servers.listen(parse(f"tcp://127.0.0.1:0?tenant={tenant}"))
    await frontend.tenant(tenant).commit("ref", b"hello")
    async with connected(port) as client:
        await client.greet()
        await eventually(lambda: figures(frontend)["connections"] == 2)
        await frontend.servers.drain(0.0)
    after = figures(frontend)
    assert after["accepted_total"] == 2
    assert after["goaways_total"] == after["drained_total"] == 2
    assert after["connections"] == 0


async def test_a_flood_is_counted_by_its_kind(folder_fleet: Fleet) -> None:
    """Each kind of refusal is a series from the start, and a flood appears under its kind."""
    frontend = await folder_fleet.frontend(transport="own")
    begun = figures(frontend)
    assert refusals(begun) == dict.fromkeys(Refusal, 0)
    async with connected(frontend.port) as client:
        await client.greet()
        await client.send(frame(Kind.PING, payload=bytes(8)) * 200)
        await client.ended()
    after = figures(frontend)
    assert refusals(after) == {**dict.fromkeys(Refusal, 0), Refusal.PINGS: 1}
    assert after["goaways_total"] == 1
    assert after["drained_total"] == 0


async def test_grpcio_counts_nothing(folder_fleet: Fleet) -> None:
    """On grpcio's server, which counts nothing, there are no such figures."""
    frontend = await folder_fleet.frontend(transport="grpcio")
    assert figures(frontend) == {}


async def test_one_connection_may_carry_everything(folder_fleet: Fleet) -> None:
    """A connection may have as many streams as the frontend admits of all clients, and more."""
    frontend = await folder_fleet.frontend(
        transport="own", max_streams=5_000, max_reads=600, max_calls=70
    )
    async with connected(frontend.port) as client:
        greeting = await client.expect(Kind.SETTINGS)
    pairs = [greeting.payload[at : at + 6] for at in range(0, len(greeting.payload), 6)]
    values = {int.from_bytes(pair[:2]): int.from_bytes(pair[2:]) for pair in pairs}
    assert values[MAX_CONCURRENT_STREAMS] > 5_670
