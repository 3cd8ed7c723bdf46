"""Model D: what a frontend requests for a tenant that comes back, and an expiry that drops it.

The programs are named after, and read like, `service/holdings/presence.py`, `service/tenants/`,
`Catalogue.give_up` and `storage/sightings.py`. They also ask the world what is in a process's
memory and how old it is, because ages change while programs wait.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.model.programs import ABSENT, OK, UNKNOWN, Note, Program, Request

SEEN, MISSING = "seen", "missing"
UNREADABLE = "unreadable"
"""A damaged mark: it is read again before it counts as damaged."""
ATTEMPTS = 2


class ExpiryRules(NamedTuple):
    """The rules of expiries; a broken variant differs in one of them. Ages are in ticks."""

    sights_first: bool = True
    """Frontends: the sighting is confirmed before any look-up."""
    falls_back: str = "missed"
    """A failed sighting counts if the tenant isn't "missed", "always", or "never"."""
    believed: int = 1
    answered: int = 2
    """An RPC that began under a sighting is answered while the sighting is younger than this."""
    pins: bool = True
    """An answer's age is that of the sighting with which its RPC began, not of the latest one."""
    minds_marks: bool = True
    fresh_sightings: bool = True
    second_look: bool = True
    grace: int = 3
    names_sighting: bool = True
    """Expiries: a mark `missing` counts only for the sighting that it names."""
    looks: str = "after"
    """The expiry checks "after" it has marked the holds, or only "before", for a return."""
    minds_missing: bool = True
    """The expiry also checks whether the mark `missing` still exists."""
    announces: bool = True
    takes_back: str = "first"
    """When the hold that replaces marked ones is made: "first", "last"; or they are "unmarked"."""
    sweep_takes_back: bool = True
    """Collectors end an interrupted delete by making another hold, not by finishing it."""


class Gone(NamedTuple):
    """The sighting and the mark `missing` that say that a tenant is gone."""

    seen: str
    mark: str


# -- frontends


def ask(rules: ExpiryRules, frontend: str, name: str, sort: str) -> Program:
    """An RPC: Info under "isolated" or "shared", or a "commit"."""
    if rules.sights_first:
        noted = yield from note(rules, frontend, name)
        if not noted:
            return
    found = yield from look(rules, name, sort)
    in_time = yield Request("run", "promise", name, None, frontend)
    if found and in_time:
        yield Note("held")
    if not rules.sights_first:
        yield from note(rules, frontend, name)


def note(rules: ExpiryRules, frontend: str, name: str) -> Program:
    """`Presence.note`: whether a sighting, or the absence of a mark `missing`, is believed."""
    believed = yield Request("get", "belief", name, None, frontend)
    if believed:
        return True
    reply = yield Request("put", "seen", SEEN, None, name if rules.fresh_sightings else "A")
    if reply != OK:
        missed = rules.falls_back == "never"
        if rules.falls_back == "missed":
            mark = yield Request("get", "missing", MISSING)
            if mark is not None:
                seen = yield Request("head", "seen", SEEN)
                missed = mark[0] == seen
        if missed:
            return False
    yield Request("put", "belief", name, None, frontend)
    return True


def look(rules: ExpiryRules, name: str, sort: str) -> Program:
    """`Catalogue.info`, or a commit's hold: whether the tenant holds the digest."""
    ticket = UNKNOWN
    if sort != "commit":
        ticket = yield Request("run", "hold_look_up")
        if ticket != UNKNOWN and ticket[1]:
            return True
        listed = yield Request("list", "hold")
        found = any(not (marked and rules.minds_marks) for _, marked in listed)
        if not found and sort == "isolated":
            return False
        if found:
            yield from fill(ticket)
            return True
    made = yield from make_hold(name)
    if made:
        yield from fill(ticket)
    return made


def fill(ticket: str | tuple[str, bool]) -> Program:
    """`HoldCache.fill`."""
    if ticket != UNKNOWN:
        yield Request("run", "hold_fill", None, None, ticket[0])


def make_hold(name: str) -> Program:
    """`Holds.make`: whether one was confirmed, each attempt under a fresh name."""
    for attempt in range(ATTEMPTS):
        made = yield Request("put", "hold", f"{name}h{attempt}", ABSENT)
        if made == OK:
            return True
    return False


# -- expiries


def read_mark() -> Program:
    """`Sightings.missing`: a mark that can't be read is read again."""
    mark = yield Request("get", "missing", MISSING)
    if mark == UNREADABLE:
        mark = yield Request("get", "missing", MISSING)
    return None if mark == UNREADABLE else mark


