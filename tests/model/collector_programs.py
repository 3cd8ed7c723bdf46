"""Model A's collectors: what the passes of docs/collector.md ask of the store.

They correspond to `service/collector/`.
"""

from __future__ import annotations

from tests.model.programs import ABSENT, OK, Program, Request
from tests.model.storage_programs import Reading, make_hold, unlink, write
from tests.model.storage_rules import (
    AGED,
    CONDEMNED,
    CORRUPT,
    LIVE,
    OFF,
    OR_NOTHING,
    TOMBSTONE,
    Record,
    Rules,
)

Known = tuple[Record | None, int, bool]


Keys = tuple[tuple[str, str], ...]
"""What a listing shows of one tenant: "hold" or "mark", and the hold's name."""


def collect(rules: Rules, tenants: tuple[str, ...], name: str) -> Program:
    """Condemns records that no hold names; buries those that a second, newer listing omits too."""
    holds = yield from list_all(rules, tenants)
    candidate = yield from condemn(rules, holds, name)
    if candidate is not None:
        yield from bury(rules, tenants, name, candidate)


def condemn(rules: Rules, holds: bool, name: str) -> Reading:
    """`Reading` and `Condemnation`: the record to bury, as it was read or made, or None."""
    there = yield Request("list", "record")
    if holds or not there:
        return None
    seen = yield Request("get", "record")
    condemned = yield from turn(rules, seen, name)
    return condemned


def turn(rules: Rules, seen: Record | None, name: str) -> Reading:
    """`Condemnation` of a record that no hold names, as it was read."""
    if seen is None or seen.state == TOMBSTONE:
        return None
    if seen.state != LIVE:
        return seen
    again = yield Request("get", "record")
    if again != seen:
        return None
    state = TOMBSTONE if rules.buries_live else CONDEMNED
    outcome, condemned = yield from write(rules, seen.turned(state, f"{name}x"), seen)
    return condemned if outcome == OK else None


def pardon(rules: Rules, seen: Record | None, name: str) -> Reading:
    """`pardon` of a record that a hold names, as it was read."""
    if seen is None or seen.state != CONDEMNED:
        return
    again = yield Request("get", "record")
    if again == seen:
        yield from write(rules, seen.turned(LIVE, f"{name}z"), seen)


def bury(
    rules: Rules, tenants: tuple[str, ...], name: str, candidate: Record, lie: bool = False
) -> Reading:
    """`Burial`: writes a tombstone, or makes the record live again, after its own listing."""
    holds = False
    if rules.second_listing:
        holds = yield from list_all(rules, tenants, lie)
    seen = yield Request("get", "record")
    if rules.etag_before_listing and seen != candidate:
        return
    if seen is None or seen.state not in {CONDEMNED, CORRUPT}:
        return
    if holds and seen.state == CORRUPT:
        return
    state = LIVE if holds else TOMBSTONE
    yield from write(rules, seen.turned(state, f"{name}y"), seen)


def list_all(rules: Rules, tenants: tuple[str, ...], lie: bool = False) -> Reading:
    """A listing of all holds, including marks: a page per tenant, each at its own moment."""
    any_hold = False
    for tenant in tenants:
        what = ("marks too" if rules.counts_marks else "holds only") + OR_NOTHING * lie
        listed = yield Request("list", "hold", tenant, None, what)
        any_hold = any_hold or bool(listed)
    return any_hold


def collect_data(rules: Rules, _name: str, lie: str = "") -> Program:
    """Deletes data objects that are old enough, named by no record, and doomed.

    `lie`: what is reported wrongly to this run, once or always: "record" (misread, as naming other
    data), "records" (a listing that comes back empty), "clock" (everything is old).
    """
    doomed = yield Request("list", "doomed")
    old: tuple[str, ...] = ()
    if rules.data_before_records:
        old = yield Request("list", "data", lie == "clock")
    seen = None
    there = yield Request("list", "record", lie == "records")
    if there:
        seen = yield Request("get", "record", lie == "record")
    if not rules.data_before_records:
        old = yield Request("list", "data", lie == "clock")
    named = seen.key if seen is not None and seen.state != TOMBSTONE else ""
    unnamed = tuple(key for key in old if key != named)
    yield from delete_doomed(rules, unnamed, doomed)


def delete_doomed(
    rules: Rules, unnamed: tuple[str, ...], doomed: tuple[str, ...] | None
) -> Reading:
    """`DataSweep`: unnamed data that was doomed is deleted, the rest is doomed from now on."""
    due = unnamed
    if doomed is not None and not rules.found_again:
        due = doomed
    elif doomed is not None and rules.two_keys:
        due = tuple(key for key in unnamed if key in doomed)
    for key in due:
        yield Request("delete", "data", key)
    if doomed is not None:
        yield Request("put", "doomed", tuple(key for key in unnamed if key not in due))


