"""Model A's collectors: what design.md's passes ask of the store.

As in `service/collector/`.
"""

from __future__ import annotations

from tests.model.programs import OK, Program, Request
from tests.model.storage_programs import (
    CONDEMNED,
    LIVE,
    READABLE,
    TOMBSTONE,
    Reading,
    Record,
    Rules,
    make_hold,
    write,
)


def collect(rules: Rules, tenants: tuple[str, ...], name: str) -> Program:
    """Condemns what no hold names, and buries what a second, newer listing doesn't name."""
    candidate = yield from condemn(rules, tenants, name)
    if candidate is None:
        return
    holds = False
    if rules.second_listing:
        holds = yield from list_all(tenants)
    seen = yield Request("get", "record")
    if rules.etag_before_listing and seen != candidate:
        return
    if seen is None or seen.state != CONDEMNED:
        return
    state = LIVE if holds else TOMBSTONE
    yield from write(Record(state, seen.key, f"{name}y"), seen)


def condemn(rules: Rules, tenants: tuple[str, ...], name: str) -> Reading:
    """The first pass: the record to bury, as it was read or made, or None."""
    holds = yield from list_all(tenants)
    there = yield Request("list", "record")
    if holds or not there:
        return None
    seen = yield Request("get", "record")
    if seen is None or seen.state not in READABLE:
        return None
    if seen.state == CONDEMNED:
        return seen
    state = TOMBSTONE if rules.buries_live else CONDEMNED
    outcome, condemned = yield from write(Record(state, seen.key, f"{name}x"), seen)
    return condemned if outcome == OK else None


def list_all(tenants: tuple[str, ...]) -> Reading:
    """A listing of all holds, marks too: a page per tenant, each at its own moment."""
    any_hold = False
    for tenant in tenants:
        listed = yield Request("list", "hold", tenant, None, "marks too")
        any_hold = any_hold or bool(listed)
    return any_hold


def collect_data(rules: Rules, _name: str) -> Program:
    """Deletes the data objects that are old enough and that no record names."""
    old: tuple[str, ...] = ()
    if rules.data_before_records:
        old = yield Request("list", "data")
        if not old:
            return
    seen = None
    there = yield Request("list", "record")
    if there:
        seen = yield Request("get", "record")
    if not rules.data_before_records:
        old = yield Request("list", "data")
    for key in old:
        if seen is None or seen.key != key or seen.state not in READABLE:
            yield Request("delete", "data", key)


def sweep_store(rules: Rules, tenant: str, name: str) -> Program:
    """The passes over one tenant's store, one after the other."""
    yield from collect(rules, (tenant,), name)
    yield from collect_data(rules, name)


def end_deletes(rules: Rules, tenant: str, name: str) -> Program:
    """The pass over marks, whose names the pass over records has listed."""
    yield from sweep_marks(rules, tenant, name)
    yield from collect_data(rules, name)


def sweep_marks(rules: Rules, tenant: str, name: str) -> Program:
    """Ends deletes that were broken off: a mark alone goes, one beside a hold is taken back."""
    marked = yield Request("list", "hold", tenant, None, "marks")
    for mark in marked:
        keys = yield Request("list", "hold", tenant, None, "keys")
        if ("mark", mark) not in keys:
            continue
        if ("hold", mark) in keys:
            seen = rules.finishes_deletes or any(
                kind == "hold" and ("mark", other) not in keys for kind, other in keys
            )
            if not seen:
                there = yield Request("get", "hold", (tenant, mark))
                made = None
                if there:
                    made = yield from make_hold(tenant, f"{name}{mark}")
                if made is None:
                    continue
        yield Request("delete", "hold", (tenant, mark))
        yield Request("delete", "mark", (tenant, mark))
