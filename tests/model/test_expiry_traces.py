"""What expiries and the frontends of returning tenants request is what model D allows."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from grpc import StatusCode

from holdfast.service.collector.assembly import CollectorOptions, tools
from holdfast.service.collector.ingests import give_up
from holdfast.service.collector.report import CollectionReport
from holdfast.service.settings import Settings
from holdfast.service.tenants.expiry import Expiry, Rules, Verdict
from holdfast.service.tenants.gone import Gone
from holdfast.storage.holds import Holds
from holdfast.storage.keys import HOLDS, hold_digest, missing_key, uuid7
from holdfast.storage.records import new_nonce
from holdfast.storage.sightings import Sightings
from tests.model.breakages import never_confirm
from tests.model.expiry_breakages import (
    believe_anything,
    forget_the_mark,
    look_first,
    never_announce,
    never_look,
    never_note,
    only_unmark,
    take_back_late,
)
from tests.model.expiry_model import DUE, ExpiryModel, ExpiryWorld
from tests.model.expiry_programs import UNREADABLE, ExpiryRules, ask, expire, find
from tests.model.programs import Call, Request
from tests.model.protocol import Faults, Step
from tests.model.recording import Lose, Made, RecordingStore, losing
from tests.model.traces import of_an_expiry, refusal
from tests.service.collector.world import AGES
from tests.service.fleet import Fleet, refused, sha256

RULES = ExpiryRules()
Patch = pytest.MonkeyPatch
Fill = Callable[[str], bytes]
Break = Callable[[Patch], None]
UNKNOWN_TO_REDIS = DUE._replace(entry=False)


@dataclass(frozen=True)
class Back(ExpiryModel):
    """The tenant is back as soon as a change is announced, or a hold marked; or its mark is bad."""

    when: str = ""

    def _head_seen(self, world: ExpiryWorld, request: Request) -> Step:
        back = {"announced": world.changes, "marked": world.marks}.get(self.when)
        return ("B", world) if back else super()._head_seen(world, request)

    def _get_missing(self, world: ExpiryWorld, request: Request) -> Step:
        if self.when == "damaged":
            return (UNREADABLE, world)
        return super()._get_missing(world, request)


class Place:
    """A tenant that holds a digest, and an expiry whose requests are recorded."""

    def __init__(self, fleet: Fleet, recording: RecordingStore, tenant: str, patch: Patch) -> None:
        self.fleet, self.recording, self.tenant, self.patch = fleet, recording, tenant, patch
        self.sightings = Sightings(fleet.store, new_nonce)
        self.breaks: Break | None = None
        recording.sightings = True

    async def furnish(self, data: bytes, *, holds: int = 1, missed: bool = True) -> None:
        """A hold or two, a sighting, and a mark that names it."""
        await (await self.fleet.frontend()).tenant(self.tenant).commit("ref", data)
        store = Holds(self.fleet.store, uuid7, new_nonce)
        for _ in range(holds - 1):
            [group] = store.groups(self.tenant)
            [named] = store.find(self.tenant, hold_digest(group[0].key))
            store.make(self.tenant, named.hold)
        if missed:
            self.sightings.miss(self.tenant, self.sightings.token(self.tenant), None)

    def start(self) -> None:
        """Breaks the code, if the test wants that, and records its requests from now on."""
        if self.breaks:
            self.breaks(self.patch)
        self.recording.watch_redis(self.patch)
        self.recording.made.clear()

    @asynccontextmanager
    async def dropping(self) -> AsyncIterator[Any]:
        """The `give_up` of everything that a tenant has."""
        settings = Settings(**{**self.fleet.settings, "threads": 4})
        report, stop = CollectionReport(dry_run=False), threading.Event()
        async with tools(settings, self.recording, self.fleet.redis_url, AGES, stop=stop) as opened:
            with opened.run(AGES, report, CollectorOptions()) as run:

                async def give(tenant: str, gone: Gone) -> bool:
                    return await give_up(run, opened.knowledge, tenant, gone)

                yield give

    async def look(self, *, misses: bool = True, grace: float = 0.0) -> Verdict:
        """One look of an expiry, recorded."""
        existing = frozenset({"nobody"} if misses else {self.tenant})
        sightings = Sightings(self.recording, new_nonce)
        async with self.dropping() as give:
            self.start()
            expiry = Expiry(self.recording, sightings, Rules(grace, existing=existing), give)
            [outcome] = [outcome async for outcome in expiry.look()]
        return outcome.verdict

    def refused(self, model: ExpiryModel, call: Call) -> str | None:
        """Model D's objection to what was recorded; which tenants have holds is left out."""
        made: Iterable[Made] = [one for one in self.recording.made if one.name != HOLDS]
        assert made
        return refusal(model, call, made, of_an_expiry)


@pytest.fixture
def place(fleet: Fleet, recording: RecordingStore, tenant: str, monkeypatch: Patch) -> Place:
    """The setting of an expiry."""
    return Place(fleet, recording, tenant, monkeypatch)


def world(start: ExpiryWorld = UNKNOWN_TO_REDIS, *, holds: int = 1, back: str = "") -> Back:
    """Model D as it is, with one hold or two."""
    names = frozenset({"old", "other"} if holds == 2 else {"old"})
    return Back(RULES, [], Faults(), start._replace(holds=names), back)


