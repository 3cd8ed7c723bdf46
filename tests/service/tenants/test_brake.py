"""An expiry that would go too far does nothing until somebody has said that it is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.service.backends import STORE_FOLDER
from holdfast.service.tenants.brake import DROPPED, FEW, ExpiryBraked
from holdfast.service.tenants.expiry import Expiry, Rules, Verdict
from holdfast.storage.folder import FolderStore
from tests.service.collector.world import World
from tests.service.processes import run
from tests.service.tenants.test_expiry import DAY, RULES, Place
from tests.stores.counting import CountingStore

FLEET = 100
BY_LIST = Rules(grace=DAY, existing=frozenset({"t1"}))


@pytest.fixture
def place() -> Place:
    """A fleet, all of whose tenants are there."""
    place = Place()
    for number in range(FLEET):
        place.tenant(f"t{number}")
    return place


async def age(place: Place, gone: int) -> None:
    """Some of the fleet's tenants go, and are missed by one look."""
    place.wait(31)
    for number in range(gone, FLEET):
        place.sightings.touch(f"t{number}")
    await place.look()
    place.wait(1)


def writes(place: Place) -> set[str]:
    """What has been written since the calls were last forgotten."""
    return {"put", "delete"} & set(place.store.operations())


async def test_few(place: Place) -> None:
    """As many as are replaced in a day are dropped without a word."""
    few = int(DROPPED * FLEET)
    await age(place, few)
    verdicts = list((await place.verdicts()).values())
    assert verdicts.count(Verdict.DROPPED) == len(place.dropped) == few


async def test_too_many(place: Place) -> None:
    """One more, and nothing is dropped, marked or unmarked, however often it runs."""
    await age(place, int(DROPPED * FLEET) + 2)
    place.sightings.touch("t0")  # it is marked, and back
    place.tenant("stranger", seen=False)  # it would be marked
    place.store.calls.clear()
    for _ in range(2):
        with pytest.raises(ExpiryBraked, match=r"6 of 101 tenants .*--accept"):
            await place.look()
    assert place.dropped == []
    assert writes(place) == set()


async def test_accept(place: Place) -> None:
    """With somebody's word they are all dropped."""
    await age(place, FLEET)
    expiry = Expiry(
        place.store,
        place.sightings,
        RULES,
        place.give_up,
        accept=True,
    )
    assert {outcome.verdict async for outcome in expiry.look()} == {Verdict.DROPPED}
    assert len(place.dropped) == FLEET


async def test_another_fleets_list(place: Place) -> None:
    """A list that lacks most tenants marks nobody: it is another fleet's, or half an answer."""
    place.store.calls.clear()
    with pytest.raises(ExpiryBraked, match="doesn't name 99 of 100 tenants"):
        await place.look(BY_LIST)
    assert writes(place) == set()


async def test_a_list_that_lacks_some(place: Place) -> None:
    """A list that lacks fewer than half marks those that it doesn't name."""
    names = frozenset(f"t{number}" for number in range(FLEET // 2))
    verdicts = list((await place.verdicts(replace(BY_LIST, existing=names))).values())
    assert verdicts.count(Verdict.MISSING) == FLEET // 2


async def test_a_small_fleet() -> None:
    """In a small fleet a few may go at once."""
    place = Place()
    for number in range(FEW):
        place.tenant(f"n{number}")
    await place.look(BY_LIST)
    place.wait(1)
    assert set((await place.verdicts(BY_LIST)).values()) == {Verdict.DROPPED}


async def test_a_rehearsal_shows_it(place: Place) -> None:
    """Without --apply it says of each what would become of it, and then that it would stop."""
    await age(place, FLEET)
    expiry = Expiry(place.store, place.sightings, RULES, None)
    looking = expiry.look()
    for _ in range(FLEET):
        assert (await anext(looking)).verdict is Verdict.DROPPED
    with pytest.raises(ExpiryBraked):
        await anext(looking)


def test_the_command(tmp_path: Path) -> None:
    """The command exits with 1, says what it saw and how to go on; with --accept it goes on."""
    store = FolderStore(tmp_path / STORE_FOLDER)
    store.check_access()
    world = World(CountingStore(store))
    for number in range(FEW + 2):
        world.commit(f"node-{number}", b"layer")
    names = tmp_path / "names"
    names.write_text("node-0\n")
    expire = ("tenants", "expire", "--existing", str(names), "--apply")
    done = run(*expire, data_dir=tmp_path)
    assert done.returncode == 1
    assert "doesn't name 4 of 5 tenants" in done.stderr
    assert "--accept" in done.stderr
    assert list(store.list("tenants/")) == []
    done = run(*expire, "--json", data_dir=tmp_path)
    assert done.stdout.startswith('{"stopped": ')
    done = run(*expire, "--accept", data_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("marked missing") == FEW + 1
