"""Announcements of frontends in Redis."""

from __future__ import annotations

import pytest

from holdfast.coordination.announcements import LARGEST, LARGEST_SLOT, SLOTS, Announcements, Slot
from holdfast.coordination.keys import FRONTEND_FIGURES, FRONTEND_HOUR, FRONTENDS
from tests.coordination.fleet import Frontend

ALL = 10_000


async def test_frontends_are_listed_until_they_leave(one: Frontend, unique: str) -> None:
    """Each frontend is listed with what it announced last, and not any more once it has left."""
    announcements = Announcements(one.scripts)
    first, other = f"a/{unique}".encode(), f"b/{unique}".encode()
    await announcements.announce(f"a-{unique}", b"before")
    await announcements.announce(f"a-{unique}", first)
    await announcements.announce(f"b-{unique}", other)
    found = await announcements.listed(ALL)
    assert {first, other} <= set(found)
    assert b"before" not in found
    await announcements.leave(f"a-{unique}")
    found = await announcements.listed(ALL)
    assert first not in found
    assert other in found


async def test_an_announcement_lapses(alone: Frontend, unique: str) -> None:
    """A frontend that announces nothing any more is in no list, and the next one forgets it."""
    announcements, dead = Announcements(alone.scripts), f"dead-{unique}"
    await announcements.announce(f"living-{unique}", b"living")
    await announcements.announce(dead, b"dead")
    await alone.client.zadd(FRONTENDS, {dead: 1})  # as if that had been in 1970
    found = await announcements.listed(ALL)
    assert b"living" in found
    assert b"dead" not in found
    await announcements.announce(f"living-{unique}", b"living")
    assert not await alone.client.hexists(FRONTEND_FIGURES, dead)
    assert await alone.client.zscore(FRONTENDS, dead) is None


async def test_an_announcement_of_the_future(alone: Frontend, unique: str) -> None:
    """One that would count for longer than any does, after the clock was set back, is forgotten."""
    announcements, dead = Announcements(alone.scripts), f"dead-{unique}"
    await announcements.announce(dead, b"ahead")
    await alone.client.zadd(FRONTENDS, {dead: 10**14})
    await announcements.announce(f"living-{unique}", b"living")
    assert b"ahead" not in await announcements.listed(ALL)
    assert not await alone.client.hexists(FRONTEND_FIGURES, dead)


async def test_all_lapse_with_the_last(alone: Frontend, unique: str) -> None:
    """Nothing of frontends stays in Redis for longer than the last one's announcement counts."""
    await Announcements(alone.scripts).announce(f"a-{unique}", b"x")
    for key in (FRONTENDS, FRONTEND_FIGURES):
        assert 0 < await alone.client.pttl(key) <= 15_000


async def test_a_list_is_bounded(alone: Frontend, unique: str) -> None:
    """A list names no more frontends than were asked for."""
    announcements = Announcements(alone.scripts)
    for number in range(3):
        await announcements.announce(f"{number}-{unique}", b"x")
    assert len(await announcements.listed(2)) == 2


async def test_figures_too_large_are_not_read(alone: Frontend, unique: str) -> None:
    """What no frontend of ours can have announced isn't sent to those who ask."""
    announcements = Announcements(alone.scripts)
    most = bytes(LARGEST)
    await announcements.announce(f"a-{unique}", most)
    await announcements.announce(f"b-{unique}", most + b"x")
    found = await announcements.listed(ALL)
    assert most in found
    assert most + b"x" not in found


async def added_up(one: Frontend) -> list[float]:
    """The sums of all slots."""
    members = await one.client.zrange(FRONTEND_HOUR, 0, -1)
    rows = [[float(word) for word in member.split()[1:]] for member in members]
    return [sum(column) for column in zip(*rows, strict=True)]


async def test_the_fleets_hour_is_the_sum(one: Frontend, unique: str) -> None:
    """What frontends announce is added up over all of them, and over the time of which it is."""
    announcements = Announcements(one.scripts, slot_ms=10_000)
    await one.client.delete(FRONTEND_HOUR)
    await announcements.announce(f"a-{unique}", b"1", (100.0, 1.5), 5.0)
    await announcements.announce(f"b-{unique}", b"1", (20.0, 0.0), 5.0)
    await announcements.announce(f"a-{unique}", b"2", (300.0, 0.5), 10.0)
    sums = [100 * 0.5 + 20 * 0.5 + 300 * 1.0, 1.5 * 0.5 + 0.5 * 1.0]
    assert await added_up(one) == pytest.approx(sums)


