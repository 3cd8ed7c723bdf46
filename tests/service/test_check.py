"""`holdfast check` against frontends: it does all that a client does, and leaves nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from holdfast.cli.app import app
from holdfast.client.writer import Writer
from holdfast.service.listeners import parse
from tests.servers.authority import Authority
from tests.service.fleet import Fleet, Frontend

SIZE = 20 * 2**20 + 7
"""More than two parts, so that some are stored before the break and some aren't."""


def address_of(frontend: Frontend) -> str:
    """Where a frontend's plain listener is."""
    return f"127.0.0.1:{frontend.port}"


async def check(address: str, *options: str) -> Result:
    """Runs the command in a thread."""
    command = ["check", "--address", address, "--size", str(SIZE), *options]
    return await asyncio.to_thread(partial(CliRunner().invoke, app, command))


async def test_it_leaves_nothing(fleet: Fleet, tenant: str) -> None:
    """It writes, breaks off, resumes, reads and removes, and the tenant has nothing afterwards."""
    frontend = await fleet.frontend()
    done = await check(address_of(frontend), "--tenant", tenant, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["ok"]
    assert [step["step"] for step in found["steps"]] == ["written", "resumed", "read", "removed"]
    assert await frontend.tenant(tenant).list() == []
    assert list(await frontend.tenant(tenant).statuses()) == []


async def test_through_several_frontends(folder_fleet: Fleet, tenant: str) -> None:
    """What one frontend was sent, another continues: each connection has the other one."""
    first, second = await folder_fleet.frontend(), await folder_fleet.frontend()
    done = await check(",".join(map(address_of, (first, second))), "--tenant", tenant)
    assert done.exit_code == 0, done.output
    assert "resumed: at" in done.stdout
    assert "All of it works." in done.stdout


async def test_over_tls_with_another_header(
    folder_fleet: Fleet, tmp_path: Path, tenant: str
) -> None:
    """With a certificate that the listener asks for, and a header of the listener's own."""
    authority = Authority()
    cert, key = authority.server().write(tmp_path)
    ca = authority.write(tmp_path)
    frontend = await folder_fleet.frontend()
    where = f"tls://127.0.0.1:0?cert={cert}&key={key}&client-ca={ca}&tenant-header=x-team"
    address = f"127.0.0.1:{await frontend.servers.listen(parse(where))}"
    mine = tmp_path / "mine"
    mine.mkdir()
    own_cert, own_key = authority.client().write(mine)
    shown = ["--ca", str(ca), "--cert", str(own_cert), "--key", str(own_key)]
    done = await check(address, "--tenant", tenant, "--tenant-header", "x-team", *shown)
    assert done.exit_code == 0, done.output
    refused = await check(address, "--tenant", tenant, *shown)
    assert refused.exit_code != 0
    assert "x-team" in refused.output


async def test_a_store_that_keeps_nothing(
    folder_fleet: Fleet, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that has lost what was sent before the break fails the check, which tidies up."""
    frontend = await folder_fleet.frontend()
    whole: Callable[[Writer], None] = Writer.close

    def forgotten(writer: Writer) -> None:
        writer.abort()

    monkeypatch.setattr(Writer, "close", forgotten)
    done = await check(address_of(frontend), "--tenant", tenant)
    monkeypatch.setattr(Writer, "close", whole)
    assert done.exit_code == 5, done.output
    assert "the store continues at 0" in done.output
    assert list(await frontend.tenant(tenant).statuses()) == []


async def test_who_may_only_read(folder_fleet: Fleet, unique: str) -> None:
    """A client that may not write is told so, and the check fails."""
    frontend = await folder_fleet.frontend()
    where = f"tcp://127.0.0.1:0?tenant={unique}&role=reader"
    address = f"127.0.0.1:{await frontend.servers.listen(parse(where))}"
    done = await check(address)
    assert done.exit_code == 1
    assert "reader" in done.output
