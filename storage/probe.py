"""Tests whether a store behaves as Holdfast's safety requires.

Some S3 servers ignore the conditions of a PUT, or check them without a lock. On those, two
commits of one digest lose content, and nothing else would reveal it. Everything is written
below a prefix of its own, which is emptied at the end.

    a check finds that the store did what only an unsafe one does
                      it fails: a second try may succeed by chance
    a check meets what may pass: a flipped bit, a hang, a full disk, a request without an answer
                      it is made again, a few times, below other prefixes; the last result counts
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Barrier
from typing import Final

from holdfast.checks import Check
from holdfast.deadlines import begin, left
from holdfast.errors import (
    ConfigurationError,
    HoldfastError,
    OutcomeUnknown,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    because,
)
from holdfast.storage.keys import uuid7
from holdfast.storage.port import (
    MIN_PART_SIZE,
    Condition,
    ConditionFailed,
    IfAbsent,
    IfMatch,
    NoSuchKey,
    NoSuchUpload,
    ObjectStore,
    Part,
)

PREFIX: Final = "probe/"
WRITERS: Final = 16
ROUNDS: Final = 3
"""Rounds of each kind of race: a store without a lock lets two writers win in most of them."""
SKEW: Final = 60.0
"""Seconds between the clocks from which on the probe warns."""
DANGEROUS_SKEW: Final = 600.0
"""Seconds between the clocks from which on the probe fails; at 900, S3 refuses signatures."""
PAUSES: Final = (0.2, 0.4, 0.8, 1.6, 3.2)
"""Seconds before each further try of a check that met what may pass."""
_WRONG_ETAG: Final = "0" * 32
_UNCHECKED: Final = (
    "a bit that flips on the way to the store is found when the bytes are read, by DATA_LOSS: use "
    "TLS, which notices most of them, and scrub; a store that refuses the header altogether "
    "needs HOLDFAST_S3_CHECKSUMS=false"
)
_OTHER_STORE: Final = "use a store whose conditional PUTs are atomic: AWS S3, R2, MinIO"


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a probe found, in the order of its checks."""

    checks: tuple[Check, ...]


