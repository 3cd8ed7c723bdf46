"""Frontends know a node by its certificate, and a node its frontends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.service.listeners import parse
from tests.agent.stage import agent_of
from tests.servers.authority import DAY, Authority, Issued
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, eventually, refused, sha256


@pytest.fixture
def authority() -> Authority:
    """Who issues all certificates."""
    return Authority()


async def tls_address(fleet: Fleet, authority: Authority, folder: Path) -> str:
    """Starts a frontend that takes the tenant from a certificate; returns its address."""
    frontend = await fleet.frontend()
    cert, key = authority.server().write(folder, "frontend")
    ca = authority.write(folder)
    url = f"tls://127.0.0.1:0?cert={cert}&key={key}&client-ca={ca}&cn=node-(.%2B)"
    return f"127.0.0.1:{await frontend.servers.listen(parse(url))}"


def shown(authority: Authority, folder: Path, name: str) -> dict[str, Any]:
    """Settings of a node with a certificate."""
    cert, key = authority.client(name).write(folder, "node")
    ca = folder / "ca.crt"
    return {"agent_tls_ca": str(ca), "agent_tls_cert": str(cert), "agent_tls_key": str(key)}


async def test_a_node_is_its_certificate(
    folder_fleet: Fleet, authority: Authority, tmp_path: Path, fill: Fill, tenant: str
) -> None:
    """What is written through an agent belongs to its certificate's tenant, not to its socket's."""
    address = await tls_address(folder_fleet, authority, tmp_path)
    plain = await folder_fleet.frontend()
    body = fill(100 * 1024)
    certificate = shown(authority, tmp_path, f"node-{tenant}")
    async with agent_of([address], "somebody-else", **certificate) as agent:
        await agent.tenant.commit("ref", body)
        assert await agent.tenant.read(sha256(body)) == body
    assert [one.digest for one in await plain.tenant(tenant).list()] == [sha256(body)]
    assert await plain.tenant("somebody-else").list() == []


async def test_without_a_certificate(
    folder_fleet: Fleet, authority: Authority, tmp_path: Path, tenant: str
) -> None:
    """A node without a certificate, or that doesn't trust the frontend's, gets nothing."""
    address = await tls_address(folder_fleet, authority, tmp_path)
    certificate = shown(authority, tmp_path, f"node-{tenant}")
    stranger = Authority("stranger").write(tmp_path, "stranger")
    for settings in (
        {"agent_tls_ca": certificate["agent_tls_ca"]},
        {**certificate, "agent_tls_ca": str(stranger)},
        {},
    ):
        async with agent_of([address], tenant, call_deadline=1, **settings) as agent:
            await refused(StatusCode.UNAVAILABLE, agent.tenant.info(sha256(b"")))


async def test_metrics_of_the_certificate(
    folder_fleet: Fleet, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since and until when the node's certificate is valid, and files that couldn't be used."""
    monkeypatch.setattr("holdfast.service.agent.upstreams.LOOK", 0.05)
    address = await tls_address(folder_fleet, authority, tmp_path)
    certificate = shown(authority, tmp_path, "node-a")

    def times() -> list[float]:
        names = ("start_timestamp_seconds", "expiry_timestamp_seconds", "reload_failures_total")
        registry = agent.running.parts.metrics.registry
        found = [
            registry.get_sample_value(f"holdfast_certificate_{name}", {"listener": "frontends"})
            for name in names
        ]
        return [value for value in found if value is not None]

    def expected(issued: Issued, failures: int) -> list[float]:
        found = issued.parsed()
        begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
        return [begins.timestamp(), ends.timestamp(), failures]

    first = authority.client("node-a", begins=-3 * DAY, ends=5 * DAY)
    first.write(tmp_path, "node")
    async with agent_of([address], "any", **certificate) as agent:
        assert times() == expected(first, 0)
        (tmp_path / "node.crt").write_text("no certificate")
        await eventually(lambda: times() == expected(first, 1))
        second = authority.client("node-a", begins=-1 * DAY, ends=9 * DAY)
        second.write(tmp_path, "node")
        await eventually(lambda: times()[:2] == expected(second, 1)[:2])


async def test_a_new_certificate_is_shown(
    folder_fleet: Fleet,
    authority: Authority,
    tmp_path: Path,
    fill: Fill,
    tenant: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A certificate that was replaced is used for new connections, without a restart."""
    monkeypatch.setattr("holdfast.service.agent.upstreams.LOOK", 0.05)
    address = await tls_address(folder_fleet, authority, tmp_path)
    plain, body = await folder_fleet.frontend(), fill(100)
    certificate = shown(authority, tmp_path, "node-first")
    async with agent_of([address], "any", **certificate) as agent:
        await agent.tenant.commit("ref", body)
        shown(authority, tmp_path, f"node-{tenant}")

        async def held() -> bool:
            await agent.tenant.info(sha256(body))
            return bool(await plain.tenant(tenant).list())

        await eventually(held)
