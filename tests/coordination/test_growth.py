"""What commits add to the fleet: each byte once, whatever reply is lost or report forgotten."""

from __future__ import annotations

import pytest

from holdfast.coordination.growth import Growth, GrowthMark
from holdfast.coordination.keys import GROWTH, reported
from holdfast.storage.records import new_nonce
from tests.coordination.fleet import Frontend


def growth(one: Frontend, process: str = "1") -> Growth:
    """The counter in its Redis, as one process reports to it."""
    return Growth(one.scripts, f"{one.tenant}-{process}", new_nonce)


def since(before: GrowthMark, now: GrowthMark) -> int:
    """What was added between two marks of one counter."""
    assert before.name == now.name
    return now.bytes - before.bytes


async def test_reports(one: Frontend) -> None:
    """What processes report is added up, and a total that was reported before adds nothing."""
    first, second = growth(one), growth(one, "2")
    before = await first.mark()
    await first.report(10, 0)
    await first.report(10, 0)
    await second.report(5, 0)
    assert since(before, await first.report(12, 10)) == 17
    assert since(before, await second.mark()) == 17


async def test_a_report_that_comes_late(one: Frontend) -> None:
    """A report whose first sending arrives after the next one changes nothing, now or later."""
    book = growth(one)
    before = await book.mark()
    await book.report(12, 0)
    await book.report(10, 0)
    assert since(before, await book.mark()) == 12
    assert since(before, await book.report(15, 12)) == 15
    assert await one.client.pttl(reported(f"{one.tenant}-1")) > 0


@pytest.mark.parametrize("written", [str(2**63 - 1), "-5", "1e9", "many"])
async def test_what_is_no_sum_of_reports(alone: Frontend, written: str) -> None:
    """A sum that something else has written can't stop frontends from reporting for good."""
    book = growth(alone)
    before = await book.report(10, 0)
    await alone.client.hset(GROWTH, "bytes", written)
    after = await book.report(12, 10)
    assert after.bytes == 2
    assert after.name != before.name
    assert (await growth(alone, "2").mark()).bytes == 2


async def test_a_forgotten_report(one: Frontend) -> None:
    """If Redis has forgotten what a process had reported, only what is new is added."""
    book = growth(one)
    before = await book.mark()
    await book.report(10, 0)
    assert await one.client.pttl(reported(f"{one.tenant}-1")) > 0
    await one.client.delete(reported(f"{one.tenant}-1"))
    assert since(before, await book.report(13, 10)) == 13


async def test_a_lost_counter(one: Frontend) -> None:
    """After Redis has lost its data the counter begins at 0, under another name."""
    book = growth(one)
    before = await book.report(2**60, 0)
    assert before.bytes >= 2**60
    await one.client.delete(GROWTH, reported(f"{one.tenant}-1"))
    after = await book.report(3, 0)
    assert after.bytes == 3
    assert after.name != before.name
    assert await one.client.pttl(GROWTH) > 0
