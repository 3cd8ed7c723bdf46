"""What a reader and a scrub request when they meet damage (`reading/quarantine.py`, `scrub/`).

It makes no difference that bytes are read in blocks. "first" is the reading after which the code
reads again; it may report damage although the bytes are good.
"""

from __future__ import annotations

from tests.model.programs import OK, Program, Request
from tests.model.storage_programs import Reading, intact, write
from tests.model.storage_rules import (
    ATTEMPTS,
    CORRUPT,
    LIVE,
    READABLE,
    TOMBSTONE,
    Record,
    Rules,
)


def good_bytes(rules: Rules, key: str) -> Reading:
    """`blocks.fetch_surely`: whether the bytes are the record's; reads again before it says no."""
    good = yield Request("get", "data", key, None, "first")
    if not good and rules.mark_looks_twice:
        good = yield Request("get", "data", key)
    return bool(good)


def read(rules: Rules, name: str) -> Program:
    """`Reader._block`: marks bytes that are bad twice, under a record that still names them."""
    seen = yield Request("get", "record")
    if seen is None or seen.state not in READABLE:
        return
    good = yield from good_bytes(rules, seen.key)
    if good:
        return
    current = yield Request("get", "record")
    if current is None or current.state not in READABLE or current.key != seen.key:
        return
    yield from mark(rules, seen.key, name)


def mark(rules: Rules, key: str, name: str) -> Reading:
    """`mark_damaged`: reads the record again, and marks it if it still names those bytes."""
    seen = yield Request("get", "record")
    for attempt in range(ATTEMPTS):
        if seen is None or seen.state not in READABLE:
            return
        if rules.mark_minds_bytes and seen.key != key:
            return
        outcome, current = yield from swap(rules.mark_compares, seen, CORRUPT, f"{name}{attempt}")
        if outcome != "lost":
            return
        seen = current


def swap(compares: bool, seen: Record, state: str, nonce: str) -> Reading:
    """`Records.mark_corrupt` and `Records.restore`."""
    record = seen.turned(state, nonce)
    if state == LIVE:
        record = record._replace(damage="")
    outcome = yield from write(Rules(compares=compares), record, seen)
    return outcome


def scrub(rules: Rules, name: str) -> Program:
    """`Inspector._inspect`: marks bad bytes, and makes records of good bytes live again."""
    for attempt in range(ATTEMPTS):
        seen = yield Request("get", "record")
        if seen is None or (seen.state == TOMBSTONE and rules.restore_spares_tombstones):
            return
        there = yield from intact(seen.key)
        good = there and (yield from good_bytes(rules, seen.key))
        if seen.state not in READABLE:
            settled = yield from restore(rules, seen, good, f"{name}{attempt}")
        else:
            settled = good or (yield from quarantine(rules, seen, there, f"{name}{attempt}"))
        if settled:
            return


def restore(rules: Rules, seen: Record, good: bool, nonce: str) -> Reading:
    """`Inspector._restored`: False if the record has changed."""
    if not good and rules.restore_reads_bytes:
        return True
    outcome, _ = yield from swap(rules.restore_compares, seen, LIVE, nonce)
    return outcome != "lost"


def quarantine(rules: Rules, seen: Record, there: bool, nonce: str) -> Reading:
    """`Inspector._settled`: False if the record has changed."""
    again = yield Request("get", "record")
    if rules.mark_minds_bytes and (again is None or again.key != seen.key):
        return False
    if again is None or again.state not in READABLE:
        return False
    if not there and (yield from intact(again.key)):
        return True
    outcome, _ = yield from swap(rules.mark_compares, again, CORRUPT, nonce)
    return outcome == OK