@pytest.mark.parametrize("holds", [1, 2])
@pytest.mark.parametrize(
    "lost",
    [
        None,
        Made("run", "change_begin"),
        Made("put", "mark"),
        Made("run", "change_confirm"),
        Made("delete", "hold"),
        Made("delete", "mark"),
        Made("run", "change_end"),
        Made("delete", "missing"),
    ],
)
@pytest.mark.parametrize("what", ["request", "reply"])
async def test_a_drop(place: Place, fill: Fill, lost: Made | None, what: str, holds: int) -> None:
    """A drop is announced, marks all holds, asks whether the tenant is back, and deletes."""
    await place.furnish(fill("inline"), holds=holds)
    if lost:
        place.recording.lose = losing(lost, what)
    verdict = await place.look()
    assert verdict is (Verdict.FAILED if lost else Verdict.DROPPED)
    assert place.refused(world(holds=holds), Call(expire, (RULES, "1"))) is None


def returning(place: Place, when: str) -> Lose:
    """The tenant is seen once a change is announced, or a hold marked."""
    first = Made("run", "change_begin") if when == "announced" else Made("put", "mark")

    def hook(made: Made) -> str:
        if made.like(first):
            place.sightings.touch(place.tenant)
        return ""

    return hook


@pytest.mark.parametrize("holds", [1, 2])
@pytest.mark.parametrize("when", ["announced", "marked"])
async def test_a_return(place: Place, fill: Fill, when: str, holds: int) -> None:
    """If a tenant is back, nothing is marked, or a new hold is confirmed before marked ones go."""
    await place.furnish(fill("inline"), holds=holds)
    place.recording.lose = returning(place, when)
    assert await place.look() is Verdict.RETURNED
    made_one = any(made.like(Made("put", "hold", "IfAbsent")) for made in place.recording.made)
    assert made_one is (when == "marked")
    assert place.refused(world(holds=holds, back=when), Call(expire, (RULES, "1"))) is None


@pytest.mark.parametrize("before", ["", "outdated", "young", "damaged"])
async def test_a_first_look(place: Place, fill: Fill, before: str) -> None:
    """Without a mark, or with one that is bad or names another sighting: marked; or it waits."""
    await place.furnish(fill("inline"), missed=bool(before))
    start = UNKNOWN_TO_REDIS._replace(missing=None)
    if before and DUE.missing:
        start = start._replace(missing=DUE.missing._replace(age=0))
    if before == "outdated":
        place.sightings.touch(place.tenant)
        start = start._replace(seen="B")
    if before == "damaged":
        place.fleet.store.put(missing_key(place.tenant), b"{")
    verdict = await place.look(grace=1000.0)
    assert verdict is (Verdict.WAITING if before == "young" else Verdict.MISSING)
    model = world(start, back="damaged" if before == "damaged" else "")
    assert place.refused(model, Call(expire, (RULES, "1"))) is None


async def test_a_find(place: Place, fill: Fill) -> None:
    """A tenant that is found loses its mark `missing`, and nothing else."""
    await place.furnish(fill("inline"))
    assert await place.look(misses=False) is Verdict.FOUND
    assert place.refused(world(), Call(find, (RULES, "1"))) is None


async def answer(place: Place, data: bytes, lost: str, *, missed: bool) -> str | None:
    """Info through a new frontend, whose sighting may be lost; why model D refuses it."""
    await place.furnish(data, missed=missed)
    client = (await place.fleet.frontend(place.recording)).tenant(place.tenant)
    place.start()
    if lost:
        place.recording.lose = losing(Made("put", "seen"), lost)
    if (lost, missed) == ("request", True) and place.breaks is None:
        await refused(StatusCode.UNAVAILABLE, client.info(sha256(data)))
    else:
        await client.info(sha256(data))
    start = UNKNOWN_TO_REDIS if missed else UNKNOWN_TO_REDIS._replace(missing=None)
    return place.refused(world(start), Call(ask, (RULES, "f", "1", "isolated")))


@pytest.mark.parametrize("missed", [True, False])
@pytest.mark.parametrize("lost", ["", "request", "reply"])
async def test_an_answer(place: Place, fill: Fill, lost: str, missed: bool) -> None:
    """A sighting is confirmed, or the mark is looked for, and then the holds are looked up."""
    assert await answer(place, fill("inline"), lost, missed=missed) is None


BROKEN: dict[str, tuple[Break, str]] = {
    "no look at the tenant": (never_look, ""),
    "the mark isn't looked at": (forget_the_mark, ""),
    "the look before the marks": (look_first, "marked"),
    "not announced": (never_announce, ""),
    "not seen to be announced": (never_confirm, ""),
    "a new hold after the old ones are gone": (take_back_late, "marked"),
    "marks that are simply removed": (only_unmark, "marked"),
    "nothing noted before the answer": (never_note, "answer"),
    "a failed sighting that counts": (believe_anything, "lost"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_code_is_refused(place: Place, fill: Fill, name: str) -> None:
    """Code that asks in a wrong order, or doesn't ask, isn't what model D allows."""
    place.breaks, scene = BROKEN[name]
    if scene in {"answer", "lost"}:
        lost = "request" if scene == "lost" else ""
        assert await answer(place, fill("inline"), lost, missed=True)
        return
    await place.furnish(fill("inline"))
    if scene:
        place.recording.lose = returning(place, scene)
    await place.look()
    assert place.refused(world(back=scene), Call(expire, (RULES, "1")))