def probe(
    store: ObjectStore,
    essential_only: bool,
    clock: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> ProbeReport:
    """Tests whether a store does what Holdfast needs.

    Args:
        store: any object store.
        essential_only: skip what Holdfast can start without.
        clock: this machine's, in s since 1970.
        pause: waits for the given seconds.

    Raises:
        ConfigurationError: the bucket doesn't exist.
        PermissionDenied: the credentials don't even allow a look into the bucket.
        Unavailable: the store can't be reached.
    """
    store.check_access()
    prefix = f"{PREFIX}{uuid7()}/"
    try:
        tries = _Tries(store, prefix, pause)
        checks = list(_essential(tries, clock))
        if not essential_only:
            checks += _further(tries)
    finally:
        _clean_up(store, prefix)
    return ProbeReport(tuple(checks))


Look = Callable[[ObjectStore, str], str]
"""Tries something in a store below a prefix; returns what it found, or raises what is wrong."""


@dataclass(frozen=True, slots=True)
class _Tries:
    """What checks are made with."""

    store: ObjectStore
    prefix: str
    pause: Callable[[float], None]

    def check(self, name: str, look: Look, advice: str, *, essential: bool = True) -> Check:
        """Makes a check, and makes it again while what it meets may pass."""
        try:
            return Check(name, ok=True, essential=essential, found=self._find(look))
        except PermissionDenied as error:
            found, advice = because(error), _permissions()
        except ResourceExhausted as error:
            found, advice = because(error), "free some space, or raise the quota"
        except Unavailable as error:
            if not isinstance(error, OutcomeUnknown):
                raise
            found = because(error)
        except (_Found, HoldfastError) as error:
            found = because(error)
        return Check(name, ok=False, essential=essential, found=found, advice=advice)

    def _find(self, look: Look) -> str:
        first = ""
        for number, pause in enumerate(PAUSES):
            try:
                found = look(self.store, f"{self.prefix}{number}/")
            # No fault on the way says that an object isn't there.
            except (NoSuchKey, PermissionDenied, ConfigurationError):
                raise
            except (_Doubtful, HoldfastError) as error:
                if (seconds := left()) is not None and seconds <= pause:
                    raise
                first = first or because(error)
            else:
                return f"{found} (at try {number + 1}; at first: {first})" if first else found
            self.pause(pause)
        return f"{look(self.store, f'{self.prefix}last/')} (at the last try; at first: {first})"


def _essential(tries: _Tries, clock: Callable[[], float]) -> Iterator[Check]:
    check = tries.check
    yield check("read and write", _round_trip, _permissions())
    yield check("listing", _listing, "listings must be strongly consistent")
    yield check("conditional PUT", _conditions, _OTHER_STORE)
    yield check("conditional PUT, create by many at once", _create_races, _OTHER_STORE)
    yield check("conditional PUT, change by many at once", _change_races, _OTHER_STORE)
    yield _clocks(tries.store.now() - clock())
    yield check("bytes checked on the way", _on_the_way, _UNCHECKED, essential=False)


def _further(tries: _Tries) -> Iterator[Check]:
    check = partial(tries.check, essential=False)
    advice = "use a store that has multipart uploads: anything larger than a part needs them"
    yield check("multipart", _multipart, advice)
    yield check("aborting uploads", _abort, advice)
    advice = "add a lifecycle rule that aborts incomplete uploads: the collector can't see them"
    yield check("listing uploads", _list_uploads, advice)
    advice = "nothing, if you can spare the tombstones that stay: about 300 bytes each"
    yield check("conditional DELETE", _delete_if, advice)


def deletes_conditionally(store: ObjectStore) -> bool:
    """Whether the store refuses a DELETE whose If-Match isn't the object's ETag."""
    prefix = f"{PREFIX}{uuid7()}/"
    try:
        return _refuses_stale_deletes(store, prefix + "delete-if")
    except _Found:
        return False
    finally:
        _clean_up(store, prefix)


def _permissions() -> str:
    return (
        "allow s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket, "
        "s3:AbortMultipartUpload and s3:ListMultipartUploadParts; a store that refuses the header "
        "x-amz-checksum-crc32c needs HOLDFAST_S3_CHECKSUMS=false"
    )


class _Found(Exception):  # noqa: N818 -- an outcome of a check
    """The store did something other than what is required."""


class _Doubtful(_Found):
    """What was found may be a fault on the way: bytes that differ from all that were sent."""


def _round_trip(store: ObjectStore, prefix: str) -> str:
    key, body = prefix + "object", b"0123456789"
    written = store.put(key, body)
    fetched, ranged = store.get(key), store.get(key, 3, 4)
    if fetched.body != body or ranged.body != body[3:7]:
        raise _Doubtful(
            f"{body!r} was written, but GET read {fetched.body!r}, and a range {ranged.body!r}"
        )
    if not written.etag == fetched.entry.etag == store.head(key).etag:
        raise _Doubtful("the ETags of PUT, GET and HEAD differ")
    store.delete(key)
    with suppress(NoSuchKey):
        store.head(key)
        raise _Found("an object still existed after its DELETE")
    return "objects can be written, read in part, and deleted"


def _listing(store: ObjectStore, prefix: str) -> str:
    names = [f"{prefix}list/{name}" for name in ("a", "a.deleting", "b")]
    written = [(name, store.put(name, name.encode()).etag) for name in names]

    def expect(expected: Sequence[tuple[str, str]], when: str, start_after: str = "") -> None:
        listed = [(entry.key, entry.etag) for entry in store.list(f"{prefix}list/", start_after)]
        if listed == expected:
            return
        # A bit that flips makes a new entry of one; it adds, hides, moves and brings back none.
        odd = set(listed) - set(expected)
        changed = len(listed) == len(expected) and odd and not odd.intersection(written)
        raise (_Doubtful if changed else _Found)(
            f"a listing {when} had {listed}; {expected} were expected, in this order"
        )

    expect(written, "after a write")
    expect(written[1:], "from a key on", names[0])
    store.delete(names[1])
    expect([written[0], written[2]], "after a DELETE")
    return "complete and in order right after a write and a delete"


def _conditions(store: ObjectStore, prefix: str) -> str:
    key = prefix + "conditions"
    if _put(store, key, b"absent", IfMatch(_WRONG_ETAG)):
        raise _Found("If-Match on an absent object was ignored")
    if not _put(store, key, b"first", IfAbsent()):
        raise _Doubtful("If-None-Match: * refused an absent object")
    if _put(store, key, b"again", IfAbsent()):
        raise _Found("If-None-Match: * was ignored: an object was overwritten")
    first = store.head(key).etag
    if not _put(store, key, b"second", IfMatch(first)):
        raise _Doubtful("If-Match refused the current ETag")
    if _put(store, key, b"third", IfMatch(first)):
        raise _Found("a stale If-Match was ignored: an object was overwritten")
    body = store.get(key).body
    if body != b"second":
        kind = _Found if body in {b"absent", b"first", b"again", b"third"} else _Doubtful
        raise kind(f"a refused PUT changed the object to {body!r}")
    return "If-None-Match and If-Match are honoured"


def _create_races(store: ObjectStore, prefix: str) -> str:
    return _races(store, f"{prefix}create", lambda _: IfAbsent())


def _change_races(store: ObjectStore, prefix: str) -> str:
    return _races(store, f"{prefix}change", lambda key: IfMatch(store.put(key, b"0").etag))


def _races(store: ObjectStore, key: str, condition: Callable[[str], Condition]) -> str:
    """Lets many writers race; exactly one may win, and its bytes must be stored."""
    for number in range(ROUNDS):
        name = f"{key}-{number}"
        race = _Race(store, name, condition(name))
        # New threads don't inherit the deadline, so it is passed on to them.
        with ThreadPoolExecutor(WRITERS, "probe", begin, (left(),)) as pool:
            list(pool.map(race.write, race.bodies))
        race.judge()
    return f"one of {WRITERS} writers won, in each of {ROUNDS} rounds"


class _Race:
    """Writers of one object under one condition; a flipped bit makes no body another's."""

    def __init__(self, store: ObjectStore, name: str, condition: Condition) -> None:
        self.bodies = [secrets.token_bytes(16) for _ in range(WRITERS)]
        self._store = store
        self._name = name
        self._condition = condition
        self._barrier = Barrier(WRITERS)
        self._won: list[bytes] = []
        self._unknown: list[bytes] = []
        self._errors: list[HoldfastError] = []

    def write(self, body: bytes) -> None:
        """Writes at the same moment as all others."""
        self._barrier.wait()
        try:
            if _put(self._store, self._name, body, self._condition):
                self._won.append(body)
        except OutcomeUnknown:
            self._unknown.append(body)
        except HoldfastError as error:
            self._errors.append(error)

    def judge(self) -> None:
        """Says whether the outcome is one that a safe store may have.

        Raises:
            _Found: it isn't, whatever happened to some of the requests.
            _Doubtful: nothing can be said.
            HoldfastError: the same, because a request failed.
        """
        if len(self._won) > 1:
            raise _Found(
                f"{len(self._won)} of {WRITERS} concurrent writers won; expected exactly one"
            )
        # A few that failed leave enough that raced.
        if self._errors and (not self._won or len(self._errors) > WRITERS // 4):
            raise self._errors[0]
        if not self._won and not self._unknown:
            raise _Doubtful(f"none of {WRITERS} concurrent writers won; expected exactly one")
        try:
            body = self._store.get(self._name).body
        except NoSuchKey:
            if self._won:
                raise
            raise _Doubtful("no writer has a clear reply, and there is no object") from None
        # A writer without a clear reply may be the one that won.
        if body not in (self._won or self._unknown):
            kind = _Found if body in self.bodies else _Doubtful
            raise kind("the object isn't what the only winner wrote")


def _put(store: ObjectStore, key: str, body: bytes, condition: Condition) -> bool:
    try:
        store.put(key, body, condition)
    except ConditionFailed:
        return False
    return True


def _clocks(skew: float) -> Check:
    return Check(
        "clock",
        ok=abs(skew) <= SKEW,
        essential=abs(skew) > DANGEROUS_SKEW,
        found=f"the store's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours",
        advice="" if abs(skew) <= SKEW else "synchronise this machine's clock (NTP)",
    )


def _on_the_way(store: ObjectStore, prefix: str) -> str:
    refused = store.refuses_changed(prefix + "changed")
    if refused is None:
        return "no sums are sent: bytes are checked when they are read"
    if not refused:
        raise _Found("the store ignores checksums: it accepted bytes that don't match their CRC32C")
    return "bytes that aren't those of their CRC32C are refused"


def _multipart(store: ObjectStore, prefix: str) -> str:
    key = prefix + "multipart"
    upload = store.create_upload(key)
    bodies = [b"a" * MIN_PART_SIZE, b"b"]
    parts = [store.put_part(key, upload.id, n, body) for n, body in enumerate(bodies, start=1)]
    listed = [(part.number, part.etag, part.size) for part in store.list_parts(key, upload.id)]
    if listed != [(part.number, part.etag, part.size) for part in parts]:
        raise _Found("the parts that are listed aren't those that were stored")
    written = store.complete_upload(key, upload.id, parts)
    if store.head(key).size != MIN_PART_SIZE + 1:
        raise _Found(
            f"{MIN_PART_SIZE + 1} bytes were completed, but the object has {store.head(key).size}"
        )
    return f"works; ETags of completed uploads are {_composites(store, parts, written.etag)}"


def _composites(store: ObjectStore, parts: Sequence[Part], etag: str) -> str:
    computed = store.composite_etag(parts)
    if computed is None:
        return "this store's own"
    if computed != etag:
        raise _Found(f"a completed upload has the ETag {etag}; expected {computed}")
    return "computed from those of the parts"


def _abort(store: ObjectStore, prefix: str) -> str:
    key = prefix + "aborted"
    upload = store.create_upload(key)
    store.put_part(key, upload.id, 1, b"part")
    store.abort_upload(key, upload.id)
    with suppress(NoSuchUpload):
        store.list_parts(key, upload.id)
        raise _Found("an upload still existed after it was aborted")
    return "works"


def _list_uploads(store: ObjectStore, prefix: str) -> str:
    key = prefix + "listed"
    upload = store.create_upload(key)
    try:
        if key not in {pending.key for pending in store.list_uploads(prefix)}:
            raise _Found("an upload under way isn't listed")
    finally:
        store.abort_upload(key, upload.id)
    return "works"


def _delete_if(store: ObjectStore, prefix: str) -> str:
    if _refuses_stale_deletes(store, prefix + "delete-if"):
        return "If-Match is honoured by DELETE too: tombstones are removed"
    return "DELETE ignores If-Match: the collector leaves tombstones, some 300 bytes each"


def _refuses_stale_deletes(store: ObjectStore, key: str) -> bool:
    stale, current = store.put(key, b"first").etag, store.put(key, b"second").etag
    if _deleted(store, key, stale):
        return False
    if store.get(key).body != b"second" or not _deleted(store, key, current):
        raise _Found(
            "a DELETE with a stale If-Match removed the object, or one with its ETag didn't"
        )
    with suppress(NoSuchKey):
        store.head(key)
        raise _Found("an object still existed after a DELETE with its ETag")
    return True


def _deleted(store: ObjectStore, key: str, etag: str) -> bool:
    try:
        store.delete_if(key, etag)
    except ConditionFailed:
        return False
    return True


def _clean_up(store: ObjectStore, prefix: str) -> None:
    """Removes what the probe wrote, as far as the store allows it."""
    with suppress(HoldfastError):
        for entry in list(store.list(prefix)):
            store.delete(entry.key)
    with suppress(HoldfastError):
        for upload in list(store.list_uploads(prefix)):
            store.abort_upload(upload.key, upload.id)
