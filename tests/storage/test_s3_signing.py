"""A machine whose clock is wrong: the store's time is what requests are signed at."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from holdfast.errors import PermissionDenied
from holdfast.storage.port import IfAbsent, NoSuchKey, ObjectStore
from holdfast.storage.s3 import S3Settings, S3Store
from tests.servers.s3 import S3Server
from tests.storage.looped import Way
from tests.storage.scripted import Reply, error, scripted

HOUR = 3600.0
NOON = 1_800_000_000.0
AT_NOON = {"Date": "Fri, 15 Jan 2027 08:00:00 GMT"}
FOUND = {"ETag": '"e"', "Last-Modified": "Thu, 26 Nov 2026 04:00:00 GMT", **AT_NOON}
SKEWED = error(403, "RequestTimeTooSkewed", "The difference is too large.")
SKEWED.headers.update(AT_NOON)


def unknown(store: ObjectStore) -> None:
    """A HEAD of what isn't there, whose refusal has no body either."""
    with pytest.raises(NoSuchKey):
        store.head("unknown")


def upload(store: ObjectStore) -> None:
    """An upload of one part."""
    upload_id = store.create_upload("upload").id
    store.complete_upload("upload", upload_id, [store.put_part("upload", upload_id, 1, b"x")])


CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "put": lambda store: store.put("put", b"x"),
    "conditional put": lambda store: store.put("new", b"x", IfAbsent()),
    "get": lambda store: store.get("there"),
    "head": lambda store: store.head("there"),
    "unknown": unknown,
    "delete": lambda store: store.delete("there"),
    "list": lambda store: list(store.list("")),
    "upload": upload,
}


@dataclass
class Machine:
    """A machine whose clock is off by some seconds, and what it says about that."""

    settings: S3Settings
    off: float = 0.0
    said: list[float] = field(default_factory=list)

    def wall(self) -> float:
        """Its clock."""
        return time.time() + self.off

    def store(self) -> S3Store:
        """A store of a process that has just begun."""
        return S3Store(self.settings, wall=self.wall, skewed=lambda s: self.said.append(round(s)))


@pytest.fixture
def machine(minio: S3Server, unique: str) -> Machine:
    """One whose clock is right, before a MinIO, which refuses what is 15 minutes off."""
    machine = Machine(S3Settings(minio.bucket, minio.endpoint, prefix=unique, path_style=True))
    store = machine.store()
    store.put("there", b"x")
    store.close()
    return machine


@pytest.mark.minio
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("off", [-HOUR, HOUR])
def test_a_clock_that_was_always_wrong(
    way: Way, machine: Machine, off: float, call: Callable[[ObjectStore], object]
) -> None:
    """The first request is refused for its time, and is signed again at the store's."""
    machine.off = off
    store = way(machine.store())
    call(store)
    store.close()
    assert machine.said == [pytest.approx(off, abs=60)]


@pytest.mark.minio
def test_a_clock_that_jumps(way: Way, machine: Machine) -> None:
    """Requests go on when the clock jumps either way, and each change is said once."""
    store = way(machine.store())
    for machine.off in (0.0, HOUR, -HOUR, 0.0):
        for name, call in CALLS.items():
            store.delete("new")
            store.put("there", name.encode())
            call(store)
    store.close()
    assert machine.said == [pytest.approx(HOUR, abs=60), 0]


def test_a_jump_costs_nothing(way: Way) -> None:
    """Once the store's time is known, a wrong clock costs no request."""
    off = 0.0
    with scripted(Reply(200, b"body", FOUND)) as script:
        store = way(script.store(wall=lambda: NOON + off))
        store.get("a")
        off = HOUR
        store.get("a")
        store.close()
    assert len(script.requests) == 2
    assert {headers["x-amz-date"][:13] for headers in script.headers} == {"20270115T0800"}


PAUSED: dict[str, Callable[[ObjectStore], object]] = {
    "put": lambda store: store.put("a", b"x"),
    "conditional put": lambda store: store.put("a", b"x", IfAbsent()),
    "get": lambda store: store.get("a"),
    "head": lambda store: store.head("a"),
}


@pytest.mark.parametrize("call", PAUSED.values(), ids=PAUSED)
def test_a_machine_that_was_paused(way: Way, call: Callable[[ObjectStore], object]) -> None:
    """If no clock of a machine counted a pause, it signs again at the date of the refusal."""
    late = {**FOUND, "Date": "Fri, 15 Jan 2027 10:00:00 GMT"}
    refused = [Reply(SKEWED.status, SKEWED.body, late)] * 2  # without boto3, and by it
    with scripted(Reply(200, b"", FOUND), *refused, Reply(200, b"", late)) as script:
        store = way(script.store(wall=lambda: NOON))
        store.get("a")
        before = store.now()
        call(store)
        assert store.now() == pytest.approx(before, abs=60)
        store.close()
    hours = [headers["x-amz-date"][:11] for headers in script.headers]
    assert hours == [*["20270115T08"] * 3, "20270115T10"]


def test_it_is_signed_again_once(way: Way) -> None:
    """A store that refuses the time it states itself is refused in turn, and not asked for ever."""
    with scripted(SKEWED) as script:
        store = way(script.store(wall=lambda: NOON + HOUR))
        with pytest.raises(PermissionDenied, match=r"RequestTimeTooSkewed.*machine's clock"):
            list(store.list(""))
        store.close()
    times = [headers["x-amz-date"] for headers in script.headers]
    assert [moment[:11] for moment in times] == ["20270115T09", "20270115T08"]


def test_another_refusal_is_not_signed_again(way: Way) -> None:
    """Where the clocks agree, a refusal is one of something else."""
    refusal = error(403, "AccessDenied")
    refusal.headers.update(AT_NOON)
    with scripted(refusal) as script:
        store = way(script.store(wall=lambda: NOON))
        with pytest.raises(PermissionDenied, match="AccessDenied"):
            list(store.list_uploads(""))  # which only boto3 asks for
        store.close()
    assert len(script.requests) == 1
