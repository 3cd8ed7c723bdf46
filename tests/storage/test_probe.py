"""The probe: safe stores pass, and each way of being unsafe is found."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count, cycle
from random import Random
from threading import Barrier, BrokenBarrierError, Lock
from typing import Any, Final

import pytest

from holdfast.deadlines import within
from holdfast.errors import (
    ConfigurationError,
    DataLoss,
    HoldfastError,
    OutcomeUnknown,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from holdfast.storage.folder import FolderStore
from holdfast.storage.port import (
    Condition,
    ConditionFailed,
    Entry,
    Fetched,
    NoSuchKey,
    ObjectStore,
    Part,
    PendingUpload,
    Written,
)
from holdfast.storage.probe import ProbeReport, deletes_conditionally
from holdfast.storage.probe import probe as probe_with_pauses
from holdfast.storage.reserve import Reserve, ReservedStore
from tests.stores.memory import MemoryStore
from tests.stores.quota import QuotaStore
from tests.stores.wrapped import Wrapped

ON_THE_WAY = "bytes checked on the way"
RACE = "conditional PUT, create by many at once"
probe = partial(probe_with_pauses, pause=lambda _: None)


def failed(report: ProbeReport) -> dict[str, bool]:
    """Names of the checks that failed, and whether they are essential."""
    return {check.name: check.essential for check in report.checks if not check.ok}


def known(store: ObjectStore) -> dict[str, bool]:
    """What a store of the tests' is known not to do: moto ignores checksums."""
    ignores = store.refuses_changed("changed") is False
    store.delete("changed")
    return {ON_THE_WAY: False} if ignores else {}


# -- stores that are safe


@pytest.mark.parametrize("essential_only", [True, False])
def test_safe_store(object_store: ObjectStore, essential_only: bool) -> None:
    """A safe store passes every check, and nothing is left in it."""
    report = probe(object_store, essential_only)
    assert failed(report) == known(object_store)
    assert len(report.checks) == (7 if essential_only else 11)
    assert all(check.found for check in report.checks)
    assert list(object_store.list("")) == []
    assert list(object_store.list_uploads("")) == []


def test_two_probes_at_once(object_store: ObjectStore) -> None:
    """What another probe left half-way is neither seen nor touched."""
    object_store.put("probe/another/conditions", b"x")
    assert failed(probe(object_store, essential_only=True)) == known(object_store)
    assert [entry.key for entry in object_store.list("")] == ["probe/another/conditions"]


# -- stores that aren't


class NoConditions(Wrapped):
    """Ignores conditions, as GCS's XML interface does."""

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        del condition
        return super().put(key, body)


class NoLock(Wrapped):
    """Checks conditions and then writes, with time in between for others to do the same."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self._meet = Barrier(2)

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        if condition is None:
            return super().put(key, body)
        current = self._etag(key)
        wanted = getattr(condition, "etag", None)
        if current != wanted:
            raise ConditionFailed("checked without a lock")
        try:
            self._meet.wait(0.05)
        except BrokenBarrierError:
            self._meet.reset()
        return super().put(key, body)

    def _etag(self, key: str) -> str | None:
        try:
            return self.inner.head(key).etag
        except NoSuchKey:
            return None


class StaleEtags(Wrapped):
    """Takes any If-Match of an object that is there."""

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        if condition is not None and hasattr(condition, "etag"):
            try:
                self.inner.head(key)
            except NoSuchKey:
                raise ConditionFailed("absent") from None
            condition = None
        return super().put(key, body, condition)


class LateListings(Wrapped):
    """Lists the newest object only later, as an eventually consistent store does."""

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        return iter(list(super().list(prefix, start_after))[:-1])


class Undead(Wrapped):
    """Acknowledges deletes and forgets them."""

    def delete(self, key: str) -> None:
        del key


class Truncating(Wrapped):
    """Loses the last byte of what it is given."""

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        return super().put(key, body[:-1], condition)


class BlindToUploads(Wrapped):
    """Lists no uploads."""

    def list_uploads(self, prefix: str) -> Iterator[PendingUpload]:
        del prefix
        return iter(())


class WrongComposites(Wrapped):
    """Computes ETags of completed uploads that they don't have."""

    def composite_etag(self, parts: Sequence[Part]) -> str:
        return f"wrong-{len(parts)}"


class DeletesAnyway(Wrapped):
    """Ignores the condition of a DELETE, as MinIO does."""

    def delete_if(self, key: str, etag: str) -> None:
        del etag
        self.delete(key)


