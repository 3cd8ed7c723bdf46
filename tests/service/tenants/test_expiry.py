"""Who is marked missing, who waits, who is dropped, and who is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from holdfast.errors import Unavailable
from holdfast.service.holdings.presence import BELIEVED, LONGEST_ANSWER
from holdfast.service.tenants.expiry import LEAST_GRACE, Expiry, ExpiryOutcome, Rules, Verdict
from holdfast.service.tenants.gone import Gone
from holdfast.storage.keys import missing_key, seen_key
from holdfast.storage.records import new_nonce
from holdfast.storage.sightings import Sightings
from tests.service.collector.world import World
from tests.stores.counting import CountingStore
from tests.stores.memory import MemoryStore

DAY = 24 * 3600.0
RULES = Rules(grace=DAY, unseen_for=30 * DAY)


class Place:
    """A store with tenants, a clock that is moved, and who was dropped."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.store = CountingStore(self.memory)
        self.world = World(self.store)
        self.sightings = Sightings(self.store, new_nonce)
        self.dropped: list[str] = []
        self.returns = False
        self.found = False
        self.fails = False

    def tenant(self, name: str, *, seen: bool = True) -> None:
        """One that holds something."""
        self.world.commit(name, b"layer")
        if seen:
            self.sightings.touch(name)

    def wait(self, days: float) -> None:
        """Time passes."""
        self.memory.time += days * DAY

    async def give_up(self, tenant: str, gone: Gone) -> bool:
        if self.fails:
            raise Unavailable("Redis is away")
        if self.returns:
            self.sightings.touch(tenant)
        if self.found:
            self.sightings.find(tenant)
        if not gone():
            return False
        self.dropped.append(tenant)
        return True

    async def look(self, rules: Rules = RULES, *, apply: bool = True) -> list[ExpiryOutcome]:
        give_up = self.give_up if apply else None
        expiry = Expiry(self.store, self.sightings, rules, give_up)
        return [outcome async for outcome in expiry.look()]

    async def verdicts(self, rules: Rules = RULES, *, apply: bool = True) -> Mapping[str, Verdict]:
        return {outcome.tenant: outcome.verdict for outcome in await self.look(rules, apply=apply)}


@pytest.fixture
def place() -> Place:
    return Place()


def test_between_two_looks() -> None:
    """The shortest wait is twice what a promise to a tenant can rest on its last sighting."""
    assert LEAST_GRACE / 2 >= BELIEVED + LONGEST_ANSWER


async def test_two_looks(place: Place) -> None:
    """Unseen for long: marked at one look, dropped at one that is the grace later, not before."""
    place.tenant("old")
    place.wait(29.9)
    place.tenant("young")
    assert await place.verdicts() == {"old": Verdict.KEPT, "young": Verdict.KEPT}
    place.wait(0.2)
    [old, young] = await place.look()
    assert (old.verdict, young.verdict) == (Verdict.MISSING, Verdict.KEPT)
    place.wait(0.9)
    [waiting, _] = await place.look()
    assert (waiting.verdict, waiting.due_at) == (Verdict.WAITING, old.due_at)
    assert place.dropped == []
    place.wait(0.1)
    assert await place.verdicts() == {"old": Verdict.DROPPED, "young": Verdict.KEPT}
    assert place.dropped == ["old"]
    assert place.sightings.missing("old") is None


async def test_a_rehearsal_writes_nothing(place: Place) -> None:
    """Without --apply it says what would be done, however often and late it is asked."""
    place.tenant("old")
    for _ in range(3):
        place.wait(31)
        assert await place.verdicts(apply=False) == {"old": Verdict.MISSING}
    await place.look()
    before = place.memory.copy()
    place.wait(2)
    place.store.calls.clear()
    assert await place.verdicts(apply=False) == {"old": Verdict.DROPPED}
    place.sightings.touch("old")
    place.store.calls.clear()
    assert await place.verdicts(apply=False) == {"old": Verdict.FOUND}
    assert not {"put", "delete"} & set(place.store.operations())
    assert place.dropped == []
    missing = place.sightings.missing("old")
    assert missing is not None
    assert before.get(missing_key("old")).entry.etag == missing.etag


async def test_whoever_was_seen_isnt_missing(place: Place) -> None:
    """A tenant seen after its mark is kept; unseen again, it is marked anew and waits anew."""
    place.tenant("a")
    place.wait(31)
    await place.look()
    place.sightings.touch("a")
    place.wait(5)
    assert await place.verdicts() == {"a": Verdict.FOUND}
    assert await place.verdicts() == {"a": Verdict.KEPT}
    place.wait(31)
    assert await place.verdicts() == {"a": Verdict.MISSING}
    assert place.dropped == []


async def test_a_mark_of_before_doesnt_count(place: Place) -> None:
    """Seen after its mark and unseen for long since, with no look in between: marked anew."""
    place.tenant("a")
    place.wait(31)
    await place.look()
    place.sightings.touch("a")
    place.wait(31)
    assert await place.verdicts() == {"a": Verdict.MISSING}
    place.wait(0.9)
    assert await place.verdicts() == {"a": Verdict.WAITING}
    place.wait(0.1)
    assert await place.verdicts() == {"a": Verdict.DROPPED}


