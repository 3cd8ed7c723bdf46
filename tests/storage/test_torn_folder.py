"""The folder after a power failure: what was answered is there, nothing is half there.

Every file operation of the real code is recorded. For every number of operations
carried out, and every set of effects that no sync has made sure lost, the tree is put on
a disk and opened by a fresh store.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import pytest

from storage.folder import FolderStore
from storage.port import ConditionFailed, IfAbsent, IfMatch, NoSuchUpload, Part
from storage.records import State
from tests.storage.blobs_fixture import BODY, DIGEST, NOW, Shop, hold, live, shop_on
from tests.storage.torn_disk import Crash, Log, Sync, Tree, materialised, recorded
from tests.storage.torn_ledger import Ledger, check

TENANT = "a"
KEY = "data/one"

# Each of these is an order of calls whose file operations are recorded, the calls before
# `yield` as what was there and durable already.
Scenario = Callable[[Ledger], Iterator[None]]
Property = Callable[[str, object], None]


def first_put(store: Ledger) -> Iterator[None]:
    yield
    store.put(KEY, b"new")


def put_beside(store: Ledger) -> Iterator[None]:
    store.put("data/two", b"there")
    yield
    store.put(KEY, b"new")


def replace_by_condition(store: Ledger) -> Iterator[None]:
    etag = store.put(KEY, b"old").etag
    yield
    store.put(KEY, b"new", IfMatch(etag))
    with suppress(ConditionFailed):
        store.put(KEY, b"newer", IfMatch(etag))


def create_and_lose(store: Ledger) -> Iterator[None]:
    yield
    store.put(KEY, b"", IfAbsent())
    with suppress(ConditionFailed):
        store.put(KEY, b"second", IfAbsent())


def _uploaded(store: Ledger, *bodies: bytes) -> tuple[str, list[Part]]:
    upload = store.create_upload(KEY)
    return upload.id, [
        store.put_part(KEY, upload.id, n, body) for n, body in enumerate(bodies, start=1)
    ]


def put_over_parts(store: Ledger) -> Iterator[None]:
    store.complete_upload(KEY, *_uploaded(store, b"o", b"ld"))
    yield
    store.put(KEY, b"new")


def delete_only(store: Ledger) -> Iterator[None]:
    store.put(KEY, b"old")
    yield
    store.delete(KEY)


def delete_beside(store: Ledger) -> Iterator[None]:
    store.put("data/two", b"there")
    store.put(KEY, b"old")
    yield
    store.delete(KEY)
    store.delete(KEY)


def delete_parts(store: Ledger) -> Iterator[None]:
    store.complete_upload(KEY, *_uploaded(store, b"o", b"ld"))
    yield
    store.delete(KEY)


def delete_and_put(store: Ledger) -> Iterator[None]:
    store.put(KEY, b"old")
    yield
    store.delete(KEY)
    store.put(KEY, b"new")


def upload(store: Ledger) -> Iterator[None]:
    yield
    begun, parts = _uploaded(store, b"one", b"two")
    parts[0] = store.put_part(KEY, begun, 1, b"one again")
    store.put_part(KEY, begun, 3, b"unused")
    store.complete_upload(KEY, begun, parts)


def complete_over_file(store: Ledger) -> Iterator[None]:
    store.put(KEY, b"old")
    begun, parts = _uploaded(store, b"n", b"ew")
    yield
    store.complete_upload(KEY, begun, parts)


def complete_over_parts(store: Ledger) -> Iterator[None]:
    store.complete_upload(KEY, *_uploaded(store, b"o", b"ld"))
    begun, parts = _uploaded(store, b"n", b"ew")
    yield
    store.complete_upload(KEY, begun, parts)


def abort(store: Ledger) -> Iterator[None]:
    begun, _ = _uploaded(store, b"one", b"two")
    yield
    store.abort_upload(KEY, begun)


def tail(store: Ledger) -> Iterator[None]:
    yield
    store.put("tails/one", b"less than a part")
    store.get("tails/one")
    store.delete("tails/one")


# -- whole commits, as storage.blobs orders them


def _commit(shop: Shop, *, inline: bool = False, parts: bool = False) -> None:
    record = live(inline=inline)
    if parts:
        begun = shop.store.create_upload(record.data_key)
        stored = [
            shop.store.put_part(record.data_key, begun.id, n, piece)
            for n, piece in enumerate((BODY[:7], BODY[7:]), start=1)
        ]
        shop.store.complete_upload(record.data_key, begun.id, stored)
    elif not inline:
        shop.store.put(record.data_key, BODY)
    held = hold({"a": "1"})
    key = shop.blobs.make_hold(TENANT, held)
    shop.blobs.publish(TENANT, record, None, held, key)


def commit_inline(store: Ledger) -> Iterator[None]:
    yield
    _commit(shop_on(store), inline=True)


def commit_object(store: Ledger) -> Iterator[None]:
    yield
    _commit(shop_on(store))


def commit_parts(store: Ledger) -> Iterator[None]:
    yield
    _commit(shop_on(store), parts=True)


def commit_again(store: Ledger) -> Iterator[None]:
    _commit(shop_on(store))
    yield
    _commit(shop_on(store), inline=True)


def relabel(store: Ledger) -> Iterator[None]:
    shop = shop_on(store)
    _commit(shop, inline=True)
    yield
    shop.blobs.relabel(TENANT, DIGEST, lambda labels: {**labels, "b": "2"}, NOW + 1)


def drop(store: Ledger) -> Iterator[None]:
    shop = shop_on(store)
    _commit(shop, inline=True)
    yield
    shop.blobs.drop(TENANT, DIGEST)


def drop_and_commit(store: Ledger) -> Iterator[None]:
    shop = shop_on(store)
    _commit(shop, inline=True)
    yield
    shop.blobs.drop(TENANT, DIGEST)
    _commit(shop, inline=True)


SCENARIOS: list[Scenario] = [
    first_put, put_beside, replace_by_condition, create_and_lose, put_over_parts, delete_only,
    delete_beside, delete_parts, delete_and_put, upload, complete_over_file, complete_over_parts,
    abort, tail, commit_inline, commit_object, commit_parts, commit_again, relabel, drop,
    drop_and_commit,
]  # fmt: skip


@dataclass
class Run:
    """A recorded scenario."""

    log: Log
    ledger: Ledger


def _top() -> Path:
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 -- it must be fast
    return Path(tempfile.mkdtemp(prefix="hf-torn-", dir=base))


def _opened(root: Path) -> FolderStore:
    store = FolderStore(root)
    store.check_access()
    return store


@pytest.fixture(autouse=True, scope="module")
def _few_locks() -> Iterator[None]:
    """A handful of lock files, in which nothing is kept, instead of 256."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.folder_files.LOCKS", 2)
        yield