@pytest.mark.parametrize("honours", [True, False])
def test_conditional_deletes(folder_store: FolderStore, honours: bool) -> None:
    """Whether a DELETE heeds If-Match is found out by trying, and is no fault where it doesn't."""
    store = folder_store if honours else DeletesAnyway(folder_store)
    assert deletes_conditionally(store) is honours
    assert list(store.list("")) == []
    report = probe(store, essential_only=False)
    assert failed(report) == {}
    [check] = [check for check in report.checks if check.name == "conditional DELETE"]
    assert ("ignores" in check.found) is not honours


class KeepsUploads(Wrapped):
    """Acknowledges aborts and forgets them."""

    def abort_upload(self, key: str, upload_id: str) -> None:
        del key, upload_id


@pytest.mark.parametrize(
    ("unsafe", "check"),
    [
        (NoConditions, "conditional PUT"),
        (StaleEtags, "conditional PUT"),
        (NoLock, RACE),
        (NoLock, "conditional PUT, change by many at once"),
        (LateListings, "listing"),
        (Undead, "read and write"),
        (Truncating, "read and write"),
    ],
)
def test_unsafe_stores(
    folder_store: FolderStore, unsafe: Callable[[ObjectStore], Wrapped], check: str
) -> None:
    """A store that would lose content fails an essential check, with advice."""
    report = probe(unsafe(folder_store), essential_only=True)
    assert failed(report)[check] is True
    assert all(c.advice and c.found for c in report.checks if not c.ok)


@pytest.mark.parametrize(
    ("odd", "check"),
    [
        (BlindToUploads, "listing uploads"),
        (WrongComposites, "multipart"),
        (KeepsUploads, "aborting uploads"),
    ],
)
def test_stores_that_will_do(
    folder_store: FolderStore, odd: Callable[[ObjectStore], Wrapped], check: str
) -> None:
    """What Holdfast can work around is found by the full probe only, and isn't essential."""
    assert failed(probe(odd(folder_store), essential_only=False)) == {check: False}
    assert failed(probe(odd(folder_store), essential_only=True)) == {}


@pytest.mark.parametrize(
    ("refuses", "ok", "found"),
    [(True, True, "are refused"), (False, False, "ignores checksums"), (None, True, "no sums")],
)
def test_bytes_on_the_way(
    folder_store: FolderStore, refuses: bool | None, ok: bool, found: str
) -> None:
    """Whether wrong bytes are refused is found out at start, and never a reason not to."""

    class Store(Wrapped):
        def refuses_changed(self, key: str) -> bool | None:
            del key
            return refuses

    report = probe(Store(folder_store), essential_only=True)
    [check] = [check for check in report.checks if check.name == ON_THE_WAY]
    assert (check.ok, check.essential) == (ok, False)
    assert found in check.found
    assert ("HOLDFAST_S3_CHECKSUMS" in check.advice) is not ok


@pytest.mark.minio
def test_a_store_that_checks(minio_store: ObjectStore, moto_store: ObjectStore) -> None:
    """MinIO refuses bytes that aren't those of their checksum, and moto takes them."""
    assert minio_store.refuses_changed("changed") is True
    assert moto_store.refuses_changed("changed") is False


@pytest.mark.parametrize(
    ("skew", "expected"), [(0.0, {}), (-61.0, {"clock": False}), (601.0, {"clock": True})]
)
def test_clock_skew(folder_store: FolderStore, skew: float, expected: dict[str, bool]) -> None:
    """A skew above a minute is advised upon, one above ten minutes is refused."""
    report = probe(folder_store, essential_only=True, clock=lambda: time.time() + skew)
    assert failed(report) == expected


class Refusing(Wrapped):
    """Fails one operation with one error."""

    def __init__(self, inner: ObjectStore, operation: str, error: HoldfastError) -> None:
        super().__init__(inner)

        def refuse(*_: object) -> None:
            raise error

        setattr(self, operation, refuse)


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("put", PermissionDenied("no s3:PutObject")),
        ("delete", PermissionDenied("no s3:DeleteObject")),
        ("put", ResourceExhausted("full")),
        ("put", ConfigurationError("not implemented")),
    ],
)
def test_refused_operations(
    folder_store: FolderStore, operation: str, error: HoldfastError
) -> None:
    """What a check runs into is what it found, and the probe goes on."""
    report = probe(Refusing(folder_store, operation, error), essential_only=True)
    assert failed(report)["read and write"] is True
    assert str(error) in report.checks[0].found
    assert len(report.checks) == 7


# -- faults that pass