async def test_announced_twice_counts_once(alone: Frontend, unique: str) -> None:
    """An announcement that is sent again, because its reply was lost, isn't added again."""
    announcements = Announcements(alone.scripts)
    await alone.client.delete(FRONTEND_HOUR)
    for _ in range(2):
        await announcements.announce(f"a-{unique}", b"same", (8.0,), 5.0)
    assert await added_up(alone) == pytest.approx([4.0])


async def test_rates_are_of_the_time_before(alone: Frontend, unique: str) -> None:
    """A slot has what was done within it: the rest of a period counts in the slot before."""
    announcements, width = Announcements(alone.scripts, slot_ms=1000), 1.0
    await alone.client.delete(FRONTEND_HOUR)
    await announcements.announce(f"a-{unique}", b"1", (6.0,), 2 * width)
    rows = [member.split() for member in await alone.client.zrange(FRONTEND_HOUR, 0, -1)]
    assert float(rows[0][1]) == pytest.approx(6.0)  # of the whole slot before
    if len(rows) > 1:  # not in a slot's very first ms
        assert int(rows[1][0]) == int(rows[0][0]) + 1
        assert 0 < float(rows[1][1]) < 6.0


async def test_a_first_announcement_adds_nothing(alone: Frontend, unique: str) -> None:
    """Figures of no period are no part of the hour."""
    await alone.client.delete(FRONTEND_HOUR)
    await Announcements(alone.scripts).announce(f"a-{unique}", b"1", (6.0,), 0.0)
    assert await alone.client.zcard(FRONTEND_HOUR) == 0


async def test_an_hour_and_no_more_is_kept(alone: Frontend, unique: str) -> None:
    """Slots of more than an hour ago, and of the future, are forgotten; all are in the end."""
    announcements = Announcements(alone.scripts)
    seconds, _ = await alone.client.time()
    slot = seconds // 10
    await alone.client.delete(FRONTEND_HOUR)
    given = {f"{slot + by} 1": slot + by for by in (-SLOTS - 1, -SLOTS + 2, -1, 100)}
    await alone.client.zadd(FRONTEND_HOUR, given)
    await announcements.announce(f"a-{unique}", b"1", (1.0,), 0.001)
    kept = {
        int(member.split()[0]) - slot for member in await alone.client.zrange(FRONTEND_HOUR, 0, -1)
    }
    assert {-SLOTS + 2, -1} <= kept
    assert kept <= {-SLOTS + 2, -1, 0, 1}
    assert 0 < await alone.client.pttl(FRONTEND_HOUR) <= 3_600_000


async def test_a_newer_frontends_rates_stay(alone: Frontend, unique: str) -> None:
    """While a fleet is upgraded, frontends that announce less leave what others add alone."""
    announcements = Announcements(alone.scripts)
    await alone.client.delete(FRONTEND_HOUR)
    await announcements.announce(f"new-{unique}", b"1", (1.0, 2.0, 3.0), 10.0)
    await announcements.announce(f"old-{unique}", b"1", (1.0,), 10.0)
    assert await added_up(alone) == pytest.approx([2.0, 2.0, 3.0])


async def test_slots_that_are_over_are_shown(alone: Frontend) -> None:
    """The last hour has the slots that nobody adds to any more, and nothing that isn't one."""
    announcements = Announcements(alone.scripts)
    seconds, _ = await alone.client.time()
    slot = seconds // 10
    await alone.client.delete(FRONTEND_HOUR)
    members = {
        f"{slot} 7": slot,
        f"{slot + 1} 7": slot + 1,
        f"{slot - 3} 2 0.25": slot - 3,
        f"{slot - 9} 1 0.5": slot - 9,
        f"{slot - SLOTS - 9} 7": slot - SLOTS - 9,
        "not a slot": slot - 4,
        f"{slot - 5} nan": slot - 5,
        f"{slot - 6}{' 1' * (LARGEST_SLOT // 2)}": slot - 6,
        "": slot - 7,
    }
    await alone.client.zadd(FRONTEND_HOUR, members)
    assert await announcements.hour() == [
        Slot((slot - 8) * 10.0, (1.0, 0.5)),
        Slot((slot - 2) * 10.0, (2.0, 0.25)),
    ]


async def test_a_slot_settles_before_it_is_shown(alone: Frontend) -> None:
    """As long as frontends may add to a slot that is over, it isn't shown."""
    await alone.client.delete(FRONTEND_HOUR)
    seconds, _ = await alone.client.time()
    await alone.client.zadd(FRONTEND_HOUR, {f"{seconds // 10 - 2} 1": seconds // 10 - 2})
    assert len(await Announcements(alone.scripts, settled_ms=0).hour()) == 1
    assert await Announcements(alone.scripts, settled_ms=60_000).hour() == []