def _run(scenario: Scenario, top: Path) -> Run:
    log = Log(top)
    ledger = Ledger(_opened(top / "store"), log)
    steps = scenario(ledger)
    next(steps)
    log.begin()
    for call in ledger.calls:
        call.begun, call.end = 0, 0
    with recorded(log):
        for _ in steps:
            raise AssertionError
    return Run(log, ledger)


@cache
def _recording(scenario: Scenario) -> Run:
    top = _top()
    try:
        return _run(scenario, top)
    finally:
        shutil.rmtree(top)


def _states(run: Run, skip: str = "", first: int = 0, seed: int = 0) -> Iterator[tuple[int, Tree]]:
    """Every tree that a power failure may leave, with the number of operations before it."""
    for count in range(first, len(run.log.operations) + 1):
        for tree in run.log.trees(count, skip, Random(seed)):  # noqa: S311 -- replayed by seed
            yield count, tree


def _look(run: Run, count: int, tree: Tree, scratch: Path) -> None:
    """Opens what a power failure left and checks it; says where it happened if it fails."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        materialised(tree, folder)
        with recorded(Log(scratch / "none")):  # nothing is synced for the sake of a check
            store = _opened(folder / "store")
            check(store, run.ledger.expected(count))
            shop = shop_on(store)
            for inline in (True, False):
                _commit(shop, inline=inline)
                assert shop.blobs.held(TENANT, DIGEST)
                assert shop.blobs.drop(TENANT, DIGEST)
                assert shop.blobs.held(TENANT, DIGEST) is None
    except Exception as error:
        last = run.log.operations[count - 1] if count else None
        raise AssertionError(f"after {count} operations, the last {last}: {error!r}") from error
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory."""
    top = _top()
    yield top
    shutil.rmtree(top)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_power_failure(scenario: Scenario, scratch: Path, record_property: Property) -> None:
    """After a power failure at any point all that was answered is there, and all is whole."""
    run, states = _recording(scenario), 0
    for count, tree in _states(run):
        _look(run, count, tree, scratch)
        states += 1
    record_property("crash states", states)
    assert states > len(run.log.operations) // 2