class OneFault(Wrapped):
    """Meets one fault, at the n-th request that it may happen to.

    Attributes:
        met: whether it has.
    """

    def __init__(self, inner: ObjectStore, fault: str, number: int) -> None:
        super().__init__(inner)
        self._fault = fault
        self._left = number
        self._lock = Lock()
        self.met = False

    def request(self, operation: str, key: str, call: Callable[[], Any]) -> Any:
        """Performs a request, or lets the fault happen to it."""
        del key
        if self._fault == "flip":
            return self._flipped(operation, call)
        if not self._turn():
            return call()
        if self._fault == "no answer":
            call()
        raise FAULTS[self._fault]

    def _flipped(self, operation: str, call: Callable[[], Any]) -> Any:
        reply: Any = list(call()) if operation == "list" else call()
        if isinstance(reply, (Fetched, Written, Entry, list)) and self._turn():
            reply = flipped(reply)
        return iter(reply) if operation == "list" else reply

    def _turn(self) -> bool:
        with self._lock:
            self._left -= 1
            self.met |= self._left == 0
            return self._left == 0


FAULTS: Final[dict[str, HoldfastError]] = {
    "full": ResourceExhausted("507"),
    "hang": Unavailable("no answer within 5 s"),
    "no answer": OutcomeUnknown("the connection broke"),
    "corrupt": DataLoss("a reply that can't be parsed"),
}


def flipped(result: Any) -> Any:
    """A reply with another bit in its first byte."""
    if isinstance(result, list):
        return [replace(entry, etag=changed(entry.etag)) for entry in result]
    if isinstance(result, Fetched):
        return replace(result, body=bytes([result.body[0] ^ 1]) + result.body[1:])
    return replace(result, etag=changed(result.etag))


def changed(etag: str) -> str:
    """An ETag with another first character."""
    return ("0" if etag[0] != "0" else "1") + etag[1:]


def probed(store: ObjectStore) -> Iterator[ProbeReport]:
    """Probes a store with one fault in each probe, once at each request and each kind in turn."""
    for number, fault in zip(count(1), cycle(("flip", *FAULTS)), strict=False):
        struck = OneFault(store, fault, number)
        report = probe(struck, essential_only=True, clock=store.now)
        if not struck.met:
            assert number > 10
            return
        yield report


def test_a_fault_that_passes() -> None:
    """A fault that doesn't come again makes no safe store unsafe, whichever request it meets."""
    reports = list(probed(MemoryStore()))
    assert [failed(report) for report in reports] == len(reports) * [{}]
    told = [sum("at first" in check.found for check in report.checks) for report in reports]
    assert set(told) == {0, 1}
    assert sum(told) > len(told) / 2


@pytest.mark.parametrize("unsafe", [NoConditions, StaleEtags, LateListings, Undead])
def test_an_unsafe_store_with_a_fault(unsafe: Callable[[ObjectStore], Wrapped]) -> None:
    """A fault that passes lets no unsafe store through, whichever request it meets."""
    for report in probed(unsafe(MemoryStore())):
        assert True in failed(report).values()


class Whims(Wrapped):
    """Spoils one reply in a hundred, each with a fault of its own."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self._random = Random(0)  # noqa: S311 -- no secret
        self._lock = Lock()

    def request(self, operation: str, key: str, call: Callable[[], Any]) -> Any:
        """Performs a request, on a store of which nobody knows what comes next."""
        with self._lock:
            spoilt = self._random.random() < 0.01
            fault = self._random.choice(("flip", *FAULTS))
        return OneFault(self, fault, 1).request(operation, key, call) if spoilt else call()


def test_faults_in_plenty() -> None:
    """A store in which everything fails now and then is given up only if it stays so."""
    store = Whims(MemoryStore())
    reports = [probe(store, essential_only=True, clock=store.now) for _ in range(20)]
    assert [failed(report) for report in reports] == 20 * [{}]


def test_pauses_end_with_the_deadline(folder_store: FolderStore) -> None:
    """Whoever has no time for a further try is told what the last one met."""
    waited: list[float] = []
    full = Refusing(folder_store, "put", ResourceExhausted("full"))
    with within(0.5):
        report = probe_with_pauses(full, essential_only=True, pause=waited.append)
    assert failed(report)["read and write"] is True
    assert set(waited) == {0.2, 0.4}


class Once(Wrapped):
    """Ignores the condition of one PUT, and heeds all others."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self._condition: Condition | None = None

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        try:
            return super().put(key, body, condition)
        except ConditionFailed:
            if self._condition:
                raise
            self._condition = condition
            return super().put(key, body)


def test_a_condition_that_is_ignored_once(folder_store: FolderStore) -> None:
    """What only an unsafe store does isn't tried again: the second try might succeed."""
    assert failed(probe(Once(folder_store), essential_only=True)) == {"conditional PUT": True}


class Forgetful(Wrapped):
    """Doesn't find an object at the first look, once."""

    def __init__(self, inner: ObjectStore, operation: str) -> None:
        super().__init__(inner)
        self._operation = operation

    def request(self, operation: str, key: str, call: Callable[[], Any]) -> Any:
        """Performs a request; the first of its operation isn't answered truly."""
        if operation == self._operation:
            self._operation = ""
            raise NoSuchKey(key)
        return call()


