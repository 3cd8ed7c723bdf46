"""What a commit asks of the store and of Redis, as in `service/ingest/commit.py`."""

from __future__ import annotations

from tests.model.programs import OK, UNKNOWN, Both, Call, Note, Program, Request
from tests.model.storage_programs import (
    Reading,
    adopt,
    find,
    held,
    intact,
    make_hold,
    pardon,
    spoilt,
    write,
)
from tests.model.storage_rules import (
    ATTEMPTS,
    GONE,
    INLINE,
    KNOWN,
    LIVE,
    READABLE,
    TOO_OLD,
    WRONG,
    Record,
    Rules,
)


def commit(rules: Rules, tenant: str, name: str, kind: str) -> Program:
    """`committing._publish`: kind is "inline", "early", "single" or "parts"."""
    record = record_of(name, kind)
    if kind == "parts":
        adopted = yield from adopt_instead(rules, tenant, name)
        if adopted:
            yield Note("held", (GONE, KNOWN))
            yield Request("run", "forget", tenant, None, record.key)
            yield Request("abort_upload", "data", record.key)
            return
    if kind == "early":
        put = yield Request("put", "data", record.key)
        if put != OK:
            return
    yield from freeze(rules, tenant, name, record, kind)


def commit_unnamed(rules: Rules, tenant: str, name: str, kind: str) -> Program:
    """`committing.commit` of bytes whose digest wasn't announced: it checks whether they are held.

    That check is a `held_again` of its own, so scenarios leave it to their other operations.
    """
    record = record_of(name, kind)
    looking = Call(look, (rules, tenant, name, kind))
    if kind == "early":
        put, already = yield Both(Call(put_data, (record.key,)), looking)
        if put != OK:
            return
    else:
        already = yield from looking.program(*looking.arguments)
    if already:
        yield Note("held", (GONE,))
        return
    if kind == "early":
        yield from freeze(rules, tenant, name, record, kind)
    else:
        yield from commit(rules, tenant, name, kind)


def record_of(name: str, kind: str) -> Record:
    """The record that a commit will write."""
    return Record(LIVE, f"{INLINE if kind == 'inline' else 'd'}{name}", f"{name}c")


def put_data(key: str) -> Reading:
    """One object, written once all its bytes have arrived."""
    reply = yield Request("put", "data", key)
    return reply


def look(rules: Rules, tenant: str, name: str, kind: str) -> Reading:
    """`OpenIngest.look_for`: whether the tenant holds the digest, and bytes like those at hand."""
    known = yield Request("get", "record")
    if known is None or known.state not in READABLE:
        return False
    already = yield from held(rules, tenant, f"{name}l")
    if not already or kind == "parts":
        return already
    seen = yield Request("get", "record")
    return seen is not None and seen.damage != WRONG


def freeze(rules: Rules, tenant: str, name: str, record: Record, kind: str) -> Reading:
    """`Commits.freeze`, and what follows it."""
    frozen = yield Request("run", "freeze", tenant, None, (record, kind))
    if frozen != OK:
        return
    yield from carry_out(rules, tenant, name, record, kind, True)


def adopt_instead(rules: Rules, tenant: str, name: str) -> Reading:
    """`Commits.adopt`: whether the tenant now holds what the fleet has, if that is worth a look."""
    skipped = yield Request("get", "absence")
    if skipped:
        return False
    seen = yield Request("get", "record")
    if seen is None or seen.state not in READABLE:
        return False
    if not rules.flights_are_advice:  # "somebody has committed it" is taken for the look
        made = yield from make_hold(rules, tenant, name)
        return made is not None
    already = yield from held(rules, tenant, name)
    if already:
        return True
    adopted = yield from adopt(rules, tenant, name)
    return adopted


def carry_out(
    rules: Rules, tenant: str, name: str, record: Record, kind: str, first: bool
) -> Reading:
    """`Commits.carry_out`: data ∥ hold, then the record, then forget or thaw."""
    making = Call(make_own, (rules, tenant, name, record, first))
    completing = Call(complete, (rules, record.key, kind, first))
    bytes_there, hold = yield from before_record(rules, completing, making)
    if bytes_there == "gone":
        yield from thaw(tenant, record.key)
        return
    if bytes_there == UNKNOWN or hold is None:
        return
    if rules.hold == "beside":
        outcome, hold = yield Both(Call(publish, (rules, record, name)), making)
    else:
        outcome = yield from publish(rules, record, name)
    if outcome == UNKNOWN:
        return
    if outcome == "aborted":
        yield from thaw(tenant, record.key)
        return
    late = yield from after_record(rules, completing, making)
    if outcome == "redundant":
        yield from find(tenant)
    if hold is not None and late is not None:
        yield Note("held", (GONE, WRONG, KNOWN))
    yield Request("run", "forget", tenant, None, record.key)


