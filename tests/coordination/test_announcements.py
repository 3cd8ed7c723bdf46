"""Announcements of frontends in Redis."""

from __future__ import annotations

from holdfast.coordination.announcements import LARGEST, Announcements
from holdfast.coordination.keys import FRONTEND_FIGURES, FRONTENDS
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