@cache
def _opening() -> Run:
    """A folder that is made, and the first object in it."""
    top = _top()
    log = Log(top)
    log.begin()
    ledger = Ledger(FolderStore(top / "store"), log)
    try:
        with recorded(log):
            ledger.check_access()
            ledger.put(KEY, b"first")
    finally:
        shutil.rmtree(top)
    return Run(log, ledger)


def test_power_failure_while_opening(scratch: Path, record_property: Property) -> None:
    """A folder whose making was cut short by a power failure can be made and used after it."""
    run, states = _opening(), 0
    for count, tree in _states(run):
        _look(run, count, tree, scratch)
        states += 1
    record_property("crash states", states)
    assert states > len(run.log.operations)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("scenario", [commit_parts, upload, drop_and_commit, abort])
def test_power_failure_at_random(scenario: Scenario, seed: int, scratch: Path) -> None:
    """Where there are too many subsets of effects to lose, other random ones do no harm either."""
    run = _recording(scenario)
    for count, tree in _states(run, seed=seed):
        _look(run, count, tree, scratch)


# -- a process dies, another one does the same again, and then the power fails

Act = Callable[[Ledger], None]
Repeated = Callable[[Ledger], Act]


def open_twice(store: Ledger) -> Act:
    """The only one whose folder isn't there yet."""
    del store

    def act(to: Ledger) -> None:
        to.check_access()
        _create_or_read(to)

    return act


def _create_or_read(to: Ledger) -> None:
    try:
        to.put(KEY, b"new", IfAbsent())
    except ConditionFailed:
        to.get(KEY)


def delete_twice(store: Ledger) -> Act:
    store.put(KEY, b"old")
    return lambda to: to.delete(KEY)


def delete_parts_twice(store: Ledger) -> Act:
    store.complete_upload(KEY, *_uploaded(store, b"o", b"ld"))
    return lambda to: to.delete(KEY)


def create_twice(store: Ledger) -> Act:
    del store
    return _create_or_read


def complete_twice(store: Ledger) -> Act:
    begun, parts = _uploaded(store, b"n", b"ew")

    def act(to: Ledger) -> None:
        try:
            to.complete_upload(KEY, begun, parts)
        except NoSuchUpload:
            to.head(KEY)

    return act


def complete_over_parts_twice(store: Ledger) -> Act:
    store.complete_upload(KEY, *_uploaded(store, b"o", b"ld"))
    return complete_twice(store)


def abort_twice(store: Ledger) -> Act:
    begun, _ = _uploaded(store, b"one")
    return lambda to: to.abort_upload(KEY, begun)


def commit_twice(store: Ledger) -> Act:
    """As a frontend does that carries out what another one froze."""
    record = live()
    store.put(record.data_key, BODY)

    def act(to: Ledger) -> None:
        shop, held = shop_on(to), hold()
        if not shop.blobs.done_before(record):
            shop.blobs.publish(TENANT, record, None, held, shop.blobs.make_hold(TENANT, held))

    return act


def pardon_twice(store: Ledger) -> Act:
    """An adoption of what the collector has condemned."""
    shop = shop_on(store)
    _commit(shop, inline=True)
    seen = shop.records.read(DIGEST)
    assert seen
    shop.records.write(seen.record.turned(State.CONDEMNED, "condemned"), seen)
    return lambda to: assert_adopted(shop_on(to))


def assert_adopted(shop: Shop) -> None:
    assert shop.blobs.adopt("b", DIGEST, NOW, {})


def drop_twice(store: Ledger) -> Act:
    _commit(shop_on(store), inline=True)
    return lambda to: assert_dropped(shop_on(to))


def assert_dropped(shop: Shop) -> None:
    shop.blobs.drop(TENANT, DIGEST)


REPEATED: list[Repeated] = [
    open_twice,
    delete_twice, delete_parts_twice, create_twice, complete_twice, complete_over_parts_twice,
    abort_twice, commit_twice, pardon_twice, drop_twice,
]  # fmt: skip


