"""Bounds reached, and files that can't be used: the alert, its panel, its runbook, its end."""

from __future__ import annotations

import asyncio
import os
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from holdfast.protos import content_pb2 as pb
from tests.alerts.incident import Site, meanwhile, site
from tests.servers.authority import DAY, Authority
from tests.servers.disk import small_disk
from tests.servers.process import free_port
from tests.servers.s3 import S3Server
from tests.service.fleet import HEADER, Tenant, sha256

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 2**20
OPERATORS = '[[rules]]\nname = "operators"\nuid = [{uid}]\nrole = "operator"\n'


async def collect(watched: Site) -> None:
    """Runs a collection, which counts what the fleet holds."""
    await watched.follow("HoldfastCollectorLate", "What to do")


async def test_too_much_is_under_way(
    moto: S3Server, tmp_path: Path, socket_folder: Path, unique: str
) -> None:
    """Two clients keep all streams that are admitted, and others are refused."""
    alert, operators = "HoldfastRefuses", f"unix://{socket_folder / 'operators'}"
    rules = tmp_path / "identities"
    rules.write_text(OPERATORS.format(uid=os.getuid()))
    listen = f"tcp://127.0.0.1:{free_port()}?tenant-header={HEADER},{operators}?identities=1"
    settings: dict[str, Any] = {"listen": listen, "identities": str(rules), "max_streams": 2}
    async with site(moto, tmp_path, unique, **settings) as watched:
        watched.operators = operators
        await watched.rest(alert)
        streams = [watched.client.write(f"kept-{number}") for number in range(2)]
        for stream in streams:
            await stream.send(pb.STAT, total=5)
        async with watched.busy():
            await watched.fires(alert)
            await watched.confirm(alert)
        for stream in streams:
            stream.cancel()
        await watched.rests(alert)


async def test_buffers_are_full(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """Clients send more than a slow store takes."""
    alert = "HoldfastBuffersFull"
    async with site(moto, tmp_path, unique, buffer_budget="32MiB") as watched:
        await watched.rest(alert)
        async with watched.busy(20 * MIB, clients=6):
            watched.store.fault = "slow"
            await watched.fires(alert)
            await watched.confirm(alert)
            watched.store.fault = ""
        await watched.rests(alert)


async def test_the_fleet_is_nearly_full(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """A tenant commits most of what the fleet may hold, and deletes it again."""
    alert, data = "HoldfastFleetNearBound", unique.encode() * (3900 * 1024 // len(unique))
    async with site(moto, tmp_path, unique, fleet_bytes="4MiB") as watched:
        await watched.client.commit("small", unique.encode() * 10_000)
        await collect(watched)
        await watched.rest(alert)
        await watched.client.commit("ref", data)
        await collect(watched)
        await watched.fires(alert)
        await watched.confirm(alert)
        await watched.client.delete(sha256(data))
        await collect(watched)
        await watched.rests(alert)


async def test_a_certificate_is_refused(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """A certificate is replaced by what is none, and then by another one."""
    alert, authority = "HoldfastCertificateRefused", Authority()
    cert, key = authority.server().write(tmp_path)
    listen = f"tcp://127.0.0.1:{free_port()}?tenant-header={HEADER},"
    listen += f"tls://127.0.0.1:{free_port()}?cert={cert}&key={key}"
    listen += f"&tenant=t-{unique}&client-ca={authority.write(tmp_path)}"
    # The file is looked at every 5 s, and not more often in this test.
    failures = "holdfast_certificate_reload_failures_total"
    slower = {f"{failures}[10m]": f"{failures}[30m]"}
    async with site(moto, tmp_path, unique, slower, listen=listen) as watched:
        await watched.rest(alert)
        cert.write_text("no certificate")
        await watched.fires(alert)
        assert watched.served.event("certificate not reloaded; the last one stays in use")
        authority.server(ends=30 * DAY).write(tmp_path)
        await watched.rests(alert)
        assert watched.served.event("certificate reloaded")


@pytest.mark.parametrize("kind", ["quotas", "identities"])
async def test_rules_are_refused(moto: S3Server, tmp_path: Path, unique: str, kind: str) -> None:
    """A file of quotas or of rules is changed for the worse, and mended."""
    alert, authority, file = "HoldfastRulesRefused", Authority(), tmp_path / kind
    cert, key = authority.server().write(tmp_path)
    well = '[[rules]]\nname = "nodes"\ncn = "node-(.+)"\n' if kind == "identities" else ""
    file.write_text(well)
    listen = f"tcp://127.0.0.1:{free_port()}?tenant-header={HEADER}"
    if kind == "identities":
        listen += f",tls://127.0.0.1:{free_port()}?cert={cert}&key={key}"
        listen += f"&identities=1&client-ca={authority.write(tmp_path)}"
    settings: dict[str, Any] = {"listen": listen, kind: str(file)}
    async with site(moto, tmp_path, unique, **settings) as watched:
        await watched.rest(alert)
        file.write_text("[[")
        await watched.fires(alert)
        file.write_text(well + "\n")
        await watched.rests(alert)


async def test_the_audit_log_is_lost(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """The disk of the audit log is full, and then not."""
    alert = "HoldfastAuditLost"

    async def delete(client: Tenant) -> None:
        for number in count():
            data = f"{unique} {number}".encode()
            await client.commit("ref", data)
            await client.delete(sha256(data))

    with small_disk(tmp_path / "disk", "size=1m") as disk:
        audit = str(disk / "audit.log")
        async with (
            site(moto, tmp_path, unique, audit=audit) as watched,
            meanwhile(delete(watched.client)),
        ):
            watched.words["FOLDER"] = str(disk)
            await watched.rest(alert)
            other = disk / "other"
            with other.open("wb") as file:
                room = os.statvfs(disk)
                await asyncio.to_thread(
                    os.posix_fallocate, file.fileno(), 0, room.f_bavail * room.f_bsize
                )
            await watched.fires(alert)
            await watched.confirm(alert)
            other.unlink()
            await watched.rests(alert)
