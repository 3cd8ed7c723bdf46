"""`holdfast doctor` with an agent's settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.checks import Check
from holdfast.service.agent.examination import examine
from holdfast.service.listeners import parse
from holdfast.service.settings import Settings
from tests.servers.authority import DAY, Authority
from tests.servers.process import free_port
from tests.service.fleet import HEADER, Fleet
from tests.service.processes import run


@pytest.fixture
def authority() -> Authority:
    """Who issues all certificates."""
    return Authority()


async def address_of(fleet: Fleet, authority: Authority, folder: Path, also: str = "") -> str:
    """Starts a frontend that takes the tenant from a certificate; returns its address."""
    frontend = await fleet.frontend()
    cert, key = authority.server().write(folder, "frontend")
    ca = authority.write(folder)
    url = f"tls://127.0.0.1:0?cert={cert}&key={key}&client-ca={ca}&cn=node-(.%2B){also}"
    return f"127.0.0.1:{await frontend.servers.listen(parse(url))}"


def node(folder: Path, *addresses: str, **other: Any) -> Settings:
    """An agent's settings: with the files of its certificate, and a socket."""
    files = {
        f"agent_tls_{kind}": str(folder / name)
        for kind, name in {"ca": "ca.crt", "cert": "node.crt", "key": "node.key"}.items()
    }
    chosen = {
        "agent_frontends": list(addresses),
        "listen": [f"unix://{folder}/node.sock?tenant=a"],
        "data_dir": folder,
        "disk_cache_budget": "64MiB",
        **files,
        **other,
    }
    return Settings(**chosen)


async def found(settings: Settings) -> dict[str, Check]:
    """What the doctor finds, by name without addresses."""
    return {one.name.split(" ")[0]: one for one in await examine(settings)}


async def test_all_is_well(folder_fleet: Fleet, authority: Authority, tmp_path: Path) -> None:
    """Frontends, the certificate's end, the disk and the socket are found well, and unchanged."""
    address = await address_of(folder_fleet, authority, tmp_path)
    authority.client("node-a", ends=10 * DAY).write(tmp_path, "node")
    machine = tmp_path / "machine"
    machine.mkdir()
    settings = node(tmp_path, address, data_dir=machine, listen=[f"unix://{machine}/s?tenant=a"])
    checks = await examine(settings)
    assert [(one.name, one.ok) for one in checks] == [
        (f"frontend {address}", True),
        ("certificate of this node", True),
        (f"disk cache {machine}/cache", True),
        *((one.name, True) for one in checks[3:-1]),
        (f"listener unix://{machine}/s?tenant=a", True),
    ]
    assert checks[0].found == "it answers, and lets this node read and write"
    assert "valid until 20" in checks[1].found
    assert not any(machine.iterdir())


async def test_the_certificate(folder_fleet: Fleet, authority: Authority, tmp_path: Path) -> None:
    """A certificate that ends soon is noted; one that has ended, or isn't one, fails."""
    address = await address_of(folder_fleet, authority, tmp_path)
    authority.client("node-a", ends=2 * DAY).write(tmp_path, "node")
    soon = (await found(node(tmp_path, address)))["certificate"]
    assert (soon.ok, soon.essential, soon.advice) == (False, False, "renew it")
    authority.client("node-a", ends=-60.0).write(tmp_path, "node")
    over = await found(node(tmp_path, address))
    assert over["certificate"].essential
    assert over["certificate"].found.startswith("expired at")
    assert (over["frontend"].ok, over["frontend"].essential) == (False, True)
    (tmp_path / "node.crt").write_bytes(b"")
    broken = (await found(node(tmp_path, address)))["certificate"]
    assert (broken.ok, broken.essential) == (False, True)
    assert "node.crt" in broken.found


async def test_who_is_refused(folder_fleet: Fleet, authority: Authority, tmp_path: Path) -> None:
    """A node that matches no rule, or that may only read, is told so in the frontend's words."""
    address = await address_of(folder_fleet, authority, tmp_path)
    authority.client("somebody").write(tmp_path, "node")
    refused = (await found(node(tmp_path, address)))["frontend"]
    assert (refused.ok, refused.essential) == (False, True)
    assert "PERMISSION_DENIED" in refused.found
    reading = await address_of(folder_fleet, authority, tmp_path, "&role=reader")
    authority.client("node-a").write(tmp_path, "node")
    refused = (await found(node(tmp_path, reading)))["frontend"]
    assert (refused.ok, refused.essential) == (False, True)
    assert "reader" in refused.found


async def test_a_frontend_that_is_away(
    folder_fleet: Fleet, authority: Authority, tmp_path: Path
) -> None:
    """A frontend that can't be reached is noted beside one that can, and fails if none can."""
    address = await address_of(folder_fleet, authority, tmp_path)
    authority.client("node-a").write(tmp_path, "node")
    away = f"127.0.0.1:{free_port()}"
    checks = await examine(node(tmp_path, away, address))
    assert [(one.ok, one.essential) for one in checks[:2]] == [(False, False), (True, True)]
    assert "start it" in checks[0].advice
    [alone, *_] = await examine(node(tmp_path, away))
    assert (alone.ok, alone.essential) == (False, True)
    Authority("stranger").write(tmp_path)
    distrusted = (await found(node(tmp_path, address)))["frontend"]
    assert (distrusted.ok, distrusted.essential) == (False, True)
    assert "CERTIFICATE_VERIFY_FAILED" in distrusted.found


async def test_the_tenant_header(folder_fleet: Fleet, tmp_path: Path) -> None:
    """An agent that names its tenant is checked with that name; without the header it fails."""
    frontend = await folder_fleet.frontend()
    port = await frontend.servers.listen(parse(f"tcp://127.0.0.1:0?tenant-header={HEADER}"))
    plain = {f"agent_tls_{kind}": "" for kind in ("ca", "cert", "key")}
    target = f"127.0.0.1:{port}"
    named = await found(node(tmp_path, target, agent_tenant_header=HEADER, **plain))
    assert named["frontend"].found == "it answers, and lets tenant a read and write"
    assert "certificate" not in named
    nameless = (await found(node(tmp_path, target, **plain)))["frontend"]
    assert (nameless.ok, nameless.essential) == (False, True)


async def test_what_an_agent_must_not_have(tmp_path: Path) -> None:
    """Settings that an agent refuses are a finding."""
    [check] = await examine(node(tmp_path, "127.0.0.1:1", s3_bucket="bucket"))
    assert (check.name, check.ok, check.essential) == ("settings", False, True)
    assert "HOLDFAST_S3_BUCKET" in check.found


def test_the_command(tmp_path: Path) -> None:
    """`holdfast doctor` checks an agent where the settings name frontends, and exits with 1."""
    done = run(
        "doctor",
        "--json",
        agent_frontends=f"127.0.0.1:{free_port()}",
        agent_tenant_header=HEADER,
        listen=f"unix://{tmp_path}/node.sock?tenant=a",
        data_dir=tmp_path,
    )
    assert done.returncode == 1, done.stderr
    checks = json.loads(done.stdout)
    assert checks[0]["name"].startswith("frontend 127.0.0.1:")
    assert not any(one["name"].startswith(("Redis", "data folder")) for one in checks)
