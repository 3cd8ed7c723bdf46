"""What the code asks of the store, and in which order: one program per operation.

Each is named after, and reads like, the code that it stands for (`storage/blobs.py`,
`storage/records.py`, `storage/holds.py`, `service/commit.py`, `service/catalogue.py`).
`Rules` holds what must be so; a test breaks each one and sees that the checker
notices. The programs also say which orders of requests the code may issue.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable
from typing import Any, NamedTuple

from tests.model.programs import ABSENT, OK, UNKNOWN, Both, Call, Note, Program, Request

ATTEMPTS = 3
LIVE, CONDEMNED, TOMBSTONE, CORRUPT = "live", "condemned", "tombstone", "corrupt"
READABLE = (LIVE, CONDEMNED)
INLINE = "i"
"""How the data keys of ingests begin whose bytes are in the record."""
TOO_OLD = "too old"
FAILED = "failed"


class Record(NamedTuple):
    """A record; being its whole body, it is its ETag too."""

    state: str
    key: str
    nonce: str


class Rules(NamedTuple):
    """What the protocol lives by; a broken variant differs in one of them."""

    hold: str = "before"
    """A commit's hold is confirmed "before" its record is sent, "beside" or "after" it."""
    adopt_reads_after: bool = True
    fresh_names: bool = True
    fresh_redrive_name: bool = True
    rolls_back: bool = False
    held_reads_record: bool = True
    held_minds_marks: bool = True
    marks: bool = True
    revives: bool = False
    buries_live: bool = False
    second_listing: bool = True
    etag_before_listing: bool = True
    lifetime: bool = True
    data_before_records: bool = True
    longer_than_life: bool = True
    longer_than_landing: bool = True
    same_nonce: bool = True
    stops_unmarked: bool = True
    sweeps_marks: bool = True
    """Marks without holds are removed."""
    finishes_deletes: bool = False
    """Holds beside an old mark are deleted."""


Reading = Generator[Request | Note | Both, Any, Any]


# -- records


def write(record: Record, over: Record | None, lifetime: str = "") -> Reading:
    """`Records.write`: ("ok", record), ("lost", what is there), or why it failed."""
    condition = ABSENT if over is None else over
    for _attempt in range(ATTEMPTS):
        reply = yield Request("put", "record", lifetime or None, condition, record)
        if reply == OK:
            return (OK, record)
        if reply == TOO_OLD:
            return (TOO_OLD, None)
        current = yield Request("get", "record")
        if current is not None and current.nonce == record.nonce:
            return (OK, current)
        if current != over:
            return ("lost", current)
    return (UNKNOWN, None)


def live(nonce: str, revives: bool = False) -> Reading:
    """`Blobs.live`: the record read afresh, pardoned if condemned; None if not to be had."""
    for attempt in range(ATTEMPTS):
        seen = yield Request("get", "record")
        if seen is None or (seen.state not in READABLE and not revives):
            return None
        if seen.state == LIVE:
            return seen
        pardoned = Record(LIVE, seen.key, f"{nonce}p{attempt}")
        outcome, current = yield from write(pardoned, seen)
        if outcome == OK:
            return current
    return None


def intact(key: str) -> Reading:
    """`Blobs.intact`: inline bytes are where their record is."""
    if key.startswith(INLINE):
        return True
    there = yield Request("head", "data", key)
    return there


# -- holds


def make_hold(tenant: str, name: str, fresh: bool = True) -> Reading:
    """`Holds.make`: its name once confirmed, or None; another name after no clear yes."""
    for attempt in range(ATTEMPTS):
        chosen = f"{name}{attempt}" if fresh else "h"
        condition = ABSENT if fresh else None
        reply = yield Request("put", "hold", (tenant, chosen), condition)
        if reply == OK:
            return chosen
    return None


