"""What is the folder's own: crashes, full disks, several processes, damage."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from holdfast.errors import (
    ConfigurationError,
    DataLoss,
    HoldfastError,
    OutcomeUnknown,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from holdfast.storage.folder import FORMAT, FolderStore
from holdfast.storage.folder_files import Files, translate
from holdfast.storage.port import (
    ConditionFailed,
    IfAbsent,
    IfMatch,
    InvalidPart,
    NoSuchKey,
    NoSuchUpload,
    Part,
)
from tests.storage.disk_faults import crash, fails

DAY = 24 * 3600.0


def opened(root: Path) -> FolderStore:
    store = FolderStore(root)
    store.check_access()
    return store


def uploaded(store: FolderStore, key: str, *bodies: bytes) -> tuple[str, list[Part]]:
    upload = store.create_upload(key)
    return upload.id, [
        store.put_part(key, upload.id, number, body) for number, body in enumerate(bodies, start=1)
    ]


def body_of(store: FolderStore, key: str) -> bytes | None:
    try:
        return store.get(key).body
    except NoSuchKey:
        return None


def temporary(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "tmp").iterdir())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


# -- replacing an object that was uploaded in parts


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_replaced_parts_without_links(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """On a disk without hard links a completion replaces a parted object all the same."""

    def link(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    store = opened(root)
    for bodies in ((b"o", b"ld"), (b"n", b"e", b"w")):
        upload, parts = uploaded(store, "data/a", *bodies)
        store.complete_upload("data/a", upload, parts)
        assert body_of(store, "data/a") == b"".join(bodies)
        assert list(store.list_uploads("")) == []
    assert len(list((root / "objects" / "data" / "a~parts").iterdir())) == 4


def test_replaced_parts_on_a_full_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a link can't be made for want of room, the old object and the upload stay."""

    def link(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = opened(root)
    store.complete_upload("data/a", *uploaded(store, "data/a", b"old"))
    upload, parts = uploaded(store, "data/a", b"new")
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        with pytest.raises(ResourceExhausted):
            store.complete_upload("data/a", upload, parts)
    assert body_of(store, "data/a") == b"old"
    store.complete_upload("data/a", upload, parts)
    assert body_of(store, "data/a") == b"new"


# -- crashes: each of these stops at every file operation in turn


def every_step(
    root: Path, prepare: Callable[[FolderStore], Callable[[], object]]
) -> Iterator[Path]:
    """Runs an operation that crashes at step 0, 1, 2 …; yields the folder as it was left."""
    for step in itertools.count():
        folder = root / str(step)
        action = prepare(opened(folder))
        with crash(step) as plan:
            action()
        yield folder
        if not plan.happened:
            return


def test_crash_in_complete(root: Path) -> None:
    """A completion that crashes leaves the object, or an upload that can be completed."""
    parts: list[Part] = []
    outcomes = set()

    def prepare(store: FolderStore) -> Callable[[], object]:
        upload, parts[:] = uploaded(store, "data/a", b"one", b"two", b"unused")
        return lambda: store.complete_upload("data/a", upload, parts[:2])

    for folder in every_step(root, prepare):
        store = opened(folder)
        pending = list(store.list_uploads(""))
        if body_of(store, "data/a") is None:
            (upload,) = pending
            assert list(store.list_parts("data/a", upload.id)) == parts
            store.complete_upload("data/a", upload.id, parts[:2])
        else:
            assert pending == []
        outcomes.add(bool(pending))
        assert body_of(store, "data/a") == b"onetwo"
    assert outcomes == {True, False}


def test_crash_in_complete_then_abort(root: Path) -> None:
    """An upload whose completion crashed before it took effect can be aborted."""

    def prepare(store: FolderStore) -> Callable[[], object]:
        upload, parts = uploaded(store, "data/a", b"one")
        return lambda: store.complete_upload("data/a", upload, parts)

    for folder in every_step(root, prepare):
        store = opened(folder)
        for upload in store.list_uploads(""):
            store.abort_upload(upload.key, upload.id)
            assert body_of(store, "data/a") is None
        assert list((folder / "uploads").iterdir()) == []


@pytest.mark.parametrize("before", ["file", "parts"])
def test_crash_in_put(root: Path, before: str) -> None:
    """A put that crashes leaves the old object or the new one, never none, never a mixture."""
    bodies = set()

    def prepare(store: FolderStore) -> Callable[[], object]:
        if before == "file":
            store.put("data/a", b"old")
        else:
            store.complete_upload("data/a", *uploaded(store, "data/a", b"o", b"ld"))
        etag = store.head("data/a").etag
        return lambda: store.put("data/a", b"new", IfMatch(etag))

    for folder in every_step(root, prepare):
        store = opened(folder)
        bodies.add(body_of(store, "data/a"))
        store.delete("data/a")
        assert body_of(store, "data/a") is None
        assert list(store.list("")) == []
    assert bodies == {b"old", b"new"}


def test_crash_in_delete(root: Path) -> None:
    """A delete that crashes leaves the object or nothing; what was replaced stays gone."""

    def prepare(store: FolderStore) -> Callable[[], object]:
        store.complete_upload("data/a", *uploaded(store, "data/a", b"old"))
        with crash(7):  # in place, but the old parts are not yet removed
            store.put("data/a", b"new")
        return lambda: store.delete("data/a")

    for folder in every_step(root, prepare):
        assert body_of(opened(folder), "data/a") in {b"new", b"old", None}
        store = opened(folder)
        store.delete("data/a")
        assert body_of(store, "data/a") is None


def test_crash_in_create_upload(root: Path) -> None:
    """A creation that crashes leaves an upload that is whole, or none."""

    def prepare(store: FolderStore) -> Callable[[], object]:
        return lambda: store.create_upload("data/a")

    for folder in every_step(root, prepare):
        store = opened(folder)
        listed = {upload.id for upload in store.list_uploads("")}
        assert {path.name for path in (folder / "uploads").iterdir()} == listed
        for upload in listed:
            store.put_part("data/a", upload, 1, b"x")


def test_crash_in_put_part(root: Path) -> None:
    """A part that is being replaced is there as it was, or as it is to be."""
    old: list[Part] = []

    def prepare(store: FolderStore) -> Callable[[], object]:
        upload, old[:] = uploaded(store, "data/a", b"old")
        return lambda: store.put_part("data/a", upload, 1, b"newer")

    for folder in every_step(root, prepare):
        store = opened(folder)
        (upload,) = store.list_uploads("")
        newest = store.list_parts("data/a", upload.id)[-1]
        if len(store.list_parts("data/a", upload.id)) == 1:
            store.complete_upload("data/a", upload.id, [newest])
            assert body_of(store, "data/a") in {b"old", b"newer"}


def test_leftovers_are_swept(root: Path) -> None:
    """What crashes left in the temporary folder goes a day later, and not before."""
    store = opened(root)
    upload, parts = uploaded(store, "data/a", b"one")
    store.complete_upload("data/a", upload, parts)
    with crash(2):
        store.put("data/b", b"x")
    (root / "tmp" / "folder").mkdir()
    (root / "tmp" / "folder" / "part").write_bytes(b"x")
    assert len(temporary(root)) == 2
    opened(root)
    assert len(temporary(root)) == 2
    FolderStore(root, clock=lambda: time.time() + 2 * DAY).check_access()
    assert temporary(root) == []


# -- full and failing disks


@pytest.mark.parametrize("operation", ["put", "create", "part", "complete"])
def test_full_disk(root: Path, operation: str) -> None:
    """A full disk is ResourceExhausted at whichever step; nothing is half done or left over."""
    found = set()
    for step in itertools.count():
        store = opened(root / str(step))
        store.put("data/a", b"old")
        upload, parts = uploaded(store, "data/b", b"one", b"two")
        actions: dict[str, Callable[[], object]] = {
            "put": partial(store.put, "data/a", b"new"),
            "create": partial(store.create_upload, "data/c"),
            "part": partial(store.put_part, "data/b", upload, 1, b"newer"),
            "complete": partial(store.complete_upload, "data/b", upload, parts),
        }
        error = None
        with fails(step) as plan:
            try:
                actions[operation]()
            except (ResourceExhausted, OutcomeUnknown) as raised:
                error = raised
                found.add(type(error))
        assert error is None or "No space left" in str(error)
        assert body_of(store, "data/a") in {b"old", b"new"}
        if operation != "complete" or body_of(store, "data/b") is None:
            assert upload in {pending.id for pending in store.list_uploads("")}
        leftovers = temporary(root / str(step))
        if not plan.happened:
            assert leftovers == []
            break
    assert ResourceExhausted in found


def test_file_too_large_for_the_disk(root: Path) -> None:
    """A disk that runs full in the middle of a write leaves no file behind."""
    opened(root)
    results = _in_process(_write_with_limit, root)
    assert results == [("ResourceExhausted", []), ("ResourceExhausted", [])]
    assert body_of(opened(root), "data/a") is None


def _write_with_limit(root: Path) -> list[tuple[str, list[str]]]:
    store = FolderStore(root)
    upload = store.create_upload("data/b")
    results = []
    for write in (
        lambda: store.put("data/a", bytes(2**20)),
        lambda: store.put_part("data/b", upload.id, 1, bytes(2**20)),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, resource.RLIM_INFINITY))
        try:
            write()
        except HoldfastError as error:
            results.append((type(error).__name__, temporary(root)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    return results


def _in_process(call: Callable[..., object], *args: object) -> object:
    """Runs a function in a fresh process and returns what it returns."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(call, args)


def test_read_only_folder() -> None:
    """In a folder that may only be read, reading works and writing is PermissionDenied."""
    with tempfile.TemporaryDirectory(prefix="hf-", dir="/tmp") as base:
        root = Path(base) / "store"
        store = opened(root)
        store.put("data/a", b"hello")
        upload, _ = uploaded(store, "data/b", b"one")
        Path(base).chmod(0o755)
        for folder, _, files in os.walk(root):
            Path(folder).chmod(0o555)
            for name in files:
                (Path(folder) / name).chmod(0o444)
        try:
            results = _in_process(_use_as_nobody, root, upload)
        finally:
            for folder, _, _ in os.walk(root):
                Path(folder).chmod(0o755)
    assert results == ["hello", "NoSuchKey", *["PermissionDenied"] * 5, "ConfigurationError"]


def _use_as_nobody(root: Path, upload: str) -> list[str]:
    is_root = os.geteuid() == 0
    if is_root:
        os.setegid(65534)
        os.seteuid(65534)
    try:
        return _use_read_only(root, upload)
    finally:
        if is_root:
            os.seteuid(0)
            os.setegid(0)


def _use_read_only(root: Path, upload: str) -> list[str]:
    store = FolderStore(root)
    results = [store.get("data/a").body.decode()]
    actions: list[Callable[[], object]] = [
        lambda: store.get("data/absent"),
        lambda: store.put("data/a", b"x"),
        lambda: store.create_upload("data/c"),
        lambda: store.put_part("data/b", upload, 1, b"x"),
        lambda: store.delete("data/a"),
        lambda: store.abort_upload("data/b", upload),
        store.check_access,
    ]
    for action in actions:
        try:
            action()
        except HoldfastError as error:
            results.append(type(error).__name__)
    return results


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, ResourceExhausted),
        (errno.EDQUOT, ResourceExhausted),
        (errno.EFBIG, ResourceExhausted),
        (errno.EACCES, PermissionDenied),
        (errno.EROFS, PermissionDenied),
        (errno.EIO, Unavailable),
    ],
)
def test_meaning_of_errors(number: int, expected: type[HoldfastError]) -> None:
    """Errors of the operating system say what was done and what to do."""
    error = translate(OSError(number, "x"), "writing data/a")
    assert type(error) is expected
    assert str(error).startswith("writing data/a: ")


class SyncFails(Files):
    """A disk that takes a rename, but fails to make it durable."""

    failing = False

    def sync_folder(self, folder: Path) -> bool:
        if self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().sync_folder(folder)


def test_write_that_isnt_durable(root: Path) -> None:
    """What is in place but may not survive a power failure is OutcomeUnknown."""
    opened(root)
    files = SyncFails(root)
    store = FolderStore(root, files=files)
    files.failing = True
    with pytest.raises(OutcomeUnknown):
        store.put("data/a", b"x", IfAbsent())
    with pytest.raises(Unavailable):
        body_of(store, "data/a")  # nobody may count on it
    files.failing = False
    assert body_of(store, "data/a") == b"x"


class Syncs(Files):
    """Remembers which folders were synced."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.synced: list[Path] = []

    def sync_folder(self, folder: Path) -> bool:
        self.synced.append(folder)
        return super().sync_folder(folder)


def test_all_folders_above_are_synced(root: Path) -> None:
    """A put syncs every folder above it: one that is there may not be durable yet."""
    opened(root)
    files = Syncs(root)
    (root / "objects" / "holds" / "t").mkdir(parents=True)  # by somebody else, not synced
    FolderStore(root, files=files).put("holds/t/a", b"x")
    assert set(files.synced) >= {
        root / "objects" / "holds" / "t",
        root / "objects" / "holds",
        root / "objects",
        root,
    }


def test_reading_syncs_what_is_new(root: Path) -> None:
    """Who reads what another process has just put syncs it, once; what is old needs it no more."""
    opened(root).put("data/a", b"xy")
    files = Syncs(root)
    store = FolderStore(root, files=files)
    store.get("data/a", 0, 1)
    assert files.synced == []
    store.get("data/a", 0, 2)
    assert files.synced == [root / "objects" / "data", root / "objects", root]
    store.head("data/a")
    store.put("data/b", b"x")
    files.synced.clear()
    store.head("data/b")
    later = FolderStore(root, clock=lambda: time.time() + DAY, files=files)
    assert later.get("data/a").body == b"xy"
    assert files.synced == []


def test_remembering_what_is_durable_is_bounded(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many objects are remembered as durable; others are synced again when read."""
    monkeypatch.setattr("holdfast.storage.folder.MOST_SURE", 2)
    opened(root)
    files = Syncs(root)
    store = FolderStore(root, files=files)
    for name in "abc":
        store.put(f"data/{name}", b"x")
    files.synced.clear()
    assert store.get("data/a").body == b"x"
    assert files.synced
    assert len(store._sure) <= 2


# -- several processes and threads


def _count(root: Path, times: int) -> int:
    store = FolderStore(root)
    lost = 0
    while times:
        seen = store.get("blobs/counter")
        try:
            store.put("blobs/counter", b"%d" % (int(seen.body) + 1), IfMatch(seen.entry.etag))
        except ConditionFailed:
            lost += 1
            continue
        times -= 1
    return lost


def test_processes_lose_no_update(root: Path) -> None:
    """A counter that processes raise by compare-and-swap counts every one of them."""
    opened(root).put("blobs/counter", b"0")
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(_count, [(root, 50)] * 4)
    assert opened(root).get("blobs/counter").body == b"200"


def test_processes_open_a_new_folder_at_once(root: Path) -> None:
    """Several frontends may start on a folder that none of them has made yet."""
    with ThreadPoolExecutor(8) as pool:
        for attempt in range(10):
            list(pool.map(opened, [root / str(attempt)] * 8))


def until_done(work: Callable[[], None], check: Callable[[], None]) -> None:
    """Runs a check again and again while work is done in another thread."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        while not future.done():
            check()
        future.result()


@pytest.mark.parametrize("kind", ["file", "parts", "both"])
def test_replaced_object_is_never_absent(root: Path, kind: str) -> None:
    """A reader of an object that is replaced over and over finds one of its versions."""
    store = opened(root)
    body = b"x" * 1000

    def write(number: int) -> None:
        if kind == "file" or (kind == "both" and number % 2):
            store.put("data/a", body)
        else:
            store.complete_upload("data/a", *uploaded(store, "data/a", body[:500], body[500:]))

    write(0)

    def check() -> None:
        assert store.get("data/a").body == body
        assert store.head("data/a").size == 1000
        assert [entry.key for entry in store.list("data/")] == ["data/a"]

    def write_all() -> None:
        for number in range(60):
            write(number)

    until_done(write_all, check)


def test_parts_sent_again_while_completing(root: Path) -> None:
    """A part that is stored again while a completion runs doesn't tear the object."""
    store = opened(root)
    for number in range(40):
        key = f"data/{number}"
        upload, parts = uploaded(store, key, b"one", b"two")

        def again(key: str = key, upload: str = upload) -> None:
            with suppress(NoSuchUpload):
                for _ in range(3):
                    store.put_part(key, upload, 1, b"other")

        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(again)
            try:
                store.complete_upload(key, upload, parts)
            except InvalidPart:
                future.result()
                continue
            future.result()
        assert store.get(key).body == b"onetwo"


def test_same_part_by_two_writers(root: Path) -> None:
    """Of two writers of one part number, one part is left, whole."""
    store = opened(root)
    for _ in range(20):
        upload = store.create_upload("data/a").id
        barrier = threading.Barrier(4)

        def send(body: bytes, upload: str = upload, barrier: threading.Barrier = barrier) -> Part:
            barrier.wait()
            return store.put_part("data/a", upload, 1, body)

        with ThreadPoolExecutor(4) as pool:
            sent = list(pool.map(send, [b"a", b"bb", b"ccc", b"dddd"]))
        (left,) = store.list_parts("data/a", upload)
        assert left in sent


def test_put_while_its_folder_is_cleaned_up(root: Path) -> None:
    """Objects that come and go in one folder don't take it away from each other."""
    store = opened(root)

    def come_and_go(name: str) -> None:
        for _ in range(60):
            store.put(f"holds/t/sha256/{name}/x", b"x")
            assert body_of(store, f"holds/t/sha256/{name}/x") == b"x"
            store.delete(f"holds/t/sha256/{name}/x")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, "abcd"))
    assert list((root / "objects").iterdir()) == []


def test_a_folder_that_goes_while_it_is_made(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is there when it is to be made, and gone at the next look, is made again."""
    store = opened(root)
    store.put("holds/t/sha256/a/x", b"x")
    looks: list[Path] = []
    is_dir = Path.is_dir

    def gone(path: Path) -> bool:
        if not looks and path.name == "b":
            looks.append(path)
            path.rmdir()
        return is_dir(path)

    (root / "objects" / "holds" / "t" / "sha256" / "b").mkdir()
    monkeypatch.setattr(Path, "is_dir", gone)
    store.put("holds/t/sha256/b/x", b"x")
    assert looks
    assert body_of(store, "holds/t/sha256/b/x") == b"x"


def test_a_file_in_the_way_of_a_folder(root: Path) -> None:
    """Where a file stands, no folder can be made: that is said, and not tried for ever."""
    store = opened(root)
    (root / "objects" / "holds").mkdir(exist_ok=True)
    (root / "objects" / "holds" / "t").write_bytes(b"")
    with pytest.raises(HoldfastError):
        store.put("holds/t/sha256/b/x", b"x")


def test_abort_against_complete(root: Path) -> None:
    """Of an abort and a completion at once, either the object is there or the upload is gone."""
    store = opened(root)
    for number in range(30):
        key = f"data/{number}"
        upload, parts = uploaded(store, key, b"one")
        with ThreadPoolExecutor(1) as pool:
            aborting = pool.submit(store.abort_upload, key, upload)
            try:
                store.complete_upload(key, upload, parts)
            except NoSuchUpload:
                assert body_of(store, key) is None
            else:
                assert body_of(store, key) == b"one"
            aborting.result()


def test_names_that_look_like_parts(root: Path) -> None:
    """A tenant may be called anything: its holds are listed from the top, too."""
    store = opened(root)
    for tenant in ("a.parts", "parts", "tmp", "meta.json"):
        store.put(f"holds/{tenant}/sha256/x", b"x")
    assert len(list(store.list("holds/"))) == 4
    assert len(list(store.list("holds/a.parts/"))) == 1


@pytest.mark.parametrize("number", [errno.EBADF, errno.EIO])
def test_folder_that_cant_be_locked(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A file system without locks on folders (NFS) is used without; other failures are told."""
    real, store = fcntl.flock, opened(root)

    def flock(descriptor: int, kind: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir():
            raise OSError(number, os.strerror(number))
        real(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", flock)
    if number == errno.EBADF:
        store.put("data/a", b"x")
        assert [entry.key for entry in store.list("")] == ["data/a"]
    else:
        with pytest.raises(Unavailable):
            store.put("data/a", b"x")
        with pytest.raises(Unavailable):
            list(store.list(""))


# -- damage, and folders that can't be used


def test_torn_object(root: Path) -> None:
    """A truncated file is DataLoss by its key; it is still listed, and can be deleted."""
    store = opened(root)
    store.put("data/a", b"hello")
    path = root / "objects" / "data" / "a"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataLoss, match="data/a"):
        store.get("data/a")
    assert [entry.key for entry in store.list("data/")] == ["data/a"]
    store.delete("data/a")
    assert list(store.list("")) == []


@pytest.mark.parametrize("damage", ["manifest", "empty", "part gone", "part short"])
def test_damaged_parts(root: Path, damage: str) -> None:
    """A completed upload that lost something is DataLoss where it is missing."""
    store = opened(root)
    store.complete_upload("data/a", *uploaded(store, "data/a", b"one", b"two"))
    folder = root / "objects" / "data" / "a~parts"
    first = next(iter(folder.glob("00001-*")))
    if damage == "manifest":
        (folder / "manifest.json").write_text("{")
    elif damage == "empty":
        (folder / "manifest.json").write_text(json.dumps({"parts": [], "etag": "", "written": 0}))
    elif damage == "part gone":
        first.unlink()
    else:
        first.write_bytes(b"o")
    with pytest.raises(DataLoss):
        store.get("data/a")
    if damage.startswith("part"):
        assert store.get("data/a", 3).body == b"two"


def test_damaged_upload(root: Path) -> None:
    """An upload whose meta is damaged is no reason not to list the others."""
    store = opened(root)
    bad, good = store.create_upload("data/a"), store.create_upload("data/b")
    (root / "uploads" / bad.id / "meta.json").write_text("{}")
    assert [upload.id for upload in store.list_uploads("")] == [good.id]
    with pytest.raises(DataLoss, match=bad.id):
        store.list_parts("data/a", bad.id)


def test_upload_of_another_key(root: Path) -> None:
    """An upload id counts only for its own key."""
    store = opened(root)
    upload = store.create_upload("data/a")
    with pytest.raises(NoSuchUpload):
        store.list_parts("data/b", upload.id)
    store.abort_upload("data/b", upload.id)
    assert [pending.id for pending in store.list_uploads("")] == [upload.id]


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "a b", "a~parts"])
def test_no_key_leaves_the_folder(root: Path, key: str) -> None:
    """What isn't a key is refused before anything is touched."""
    with pytest.raises(ValueError, match="not a key"):
        opened(root).put(key, b"x")


def test_key_that_is_a_folder(root: Path) -> None:
    """A key that other keys are below of is absent; writing or deleting it harms none of them."""
    store = opened(root)
    store.put("a/b", b"x")
    with pytest.raises(NoSuchKey):
        store.get("a")
    with pytest.raises(Unavailable):
        store.put("a", b"y")
    with pytest.raises(Unavailable):
        store.delete("a")
    assert store.get("a/b").body == b"x"


def test_foreign_folder(root: Path) -> None:
    """A folder with other files in it is refused, and left as it is."""
    root.mkdir()
    (root / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigurationError, match="use another"):
        opened(root)
    assert [path.name for path in root.iterdir()] == ["thesis.txt"]


def test_folder_of_another_format(root: Path) -> None:
    """A folder that another version made is refused, naming both formats."""
    opened(root)
    (root / "FORMAT").write_text("holdfast-folder 2\n")
    with pytest.raises(ConfigurationError, match=r"holdfast-folder 2.*" + FORMAT.strip()):
        opened(root)


def test_folder_that_is_a_file(root: Path) -> None:
    """A file in the folder's place is a ConfigurationError."""
    root.write_text("x")
    with pytest.raises(ConfigurationError):
        opened(root)


def test_folder_that_vanished(root: Path) -> None:
    """A folder that is taken away under a running store is Unavailable, not absence of a lock."""
    store = opened(root)
    shutil.rmtree(root)
    with pytest.raises(Unavailable):
        store.put("data/a", b"x")


def test_composite_etags(folder_store: FolderStore) -> None:
    """A completed upload's ETag is known beforehand, and equal bytes never have it again."""
    seen = set()
    for _ in range(2):
        upload = folder_store.create_upload("data/a")
        parts = [folder_store.put_part("data/a", upload.id, n, b"same") for n in (1, 2)]
        expected = folder_store.composite_etag(parts)
        assert folder_store.complete_upload("data/a", upload.id, parts).etag == expected
        assert folder_store.head("data/a").etag == expected
        assert folder_store.composite_etag(parts[:1]) != expected
        seen.add(expected)
    assert len(seen) == 2
