"""What the code requests of the store, and in which order: one program per operation.

Each program is named after, and reads like, the code that it represents (`storage/blobs.py`,
`storage/records.py`, `storage/holds.py`, `service/holdings/catalogue.py`); commits are in
`commit_programs.py`. `Rules` says what must be true; a test breaks each rule and checks that the
checker notices. The programs also define which orders of requests the code may use.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from tests.model.programs import ABSENT, OK, UNKNOWN, Both, Note, Program, Request
from tests.model.storage_rules import (
    ATTEMPTS,
    GONE,
    INLINE,
    KNOWN,
    LIVE,
    READABLE,
    TOO_OLD,
    UNSEEN,
    WARMED,
    WARMING,
    Record,
    Rules,
)

FEW = 1
"""How many holds a compaction tolerates: as few as possible, so that small casts have more."""
Reading = Generator[Request | Note | Both, Any, Any]


# -- records


def write(rules: Rules, record: Record, over: Record | None, lifetime: str = "") -> Reading:
    """`Records.write`: ("ok", record), ("lost", what is there), or why it failed.

    `lifetime` names own data, which is watched (`Watch`) before every send.
    """
    condition: str | Record | None = ABSENT if over is None else over
    if not rules.compares:
        condition = None
    for _attempt in range(ATTEMPTS):
        reply = yield Request("put", "record", lifetime or None, condition, record)
        if reply == UNSEEN:
            there = yield Request("head", "data", lifetime)
            if not there:
                return (TOO_OLD, None)
            continue
        if reply == OK or (reply == UNKNOWN and not rules.looks_after_no_reply):
            return (OK, record)
        if reply == TOO_OLD:
            return (TOO_OLD, None)
        current = yield Request("get", "record")
        if current is not None and current.nonce == record.nonce:
            return (OK, current)
        if current != over:
            return ("lost", current)
    return (UNKNOWN, None)


def live(rules: Rules, nonce: str, revives: bool = False) -> Reading:
    """`Blobs.live`: reads the record again and pardons it if condemned; None if unavailable."""
    record = yield from kept(rules, nonce, revives, writes=False)
    return record


def renewed(rules: Rules, nonce: str) -> Reading:
    """`Blobs.renewed`: writes the record anew, as live; None if unavailable."""
    record = yield from kept(rules, nonce, revives=False, writes=rules.warm_writes)
    return record


def kept(rules: Rules, nonce: str, revives: bool, writes: bool) -> Reading:
    """`Blobs._kept`: has the record live, whatever comes first."""
    for attempt in range(ATTEMPTS):
        seen = yield Request("get", "record")
        if seen is None or (seen.state not in READABLE and not revives):
            return None
        if spoilt(rules, seen):
            return None
        if writes:
            anew = seen.turned(LIVE, f"{nonce}w{attempt}")
            outcome, current = yield from write(rules, anew, seen)
        else:
            outcome, current = yield from pardon(rules, seen, f"{nonce}p{attempt}")
        if outcome == OK:
            return current
    return None


def spoilt(rules: Rules, seen: Record) -> bool:
    """`Blobs._spoilt`: the bytes are known to be bad."""
    return rules.minds_known and seen.damage == KNOWN


def pardon(rules: Rules, seen: Record, nonce: str) -> Reading:
    """`Blobs._pardon`: makes a condemned record live again."""
    if seen.state == LIVE or (seen.state in READABLE and not rules.pardons):
        return (OK, seen)
    outcome = yield from write(rules, seen.turned(LIVE, nonce), seen)
    return outcome


def intact(key: str) -> Reading:
    """`Blobs.intact`: inline bytes are in their record."""
    if key.startswith(INLINE):
        return True
    there = yield Request("head", "data", key)
    return there


# -- holds


def make_hold(rules: Rules, tenant: str, name: str) -> Reading:
    """`Holds.make`: its name once confirmed, or None; tries another name after any other reply."""
    for attempt in range(ATTEMPTS):
        chosen = f"{name}{attempt}" if rules.fresh_names else "h"
        condition = ABSENT if rules.fresh_names else None
        reply = yield Request("put", "hold", (tenant, chosen), condition)
        if reply == OK or (reply == UNKNOWN and not rules.confirms_holds):
            return chosen
    return None


def find(tenant: str, minds_marks: bool = True) -> Reading:
    """`Holds.find`: the names without a delete mark, each of which is read."""
    listed = yield Request("list", "hold", tenant)
    found: tuple[str, ...] = ()
    for name, marked in listed:
        if marked and minds_marks:
            continue
        there = yield Request("get", "hold", (tenant, name))
        if there:
            found = (*found, name)
    return found


def whole(rules: Rules, nonce: str) -> Reading:
    """`Blobs.whole`: the record is live, or has just been pardoned, and its bytes are there."""
    record = yield from live(rules, nonce)
    if record is None:
        return False
    there = yield from intact(record.key)
    return bool(there)


def held(rules: Rules, tenant: str, nonce: str) -> Reading:
    """`Blobs.held`: whether a hold is listed, and after that the record is live and intact."""
    if not rules.held_lists_first:
        there = yield from whole(rules, f"{nonce}h")
        found = (yield from find(tenant, rules.held_minds_marks)) if there else ()
        return bool(found)
    found = yield from find(tenant, rules.held_minds_marks)
    if not found:
        return False
    if not rules.held_reads_record:
        return True
    there = yield from whole(rules, f"{nonce}h")
    return bool(there)


def adopt(rules: Rules, tenant: str, name: str) -> Reading:
    """`Blobs.adopt`: whether the fleet has it and the tenant now holds it."""
    seen = yield Request("get", "record")
    if seen is None or seen.state not in READABLE or spoilt(rules, seen):
        return False
    there = yield from intact(seen.key)
    if not there:
        return False
    made = yield from make_hold(rules, tenant, name)
    if made is None:
        return False
    if not rules.adopt_reads_after:
        return seen.state == LIVE
    record = yield from live(rules, f"{name}a", rules.revives)
    if record is None and rules.rolls_back:
        yield Request("delete", "hold", (tenant, made))
    return record is not None


# -- the operations that clients call


def info(rules: Rules, tenant: str, name: str) -> Program:
    """`Catalogue.info`, on a miss of the cache: held, or adopted."""
    holds = yield from held_or_adopted(rules, tenant, name)
    if holds:
        yield Note("held", (KNOWN,))


def held_or_adopted(rules: Rules, tenant: str, name: str) -> Reading:
    """`Blobs.find`, for a tenant that gets what the fleet has."""
    known = yield Request("get", "record")
    if known is None or known.state not in READABLE:
        return False
    holds = yield from held(rules, tenant, name)
    if not holds:
        holds = yield from adopt(rules, tenant, name)
    return bool(holds)


def warm(rules: Rules, tenant: str, name: str) -> Program:
    """`Warming.warm`: adopted, written anew, its marker renewed, given up again."""
    yield Note(WARMING)
    holds = yield from held_or_adopted(rules, tenant, name)
    if not holds:
        return
    record = yield from renewed(rules, name)
    if record is not None:
        yield Request("list", "marker")
        reply = yield Request("put", "marker")
        if reply == OK:
            yield Note(WARMED)
    yield from delete(rules, tenant, name)


def held_again(rules: Rules, tenant: str, name: str) -> Program:
    """`Catalogue.held`, on a miss of the cache: a client that gets a yes sends no bytes."""
    known = yield Request("get", "record")
    if known is None or known.state not in READABLE:
        return
    holds = yield from held(rules, tenant, name)
    if holds:
        yield Note("held", (GONE, KNOWN))


def remembered(rules: Rules, _tenant: str, name: str) -> Program:
    """`Catalogue.held`, on a hit of the cache, which model B covers."""
    there = True
    if rules.remembered_looks:
        there = yield from whole(rules, f"{name}r")
    if there:
        yield Note("held", (GONE, KNOWN))


def delete(rules: Rules, tenant: str, _name: str) -> Program:
    """`Catalogue.delete`: every name is marked; then each hold is deleted, and then its mark."""
    yield Note("delete")
    listed = yield Request("list", "hold", tenant)
    names = tuple(name for name, _ in listed)
    for name in names if rules.marks else ():
        reply = yield Request("put", "mark", (tenant, name))
        if reply != OK and rules.stops_unmarked:
            return
    yield from unlink(rules, tenant, names)


def unlink(rules: Rules, tenant: str, names: tuple[str, ...]) -> Reading:
    """`Holds.unlink`: whether all was confirmed."""
    kinds = ("hold", "mark") if rules.unmarks_last else ("mark", "hold")
    for name in names:
        for kind in kinds if rules.marks else ("hold",):
            reply = yield Request("delete", kind, (tenant, name))
            if reply != OK and rules.stops_undeleted:
                return False
    return True


def compact(rules: Rules, tenant: str, _name: str) -> Program:
    """`Compaction`: deletes all unmarked holds except the one whose name sorts last."""
    found = yield from find(tenant)
    if len(found) <= FEW:
        return
    others, newest = found[:-1], found[-1]
    for name in others if rules.compacts_by_marks else ():
        reply = yield Request("put", "mark", (tenant, name))
        if reply != OK:
            return
    if rules.compacts_by_sight:
        listed = yield Request("list", "hold", tenant)
        if (newest, False) not in listed:
            return
        for name in (*others, newest):
            there = yield Request("get", "hold", (tenant, name))
            if not there and name == newest:
                return
    yield from unlink(rules, tenant, others)