@pytest.mark.parametrize("operation", ["get", "head"])
def test_an_object_that_is_not_there_yet(operation: str) -> None:
    """An object that isn't found right after its PUT is no fault that passes."""
    store = MemoryStore()
    report = probe(Forgetful(store, operation), essential_only=True, clock=store.now)
    assert failed(report) == {"read and write": True}


class LostWinner(Wrapped):
    """Once, an object for which writers have raced isn't there afterwards."""

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Fetched:
        if "create-0" in key and not self._lost:
            self._lost.append(key)
            raise NoSuchKey(key)
        return super().get(key, offset, length)

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self._lost: list[str] = []


def test_a_winner_whose_object_is_gone() -> None:
    """A race whose winner's object isn't there is lost for good."""
    store = MemoryStore()
    report = probe(LostWinner(store), essential_only=True, clock=store.now)
    assert failed(report) == {RACE: True}


class BroughtBack(Wrapped):
    """Lists a deleted object once, in the place of the next one."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self._before: list[Entry] = []
        self._done = False

    def list(self, prefix: str, start_after: str = "") -> Iterator[Entry]:
        listed = list(super().list(prefix, start_after))
        if start_after or not prefix.endswith("list/") or self._done:
            return iter(listed)
        if len(listed) == 3:
            self._before = listed
            return iter(listed)
        self._done = True
        return iter(self._before[:2])


def test_a_deleted_object_that_is_listed_once() -> None:
    """A listing that brings a deleted object back is none in which a bit has flipped."""
    store = MemoryStore()
    report = probe(BroughtBack(store), essential_only=True, clock=store.now)
    assert failed(report) == {"listing": True}


class TwoWinners(Wrapped):
    """In each race to create, two writers win, a third one's request fails, others are refused."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self._lock = Lock()
        self._writers: Counter[str] = Counter()

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        if "create" not in key:
            return super().put(key, body, condition)
        with self._lock:
            self._writers[key] += 1
            number = self._writers[key]
        if number == 3:
            raise FAULTS["full"]
        if number > 3:
            raise ConditionFailed(key)
        return super().put(key, body)


def test_a_race_with_a_failed_request(folder_store: FolderStore) -> None:
    """Two writers that won are two, whatever happened to a third one."""
    report = probe(TwoWinners(folder_store), essential_only=True)
    assert failed(report) == {RACE: True}
    [check] = [check for check in report.checks if not check.ok]
    assert "2 of 16 concurrent writers won" in check.found


class FewRace(Wrapped):
    """In each race to create, all requests but a few fail."""

    def __init__(self, inner: ObjectStore, few: int) -> None:
        super().__init__(inner)
        self._lock = Lock()
        self._few = few
        self._writers: Counter[str] = Counter()

    def put(self, key: str, body: bytes, condition: Condition | None = None) -> Written:
        with self._lock:
            self._writers[key] += 1
            fails = "create" in key and self._writers[key] > self._few
        if fails:
            raise FAULTS["full"]
        return super().put(key, body, condition)


@pytest.mark.parametrize(("few", "found"), [(12, {}), (11, {RACE: True})])
def test_a_race_of_a_few(few: int, found: dict[str, bool]) -> None:
    """A race shows something only if at least three in four writers raced."""
    store = MemoryStore()
    report = probe(FewRace(store, few), essential_only=True, clock=store.now)
    assert failed(report) == found


def test_a_full_store(folder_store: FolderStore) -> None:
    """On a full store the reserve is enough for a probe; without it, space is what is lacking."""
    quota = QuotaStore(folder_store, 2**30)
    reserve = Reserve(quota, 2**16, secrets.token_bytes)
    reserve.keep()
    quota.fill()
    assert failed(probe(ReservedStore(quota, reserve), essential_only=True)) == {}
    for entry in list(quota.list("fleet/")):
        quota.delete(entry.key)
    quota.fill()
    [first, *_] = probe(ReservedStore(quota, reserve), essential_only=True).checks
    assert "quota" in first.found
    assert "free some space" in first.advice


@pytest.mark.parametrize("operation", ["check_access", "put"])
def test_store_that_is_away(folder_store: FolderStore, operation: str) -> None:
    """A store that can't be reached says nothing of its safety: the probe raises Unavailable."""
    with pytest.raises(Unavailable, match="away"):
        probe(Refusing(folder_store, operation, Unavailable("away")), essential_only=True)
    assert list(folder_store.list("")) == []


def test_clean_up_after_a_failure(folder_store: FolderStore) -> None:
    """Whatever breaks a probe off, its objects and uploads are removed."""
    with pytest.raises(Unavailable):
        probe(Refusing(folder_store, "list_parts", Unavailable("away")), essential_only=False)
    assert list(folder_store.list("")) == []
    assert list(folder_store.list_uploads("")) == []