async def test_never_seen(place: Place) -> None:
    """A tenant that nobody noted counts as unseen from when it was first missed."""
    place.tenant("a", seen=False)
    assert await place.verdicts() == {"a": Verdict.MISSING}
    place.wait(29.9)
    assert await place.verdicts() == {"a": Verdict.WAITING}
    place.sightings.touch("a")
    assert await place.verdicts() == {"a": Verdict.FOUND}
    place.world.commit("b", b"layer")
    assert (await place.verdicts())["b"] is Verdict.MISSING
    place.wait(30)
    assert (await place.verdicts())["b"] is Verdict.DROPPED


async def test_a_list_of_who_exists(place: Place) -> None:
    """Who isn't on the list is marked and dropped later; who is on it at either look is kept."""
    rules = Rules(grace=DAY, existing=frozenset({"here"}))
    for name in ("here", "gone", "back"):
        place.tenant(name)
    assert await place.verdicts(rules) == {
        "here": Verdict.KEPT,
        "gone": Verdict.MISSING,
        "back": Verdict.MISSING,
    }
    place.wait(1)
    later = replace(rules, existing=frozenset({"here", "back"}))
    assert await place.verdicts(later) == {
        "here": Verdict.KEPT,
        "gone": Verdict.DROPPED,
        "back": Verdict.FOUND,
    }
    assert place.dropped == ["gone"]
    # It was missed anew only: a single look later doesn't drop it.
    assert (await place.verdicts(rules))["back"] is Verdict.MISSING


async def test_not_on_the_list_but_seen(place: Place) -> None:
    """Who isn't on the list and still asks for something is never dropped."""
    rules = Rules(grace=DAY, existing=frozenset({"here"}))
    place.tenant("a")
    for _ in range(4):
        assert await place.verdicts(rules) == {"a": Verdict.MISSING}
        place.wait(1)
        place.sightings.touch("a")
    assert place.dropped == []


async def test_both_conditions(place: Place) -> None:
    """Asked for both, only who is neither listed nor was seen lately is missed."""
    rules = replace(RULES, existing=frozenset({"listed"}))
    for name in ("listed", "unseen"):
        place.tenant(name)
    place.wait(31)
    place.tenant("seen")
    assert await place.verdicts(rules) == {
        "listed": Verdict.KEPT,
        "seen": Verdict.KEPT,
        "unseen": Verdict.MISSING,
    }


async def test_a_damaged_mark(place: Place) -> None:
    """A mark that can't be read is made anew, and counts from then."""
    place.tenant("a")
    place.wait(31)
    place.store.put(missing_key("a"), b"{")
    assert await place.verdicts() == {"a": Verdict.MISSING}
    place.wait(1)
    assert await place.verdicts() == {"a": Verdict.DROPPED}


async def test_patterns(place: Place) -> None:
    """Tenants that aren't concerned aren't looked at."""
    for name in ("node-1", "node-2", "builder"):
        place.tenant(name)
    place.wait(31)
    rules = replace(RULES, only=("node-*", "x"), keep=("*-2",))
    assert await place.verdicts(rules) == {"node-1": Verdict.MISSING}


async def test_who_holds_nothing(place: Place) -> None:
    """Tenants without holds are left alone: there is nothing to give up."""
    place.sightings.touch("a")
    place.wait(31)
    assert await place.verdicts() == {}


async def test_back_at_the_last_moment(place: Place) -> None:
    """One that comes back while it is dropped is told of, and keeps its mark until it is found."""
    place.tenant("a")
    place.wait(31)
    await place.look()
    place.wait(1)
    place.returns = True
    assert await place.verdicts() == {"a": Verdict.RETURNED}
    assert place.dropped == []
    assert await place.verdicts() == {"a": Verdict.FOUND}


async def test_found_by_another_at_the_last_moment(place: Place) -> None:
    """A tenant whose mark another expiry takes away isn't dropped by that mark any more."""
    place.tenant("a")
    place.wait(31)
    await place.look()
    place.wait(1)
    place.found = True
    assert await place.verdicts() == {"a": Verdict.RETURNED}
    assert place.dropped == []


async def test_what_fails(place: Place) -> None:
    """A tenant that can't be dropped is told of, with the reason, and the others are looked at."""
    for name in ("a", "b"):
        place.tenant(name)
    place.wait(31)
    await place.look()
    place.wait(1)
    place.fails = True
    outcomes = await place.look()
    assert [(o.verdict, o.why) for o in outcomes] == [(Verdict.FAILED, "Redis is away")] * 2
    place.fails = False
    assert set((await place.verdicts()).values()) == {Verdict.DROPPED}


async def test_two_at_once(place: Place) -> None:
    """Where another expiry has marked a tenant meanwhile, its mark counts, with its time."""
    place.tenant("a")
    place.wait(31)

    def other(operation: str, key: str) -> None:
        if operation == "put" and key == missing_key("a"):
            place.store.before = lambda *_: None
            assert place.sightings.miss("a", place.sightings.token("a"), None)

    place.store.before = other
    assert await place.verdicts() == {"a": Verdict.MISSING}
    place.wait(1)
    assert await place.verdicts() == {"a": Verdict.DROPPED}


async def test_requests(place: Place) -> None:
    """Tenants that are there cost one short listing each, and one for all sightings."""
    for number in range(20):
        place.tenant(f"t{number}")
    place.store.calls.clear()
    await place.look()
    assert place.store.operations() == ["list"] * len(place.store.calls)
    assert len(place.store.calls) == 20 + 1 + 1
    assert seen_key("t1") not in {key for _, key in place.store.calls}