def expire(rules: ExpiryRules, name: str) -> Program:
    """`Expiry` of a tenant that isn't found: marks it, waits, or drops it."""
    held, seen, marked = yield Request("list", "tenants")
    if not held:
        return
    mark = None
    if marked:
        mark = yield from read_mark()
    if marked and mark is None:  # gone since; to the code it looks like a damaged one
        deleted = yield Request("delete", "missing", MISSING)
        if deleted != OK:
            return
    if mark is None or (rules.names_sighting and mark[0] != seen):
        over = ABSENT if mark is None else mark[1]
        put = yield Request("put", "missing", MISSING, over, (seen, name))
        if rules.second_look or put != OK:
            return
        mark = (seen, name, True)
    if not mark[2]:
        return
    if not rules.names_sighting:
        seen = yield Request("head", "seen", SEEN)
    dropped = yield from drop(rules, name, Gone(seen, mark[1]))
    if dropped:
        yield Request("delete", "missing", MISSING)


def find(_rules: ExpiryRules, _name: str) -> Program:
    """`Expiry` of a tenant that is found: a list of existing tenants names it."""
    held, _, marked = yield Request("list", "tenants")
    if held and marked:
        mark = yield Request("get", "missing", MISSING)
        if mark is not None:
            yield Request("delete", "missing", MISSING)


def still(rules: ExpiryRules, gone: Gone) -> Program:
    """`Gone`: whether the tenant is still gone."""
    seen = yield Request("head", "seen", SEEN)
    if seen != gone.seen:
        return False
    if rules.minds_missing:
        mark = yield Request("head", "missing", MISSING)
        return mark == gone.mark
    return True


def drop(rules: ExpiryRules, name: str, gone: Gone) -> Program:
    """`give_up` of all that the tenant holds, here one digest: whether all is gone."""
    there = yield from still(rules, gone)
    if not there:
        return False
    group = yield Request("list", "hold")
    if not group:
        return True
    if rules.announces:
        begun = yield Request("run", "change_begin", name)
        if begun != OK:
            return False
    done = yield from give_up(rules, name, gone)
    if done is not None and rules.announces:
        ended = yield Request("run", "change_end", name)
        return bool(done and ended == OK)
    return bool(done)


def give_up(rules: ExpiryRules, name: str, gone: Gone) -> Program:
    """`Catalogue.give_up`, once announced: whether all is gone; None if it fails."""
    there = yield from still(rules, gone)
    if not there:
        return False
    listed = yield Request("list", "hold")
    names = tuple(hold for hold, _ in listed)
    for hold in names:
        marked = yield Request("put", "mark", hold)
        if marked != OK:
            return None
    if not names:
        return True
    if rules.announces:
        confirmed = yield Request("run", "change_confirm", name)
        if confirmed != OK:
            return None
    if rules.looks == "after":
        there = yield from still(rules, gone)
    if there:
        unlinked = yield from unlink(names)
        return True if unlinked else None
    ended = yield from take_back(rules, name, names)
    return False if ended else None


def unlink(names: tuple[str, ...], kinds: tuple[str, ...] = ("hold", "mark")) -> Program:
    """`Holds.unlink`: whether all was confirmed."""
    for hold in names:
        for kind in kinds:
            gone = yield Request("delete", kind, hold)
            if gone != OK:
                return False
    return True


def take_back(rules: ExpiryRules, name: str, names: tuple[str, ...]) -> Program:
    """`Holds.take_back`: one more hold replaces those deleted; whether all was confirmed."""
    if rules.takes_back == "unmarked":
        unmarked = yield from unlink(names, ("mark",))
        return unmarked
    found = False
    for hold in names:
        there = yield Request("get", "hold", hold)
        found = found or there
    if rules.takes_back == "last":
        unlinked = yield from unlink(names)
        if not unlinked:
            return False
    if found:
        made = yield from make_hold(f"{name}t")
        if not made:
            return False
    if rules.takes_back == "last":
        return True
    unlinked = yield from unlink(names)
    return unlinked


def sweep(rules: ExpiryRules, name: str) -> Program:
    """A collector's `BrokenDeletes`, for which every mark is old enough."""
    marks = yield Request("list", "mark")
    for hold in marks:
        listed = yield Request("list", "hold")
        if (hold, True) not in listed:
            continue
        there = yield Request("get", "hold", hold)
        if there and rules.sweep_takes_back and all(marked for _, marked in listed):
            made = yield from make_hold(f"{name}s{hold}")
            if not made:
                return
        unlinked = yield from unlink((hold,))
        if not unlinked:
            return
