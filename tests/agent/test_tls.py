"""Frontends know a node by its certificate, and a node its frontends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.service.listeners import parse
from tests.agent.stage import agent_of
from tests.servers.authority import Authority
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
        async with agent_of([address], tenant, **settings) as agent:
            agent.tenant.deadline = 8.0
            await refused(StatusCode.UNAVAILABLE, agent.tenant.info(sha256(b"")))


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