def find(tenant: str, minds_marks: bool = True) -> Reading:
    """`Holds.find`: the names that no delete is marked beside, each of them read."""
    listed = yield Request("list", "hold", tenant)
    found: tuple[str, ...] = ()
    for name, marked in listed:
        if marked and minds_marks:
            continue
        there = yield Request("get", "hold", (tenant, name))
        if there:
            found = (*found, name)
    return found


def held(rules: Rules, tenant: str, nonce: str) -> Reading:
    """`Blobs.held`: whether a hold is listed, and then the record is live and intact."""
    found = yield from find(tenant, rules.held_minds_marks)
    if not found:
        return False
    if not rules.held_reads_record:
        return True
    record = yield from live(f"{nonce}h")
    if record is None:
        return False
    there = yield from intact(record.key)
    return bool(there)


def adopt(rules: Rules, tenant: str, name: str) -> Reading:
    """`Blobs.adopt`: whether the fleet has it and the tenant now holds it."""
    seen = yield Request("get", "record")
    if seen is None or seen.state not in READABLE:
        return False
    there = yield from intact(seen.key)
    if not there:
        return False
    made = yield from make_hold(tenant, name, rules.fresh_names)
    if made is None:
        return False
    if not rules.adopt_reads_after:
        return seen.state == LIVE
    record = yield from live(f"{name}a", rules.revives)
    if record is None and rules.rolls_back:
        yield Request("delete", "hold", (tenant, made))
    return record is not None


# -- the operations that clients call


def info(rules: Rules, tenant: str, name: str) -> Program:
    """`Catalogue.info`, on a miss of the cache: held, or adopted."""
    known = yield Request("get", "record")
    if known is None or known.state not in READABLE:
        return
    holds = yield from held(rules, tenant, name)
    if not holds:
        holds = yield from adopt(rules, tenant, name)
    if holds:
        yield Note("held")


def held_again(rules: Rules, tenant: str, name: str) -> Program:
    """`Catalogue.held`, on a miss of the cache."""
    known = yield Request("get", "record")
    if known is not None and known.state in READABLE:
        yield from held(rules, tenant, name)


def delete(rules: Rules, tenant: str, _name: str) -> Program:
    """`Holds.drop`: every name is marked, then deleted, then its mark is."""
    yield Note("delete")
    listed = yield Request("list", "hold", tenant)
    names = tuple(name for name, _ in listed)
    for name in names:
        if rules.marks:
            reply = yield Request("put", "mark", (tenant, name))
            if reply != OK and rules.stops_unmarked:
                return
        reply = yield Request("delete", "hold", (tenant, name))
        if reply != OK:
            return
        if rules.marks:
            reply = yield Request("delete", "mark", (tenant, name))
            if reply != OK:
                return


def commit(rules: Rules, tenant: str, name: str, kind: str) -> Program:
    """`Session._publish`: kind is "inline", "single" or "parts"."""
    record = Record(LIVE, f"{INLINE if kind == 'inline' else 'd'}{name}", f"{name}c")
    if kind == "parts":
        adopted = yield from adopt_instead(rules, tenant, name)
        if adopted:
            yield Note("held")
            yield Request("run", "forget", tenant, None, record.key)
            yield Request("abort_upload", "data", record.key)
            return
    frozen = yield Request("run", "freeze", tenant, None, (record, kind))
    if frozen != OK:
        return
    yield from carry_out(rules, tenant, name, record, kind, True)


def adopt_instead(rules: Rules, tenant: str, name: str) -> Reading:
    """`Commits.adopt`: whether the tenant holds what the fleet has."""
    seen = yield Request("get", "record")
    if seen is None or seen.state not in READABLE:
        return False
    already = yield from held(rules, tenant, name)
    if already:
        return True
    adopted = yield from adopt(rules, tenant, name)
    return adopted


