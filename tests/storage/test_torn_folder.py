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

from holdfast.storage.folder import FolderStore
from tests.storage.blobs_fixture import DIGEST, shop_on
from tests.storage.torn_disk import Crash, Log, Sync, Tree, materialised
from tests.storage.torn_ledger import Ledger, check
from tests.storage.torn_recorder import recorded
from tests.storage.torn_scenarios import (
    KEY,
    REPEATED,
    SCENARIOS,
    TENANT,
    Repeated,
    Scenario,
    abort,
    abort_twice,
    commit_parts,
    commit_whole,
    complete_over_parts_twice,
    create_twice,
    drop_and_commit,
    open_twice,
    upload,
)

Property = Callable[[str, object], None]


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
        patch.setattr("holdfast.storage.folder_files.LOCKS", 2)
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
                commit_whole(shop, inline=inline)
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
