"""Programs that run from time to time, and don't: the alert, its panel, its runbook, its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.alerts.incident import PATIENCE, Site, site, spoil
from tests.servers.s3 import S3Server
from tests.service.fleet import sha256
from tests.service.processes import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 2**20
SHORT: Final = {"for: 24h": "for: 1m", "for: 12h": "for: 1m"}


async def runs(watched: Site, *command: str, code: int = 0) -> None:
    """Runs a command with the frontend's settings, which must end with a code."""
    async with asyncio.timeout(PATIENCE):
        done = await asyncio.to_thread(run, *command, **watched.settings)
    assert done.returncode == code, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("alert", "command", "days"),
    [
        ("HoldfastScrubLate", ["scrub"], 35),
        ("HoldfastExpiryLate", ["tenants", "expire", "--apply", "--unseen-for", "30d"], 4),
    ],
)
async def test_no_run_succeeds(
    moto: S3Server, tmp_path: Path, unique: str, alert: str, command: list[str], days: int
) -> None:
    """A program has succeeded once, and then for too long not."""
    soon = {**SHORT, f"> {days} * 86400": "> 15"}
    async with site(moto, tmp_path, unique, soon) as watched:
        await runs(watched, *command)
        await watched.rest(alert)
        await watched.fires(alert)
        await watched.confirm(alert)
        await runs(watched, *command)
        await watched.rests(alert)


async def test_a_scrub_finds_damage(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """A scrub finds a bit that has flipped, and one after it that the blob was pushed again."""
    alert, data, file = "HoldfastScrubFoundDamage", unique.encode() * MIB, tmp_path / "pushed"
    file.write_bytes(data)
    async with site(moto, tmp_path, unique) as watched:
        watched.words["FILE"] = str(file)
        await watched.client.commit("ref", data)
        await runs(watched, "scrub")
        await watched.rest(alert)
        await asyncio.to_thread(spoil, moto, unique, sha256(data))
        await runs(watched, "scrub", "--json", code=1)
        await watched.fires(alert)
        await watched.follow("HoldfastDamage", "What to do")
        await runs(watched, "scrub")
        await watched.rests(alert)


async def test_reports_are_not_read(moto: S3Server, tmp_path: Path, unique: str) -> None:
    """The store fails whenever reports are read, and then not."""
    alert = "HoldfastReportsUnread"
    async with site(moto, tmp_path, unique, {"> 900": "> 6"}) as watched:
        await runs(watched, "gc")
        await watched.rest(alert)
        watched.store.fault = "error"
        await watched.fires(alert)
        watched.store.fault = ""
        await watched.rests(alert)