def make_own(rules: Rules, tenant: str, name: str, record: Record, first: bool) -> Reading:
    """`Blobs.make_hold`: a repeated commit looks for its hold before it makes one."""
    if not first and rules.redrive_finds_hold:
        found = yield from find(tenant, rules.held_minds_marks)
        for there in found:
            if there.startswith(record.nonce):
                return there
    fresh = f"{record.nonce}.{name}." if rules.fresh_redrive_name else record.nonce
    made = yield from make_hold(rules, tenant, fresh)
    return made


def before_record(rules: Rules, completing: Call, making: Call) -> Reading:
    """The bytes and the hold concurrently; broken variants leave one of them for later."""
    if not rules.data_first:
        hold = yield from making.program(*making.arguments)
        return (OK, hold)
    if rules.hold == "before":
        both = yield Both(completing, making)
        return both
    bytes_there = yield from completing.program(*completing.arguments)
    return (bytes_there, OK)


def after_record(rules: Rules, completing: Call, making: Call) -> Reading:
    """What broken variants do too late; None if their hold wasn't made."""
    if not rules.data_first:
        yield from completing.program(*completing.arguments)
    if rules.hold == "after":
        hold = yield from making.program(*making.arguments)
        return hold
    return OK


def complete(rules: Rules, key: str, kind: str, first: bool) -> Reading:
    """`Completion.complete`: "ok", "gone" or no reply, for the bytes."""
    if kind == "inline" or (kind == "early" and first):
        return OK
    if kind == "parts":
        outcome = yield from complete_upload(rules, key)
        return outcome
    if first:
        reply = yield Request("put", "data", key)
        return reply
    there = (yield from intact(key)) if rules.redrive_finds_bytes else True
    return OK if there else "gone"


def complete_upload(rules: Rules, key: str) -> Reading:
    """`Completion.complete_upload`: after no reply, or a failure, it looks what has happened."""
    for _attempt in range(ATTEMPTS):
        reply = yield Request("complete_upload", "data", key)
        if reply == OK or (reply == UNKNOWN and not rules.looks_after_complete):
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


def publish(rules: Rules, record: Record, name: str) -> Reading:
    """`Blobs._publish`: created, redundant, aborted, or no reply."""
    seen: Record | None = None
    for attempt in range(ATTEMPTS):
        if seen is not None and seen.nonce == record.nonce:
            return "created"
        keeps = yield from as_good(rules, seen)
        if keeps:
            assert seen is not None
            outcome, current = yield from pardon(rules, seen, f"{name}p{attempt}")
        elif seen is not None and seen.key == record.key and rules.refuses_dead_bytes:
            return "aborted"
        else:
            lifetime = "" if record.key.startswith(INLINE) else record.key
            outcome, current = yield from write(rules, record, seen, lifetime)
        if outcome == OK:
            return "created" if current.key == record.key else "redundant"
        if outcome != "lost":
            return "aborted" if outcome == TOO_OLD else UNKNOWN
        seen = current
    return UNKNOWN


def as_good(rules: Rules, seen: Record | None) -> Reading:
    """Whether a commit may discard its bytes because of a record's."""
    if seen is None or seen.state not in READABLE or spoilt(rules, seen):
        return False
    if rules.publish_minds_sums and seen.damage == WRONG:
        return False
    there = True
    if rules.publish_looks:
        there = yield from intact(seen.key)
    return there


def redrive(rules: Rules, tenant: str, name: str, frozen: Record, kind: str) -> Program:
    """`Commits.redrive`: completes another stream's frozen commit."""
    record = frozen if rules.same_nonce else frozen._replace(nonce=f"{name}r")
    seen = yield Request("get", "record")
    if seen is not None and seen.key == record.key and rules.redrive_looks:
        yield Request("run", "forget", tenant, None, record.key)
        return
    yield from carry_out(rules, tenant, name, record, kind, False)
