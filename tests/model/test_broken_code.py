"""Code whose order of requests was broken deliberately is refused by the models.

Each entry breaks one place of the real code and names the operation that shows it.
`test_traces.py` and `test_delete_traces.py` show that the unbroken code passes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.storage.records import State
from tests.model.breakages import (
    adopt_unread,
    announce_late,
    bury_live,
    bury_unread,
    carry_out_always,
    compact_unmarked,
    compact_unseen,
    condemn_by_marker,
    confirm_first,
    count_holds_alone,
    data_after,
    delete_before_marks,
    fill_first,
    finish_deletes,
    forget_first,
    give_bytes_up_unseen,
    hold_after,
    hold_unconditionally,
    ignore_marks,
    leave_markers,
    list_once,
    mark_unconditionally,
    never_confirm,
    never_freeze,
    never_pardon,
    no_hold,
    pardon_nothing,
    read_records_first,
    record_unconditionally,
    remove_unconditionally,
    skip_marks,
    trust_the_cache,
    unmark_first,
    warm_unwritten,
)
from tests.model.operations import (
    Scene,
    Stage,
    adopts,
    asks,
    asks_condemned,
    asks_marked,
    asks_the_cache,
    carries_out,
    collects,
    commits,
    commits_again,
    compacts,
    deletes,
    deletes_announced,
    removes_a_tombstone,
    retains,
    warms,
    warms_condemned,
    writes_remembered,
)
from tests.model.recording import RecordingStore
from tests.model.storage_rules import AGED
from tests.service.fleet import Fleet

Patch = pytest.MonkeyPatch

BROKEN: dict[str, tuple[Callable[[Patch], None], Scene]] = {
    "a delete that skips its marks": (skip_marks, deletes),
    "a delete that takes its marks away first": (unmark_first, deletes),
    "a delete that marks too late": (delete_before_marks, deletes),
    "a delete that doesn't ask Redis again": (never_confirm, deletes_announced),
    "a delete that asks Redis before its marks": (confirm_first, deletes_announced),
    "a delete that announces itself late": (announce_late, deletes_announced),
    "a cache that is filled before the look": (fill_first, asks_the_cache),
    "a hold after the record": (hold_after, commits("inline")),
    "a commit without a hold": (no_hold, commits("inline")),
    "bytes after the record": (data_after, commits("single")),
    "parts completed after the record": (data_after, commits("parts")),
    "a record written unconditionally": (record_unconditionally, commits("inline")),
    "one hold name for ever": (hold_unconditionally, commits("inline")),
    "a commit that isn't frozen": (never_freeze, commits("inline")),
    "a commit forgotten before its record": (forget_first, commits("inline")),
    "bytes given up for what isn't looked at": (give_bytes_up_unseen, commits_again),
    "a commit carried out twice": (carry_out_always, carries_out),
    "the record read before the hold": (adopt_unread, adopts),
    "a hold counted without the record": (count_holds_alone, asks),
    "a condemned record counted": (never_pardon, asks_condemned),
    "a hold counted beside its mark": (ignore_marks, asks_marked),
    "what the cache remembers taken for bytes": (trust_the_cache, writes_remembered),
    "the first listing used again": (list_once, collects()),
    "a live record buried": (bury_live, collects()),
    "the record read before the second listing": (bury_unread, collects(state=State.CONDEMNED)),
    "records read before data is listed": (read_records_first, collects(state=State.TOMBSTONE)),
    "a compaction that doesn't look at what stays": (compact_unseen, compacts),
    "a compaction without marks": (compact_unmarked, compacts),
    "a compaction that takes its marks away first": (unmark_first, compacts),
    "a condemned record left though it is held": (
        pardon_nothing,
        collects(held=True, state=State.CONDEMNED),
    ),
    "a held record condemned because its marker is old": (
        condemn_by_marker,
        retains(held=True, marker=AGED),
    ),
    "a marker of what is held left": (leave_markers, retains(held=True, marker=AGED)),
    "a marker made over another one": (mark_unconditionally, retains(held=False, marker="")),
    "what is warmed not written anew": (warm_unwritten, warms),
    "what is warmed, and was condemned, not written anew": (never_pardon, warms_condemned),
    "a tombstone removed unconditionally": (remove_unconditionally, removes_a_tombstone),
    "a delete finished because its mark is old": (finish_deletes, collects(held=True, marked=True)),
}


@pytest.fixture
def stage(
    fleet: Fleet,
    recording: RecordingStore,
    tenant: str,
    fill: Callable[[str], bytes],
    monkeypatch: Patch,
) -> Stage:
    """The setting of one operation."""
    return Stage(fleet, recording, tenant, fill, monkeypatch)


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_code_is_refused(stage: Stage, name: str) -> None:
    """Code that issues its requests in a wrong order isn't what a model allows."""
    stage.breaks, scene = BROKEN[name]
    refused = await scene(stage)
    assert refused, "the trace check doesn't notice"


@pytest.mark.parametrize("scene", dict.fromkeys(scene for _, scene in BROKEN.values()))
async def test_the_code_as_it_is_is_not_refused(stage: Stage, scene: Scene) -> None:
    """The same operations of the unbroken code are what the models allow."""
    assert await scene(stage) is None