def _repeated(scenario: Repeated, top: Path, crash_at: int | None) -> Run:
    """A process that dies before operation `crash_at`, and another one that does it again."""
    log, store = Log(top), FolderStore(top / "store")
    if scenario is not open_twice:
        store.check_access()
    ledger = Ledger(store, log)
    act = scenario(ledger)
    log.begin()
    for call in ledger.calls:
        call.begun, call.end = 0, 0
    with recorded(log):
        log.crash_at = crash_at
        with suppress(Crash):
            act(ledger)
        log.crash_at = None
        if crash_at is not None:
            act(Ledger(_opened(top / "store"), log, ledger.calls))
    return Run(log, ledger)


def _repetitions(scenario: Repeated, scratch: Path) -> Iterator[Run]:
    """The runs of a scenario, one for each operation before which the first process dies."""
    (scratch / "whole").mkdir(exist_ok=True)
    steps = len(_repeated(scenario, scratch / "whole", None).log.operations)
    for crash_at in range(steps):
        top = scratch / f"crash-{crash_at}"
        top.mkdir()
        yield _repeated(scenario, top, crash_at)
        shutil.rmtree(top)
    shutil.rmtree(scratch / "whole")


SLOW = [complete_over_parts_twice, open_twice]


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(s, marks=[pytest.mark.slow] if s in SLOW else []) for s in REPEATED],
)
def test_power_failure_after_a_crash(
    scenario: Repeated, scratch: Path, record_property: Property
) -> None:
    """What a process left unsynced when it died is made durable before anybody answers by it."""
    states = 0
    for run in _repetitions(scenario, scratch):
        for count, tree in _states(run, first=len(run.log.operations)):
            _look(run, count, tree, scratch)
            states += 1
    record_property("crash states", states)
    assert states


# -- each sync is needed

SITES = {
    "write_temporary: below tmp",
    "prepare: above the root",
    "place: below objects",
    "place: objects",
    "place: uploads",
    "place: root",
    "remove: below objects",
    "remove_tree: below objects",
    "remove_tree: uploads",
    "create: below tmp",
    "put_part: below uploads",
    "complete: below uploads",
    "_replace: below objects",
    "abort: uploads",
    "_make_sure: below objects",
    "_make_sure: objects",
    "_make_sure: root",
}
"""Where the program syncs: the function, and of what."""
BY_REPETITION = {
    "abort: uploads": [abort_twice],
    "_make_sure: below objects": [create_twice],
    "_make_sure: objects": [create_twice],
}
"""Those that matter only where an earlier process has died."""
REDUNDANT = {
    # Whoever placed anything before has synced the root after FORMAT came into it; the
    # folders up to the root are synced by one loop, which `place` needs to its end.
    "_make_sure: root",
}


def _syncs(run: Run) -> set[str]:
    return {o.site for o in run.log.operations if isinstance(o, Sync)}


def _suspects(site: str, scratch: Path) -> Iterator[Run]:
    """Recordings in which there is a sync at a place, those first that find much."""
    if site in BY_REPETITION:
        for repeated in BY_REPETITION[site]:
            yield from _repetitions(repeated, scratch)
        return
    runs = [_opening(), *map(_recording, SCENARIOS)]
    yield from (run for run in runs if site in _syncs(run))


def test_all_syncs_are_known(scratch: Path) -> None:
    """The places that are left out below are all that there are."""
    found = _syncs(_opening()).union(*(_syncs(_recording(s)) for s in SCENARIOS))
    for scenario in REPEATED:
        found |= _syncs(_repeated(scenario, Path(tempfile.mkdtemp(dir=scratch)), 0))
    for scenario in (create_twice, open_twice, abort_twice):
        for run in _repetitions(scenario, scratch):
            found |= _syncs(run)
    assert found == SITES


@pytest.mark.parametrize("site", sorted(SITES - REDUNDANT))
def test_each_sync_is_needed(site: str, scratch: Path) -> None:
    """A program that leaves out one sync loses something in one of the crash states."""
    with pytest.raises(AssertionError, match=r"after \d+ operations"):
        _look_at_all(site, scratch)


def _look_at_all(site: str, scratch: Path) -> None:
    """Looks at what a program leaves that doesn't sync at a place, the latest states first."""
    for run in _suspects(site, scratch):
        counts = range(len(run.log.operations), -1, -1)
        for count in counts[:1] if site in BY_REPETITION else counts:
            for tree in run.log.trees(count, site):
                _look(run, count, tree, scratch)