def carry_out(
    rules: Rules, tenant: str, name: str, record: Record, kind: str, first: bool
) -> Reading:
    """`Commits.carry_out`: data ∥ hold, then the record, then forget or thaw."""
    fresh = rules.fresh_names
    hold_name = name if rules.fresh_redrive_name else record.nonce
    bytes_there: Hashable
    if rules.hold == "before":
        both = Both(
            Call(complete, (record.key, kind, first)), Call(make_hold, (tenant, hold_name, fresh))
        )
        bytes_there, hold = yield both
    else:
        bytes_there = yield from complete(record.key, kind, first)
        hold = OK
    if bytes_there == "gone":
        yield from thaw(tenant, record.key)
        return
    if bytes_there == UNKNOWN or hold is None:
        return
    if rules.hold == "beside":
        publishing = Call(publish, (record, name))
        outcome, hold = yield Both(publishing, Call(make_hold, (tenant, hold_name, fresh)))
    else:
        outcome = yield from publish(record, name)
    if outcome == UNKNOWN:
        return
    if outcome == "aborted":
        yield from thaw(tenant, record.key)
        return
    if rules.hold == "after":
        hold = yield from make_hold(tenant, hold_name, fresh)
    if outcome == "redundant":
        yield from find(tenant)
    if hold is not None:
        yield Note("held")
    yield Request("run", "forget", tenant, None, record.key)


def complete(key: str, kind: str, first: bool) -> Reading:
    """`Commits._complete`: "ok", "gone" or no reply, of the bytes."""
    if kind == "inline":
        return OK
    if kind == "parts":
        outcome = yield from complete_upload(key)
        return outcome
    if first:
        reply = yield Request("put", "data", key)
        return reply
    there = yield from intact(key)
    return OK if there else "gone"


def complete_upload(key: str) -> Reading:
    """`Commits.complete_upload`: what no reply, or a failure, means is decided by looking."""
    for _attempt in range(ATTEMPTS):
        reply = yield Request("complete_upload", "data", key)
        if reply == OK:
            return OK
        there = yield from intact(key)
        if there:
            return OK
        if reply != UNKNOWN:
            return "gone"
    return UNKNOWN


def thaw(tenant: str, key: str) -> Reading:
    """`Commits._thaw`: the ingest is dropped."""
    yield Request("run", "forget", tenant, None, key)
    yield Request("abort_upload", "data", key)


def publish(record: Record, name: str) -> Reading:
    """`Blobs._publish`: created, redundant, aborted, or no reply."""
    seen: Record | None = None
    for attempt in range(ATTEMPTS):
        if seen is not None and seen.nonce == record.nonce:
            return "created"
        keeps = False
        if seen is not None and seen.state in READABLE:
            keeps = yield from intact(seen.key)
        if keeps:
            outcome, current = yield from pardon(seen, f"{name}p{attempt}")
        elif seen is not None and seen.key == record.key:
            return "aborted"
        else:
            lifetime = "" if record.key.startswith(INLINE) else record.key
            outcome, current = yield from write(record, seen, lifetime)
        if outcome == OK:
            return "created" if current.key == record.key else "redundant"
        if outcome != "lost":
            return "aborted" if outcome == TOO_OLD else UNKNOWN
        seen = current
    return UNKNOWN


def pardon(seen: Record, nonce: str) -> Reading:
    """`Blobs._pardon`: a condemned record is live again."""
    if seen.state == LIVE:
        return (OK, seen)
    outcome = yield from write(Record(LIVE, seen.key, nonce), seen)
    return outcome


def redrive(rules: Rules, tenant: str, name: str, frozen: Record, kind: str) -> Program:
    """`Commits.redrive`: another stream's frozen commit is carried to its end."""
    record = frozen if rules.same_nonce else frozen._replace(nonce=f"{name}r")
    seen = yield Request("get", "record")
    if seen is not None and seen.key == record.key:
        yield Request("run", "forget", tenant, None, record.key)
        return
    yield from carry_out(rules, tenant, name, record, kind, False)