def sweep_store(
    rules: Rules, tenant: str, name: str, lie: str = "", apart: bool = False
) -> Program:
    """`sweep_store`, over one tenant: reads all of the store, then acts.

    `lie`: what is reported wrongly to this run: "holds" (that there are none), "tombstone" (the
    record is misread as one); or what it can't do: "pardon". `apart`: it buries only what an
    earlier run has condemned.
    """
    doomed = yield Request("list", "doomed")
    old = yield Request("list", "data")
    what = "both" + OR_NOTHING * (lie == "holds")
    holds, marks = yield Request("list", "hold", tenant, None, what)
    there, known = yield Request("list", "record", None, None, "known")
    marker = yield Request("list", "marker")
    seen, runs = yield from look(rules, there, known, bool(old), bool(holds), lie == "tombstone")
    candidate = None
    goes = yield from condemns(rules, seen, bool(holds), marker)
    if goes:
        candidate = yield from turn(rules, seen, name)
        if apart and candidate != seen and rules.marker_is_no_key:
            candidate = None
    elif holds and rules.pardons_held and lie != "pardon":
        yield from pardon(rules, seen, name)
    if candidate is not None:
        yield from bury(rules, (tenant,), name, candidate, lie == "holds")
    yield from end_deletes(rules, tenant, name, marks)
    named = seen.key if seen is not None and seen.state != TOMBSTONE else ""
    yield from delete_doomed(rules, tuple(key for key in old if key != named), doomed)
    if seen is not None and not holds:
        yield from remove(rules, seen, old, runs)
    stays = there and (seen is None or seen.state != TOMBSTONE)
    live = seen is not None and seen.state == LIVE
    yield from tend_marker(rules, marker, stays, live, bool(holds))


def condemns(rules: Rules, seen: Record | None, holds: bool, marker: str) -> Reading:
    """`Retention.judge`: whether the record goes; what is condemned goes whatever its marker."""
    if holds and rules.retains_by_holds:
        return False
    if seen is not None and seen.state == LIVE:
        if marker == AGED and rules.minds_writes:
            recent = yield Request("list", "recent")
            return not recent
        return marker in {AGED, OFF}
    return not holds


def tend_marker(rules: Rules, marker: str, stays: bool, live: bool, holds: bool) -> Reading:
    """`tend_markers`: one is made for what is given up, and removed from what is held or gone."""
    if marker == OFF:
        return
    if marker and (not stays or (holds and rules.outlived_go)):
        yield Request("delete", "marker")
    elif not marker and live and not holds:
        yield Request("put", "marker", None, ABSENT)


def look(
    rules: Rules, there: bool, known: Known | None, old: bool, holds: bool, lie: bool
) -> Reading:
    """`Reading._look`: reads the record unless what is known of it suffices; counts such readings.

    `known`: the record, how many runs have read it so, and whether it has the listed ETag.
    """
    before, runs, fits = known or (None, 0, False)
    if not there:
        return None, 0
    if fits and runs > 1:
        return before, runs
    spared = holds and not old
    condemned = before is not None and before.state == CONDEMNED
    if spared and fits and not (condemned and rules.reads_condemned):
        return None, runs
    if spared and known and not fits and not rules.reads_changed:
        return None, runs
    seen = yield Request("get", "record", lie or None, None, TOMBSTONE if lie else None)
    runs = runs + 1 if fits and seen == before else 1
    yield Request("put", "known", (seen, runs))
    return seen, runs


def remove(rules: Rules, seen: Record, old: tuple[str, ...], runs: int) -> Reading:
    """`remove_tombstones`: removes one that two runs have read and whose data is gone."""
    if seen.state != TOMBSTONE or (runs < 2 and rules.removes_twice_read):
        return
    if seen.key in old and rules.removes_without_data:
        return
    due = yield Request("list", "age", seen.key)
    if due:
        yield Request("delete", "record", None, seen.nonce if rules.removes_by_etag else None)


def sweep_marks(rules: Rules, tenant: str, name: str) -> Program:
    """The pass over marks without holds."""
    marks = yield Request("list", "hold", tenant, None, "marks")
    yield from end_deletes(rules, tenant, name, marks)


def end_deletes(rules: Rules, tenant: str, name: str, marks: tuple[str, ...]) -> Reading:
    """`BrokenDeletes`: a mark without a hold is removed; one with a hold is taken back."""
    keys = yield from list_again(rules, tenant, marks)
    for mark in marks:
        if rules.sweep_lists_again:
            keys = yield Request("list", "hold", tenant, None, "keys")
        if ("mark", mark) not in keys:
            continue
        if ("hold", mark) not in keys:
            gone = yield Request("delete", "mark", (tenant, mark))
            ended = gone == OK or not rules.stops_undeleted
        else:
            ended = yield from end_delete(rules, tenant, f"{name}{mark}", mark, keys)
        if not ended:
            return


def end_delete(rules: Rules, tenant: str, name: str, mark: str, keys: Keys) -> Reading:
    """Takes a marked hold back under another name; whether the pass may continue."""
    if not rules.finishes_deletes:
        seen = yield from seen_without(tenant, keys)
        if not seen:
            readable = yield Request("get", "hold", (tenant, mark))
            if not readable:
                return True
            made = yield from make_hold(rules, tenant, name)
            if not made:
                return False
    ended = yield from unlink(rules, tenant, (mark,))
    return ended


def seen_without(tenant: str, keys: Keys) -> Reading:
    """Whether one of the tenant's holds that are listed without a mark is there."""
    for kind, other in keys:
        if kind == "hold" and ("mark", other) not in keys:
            there = yield Request("head", "hold", (tenant, other))
            if there:
                return True
    return False


def list_again(rules: Rules, tenant: str, marks: tuple[str, ...]) -> Reading:
    """A broken variant's only listing of the keys."""
    if rules.sweep_lists_again or not marks:
        return ()
    keys = yield Request("list", "hold", tenant, None, "keys")
    return keys
