"""A disk that fails to make something durable isn't believed when it says later that it did."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.errors import ConfigurationError, OutcomeUnknown, Unavailable
from holdfast.storage.folder import SETTLED, FolderStore
from holdfast.storage.folder_files import Files
from holdfast.storage.folder_trust import FAILED, Trust
from holdfast.storage.port import Condition, IfAbsent, IfMatch, NoSuchKey
from holdfast.storage.records import Records
from tests.storage.blobs_fixture import DIGEST, live

KEY = "blobs/sha256/aa"
Fail = Callable[[Callable[[int], bool]], list[int]]


def of_a_folder(mode: int) -> bool:
    """Syncs of folders fail."""
    return stat.S_ISDIR(mode)


def of_a_file(mode: int) -> bool:
    """Syncs of files fail."""
    return stat.S_ISREG(mode)


@pytest.fixture
def fail_once(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Makes one fsync fail; the next of the same file or folder says OK, as Linux does."""
    fsync, failed = os.fsync, list[int]()
    wanted: list[Callable[[int], bool]] = []

    def failing(descriptor: int) -> None:
        if wanted and wanted[0](os.fstat(descriptor).st_mode):
            wanted.clear()
            failed.append(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    def arm(which: Callable[[int], bool]) -> list[int]:
        wanted[:] = [which]
        return failed

    monkeypatch.setattr(os, "fsync", failing)
    return arm


def opened(root: Path, boot: str = "this boot", ahead: float = 0.0) -> FolderStore:
    """A process's view of the folder, which it doesn't prepare."""
    clock = FolderStore(root).now
    trust = Trust(root, lambda: boot, lambda: clock() + ahead)
    return FolderStore(root, lambda: clock() + ahead, Files(root, trust))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that is ready."""
    opened(tmp_path / "store").check_access()
    return tmp_path / "store"


@pytest.mark.parametrize("given", [None, IfAbsent(), "match"])
def test_what_was_not_synced_is_not_believed(
    root: Path, fail_once: Fail, given: Condition | str | None
) -> None:
    """After a failed sync no later look confirms the write, by this process or another one."""
    store = opened(root)
    condition = IfMatch(store.put(KEY, b"before").etag) if isinstance(given, str) else given
    failed = fail_once(of_a_folder)
    with pytest.raises(OutcomeUnknown):
        store.put(KEY, b"body", condition)
    assert failed
    for process in (store, opened(root)):
        with pytest.raises(Unavailable, match="can't be believed"):
            process.get(KEY)
        with pytest.raises(Unavailable, match="can't be believed"):
            process.head(KEY)


def test_a_commit_is_not_ok(root: Path, fail_once: Fail) -> None:
    """A record whose sync failed isn't found to be one's own by reading it again."""
    records = Records(opened(root))
    fail_once(of_a_folder)
    with pytest.raises(Unavailable):
        records.write(live(inline=True), None)
    with pytest.raises(Unavailable):
        Records(opened(root)).read(DIGEST)


WRITES: dict[str, Callable[[FolderStore], object]] = {
    "put": lambda store: store.put("data/new", b"body"),
    "delete": lambda store: store.delete("data/old"),
    "delete of what is gone": lambda store: store.delete("data/none"),
    "create_upload": lambda store: store.create_upload("data/new"),
    "abort_upload": lambda store: store.abort_upload("data/new", "0" * 32),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_nothing_is_written_any_more(
    root: Path, fail_once: Fail, write: Callable[[FolderStore], object]
) -> None:
    """After a failed sync every write and every deletion is refused, in all processes."""
    store = opened(root)
    store.put("data/old", b"body")
    fail_once(of_a_folder)
    with pytest.raises(OutcomeUnknown):
        store.put(KEY, b"body")
    for process in (store, opened(root)):
        with pytest.raises(Unavailable, match="can't be believed"):
            write(process)
    assert store.get("data/old").body == b"body"


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_every_sync_counts(
    root: Path, fail_once: Fail, write: Callable[[FolderStore], object]
) -> None:
    """Whichever write or deletion meets the failed sync, nothing new is believed after it."""
    store = opened(root)
    store.put("data/old", b"body")
    fail_once(of_a_folder)
    with pytest.raises((OutcomeUnknown, Unavailable)):
        write(store)
    with pytest.raises(Unavailable, match="can't be believed"):
        store.put(KEY, b"body")


def test_parts_and_completions_are_refused(root: Path, fail_once: Fail) -> None:
    """An upload can't be added to or completed after a failed sync."""
    store = opened(root)
    upload = store.create_upload("data/a")
    part = store.put_part("data/a", upload.id, 1, b"part")
    fail_once(of_a_folder)
    with pytest.raises(Unavailable):
        store.put_part("data/a", upload.id, 2, b"more")
    with pytest.raises(Unavailable):
        store.put_part("data/a", upload.id, 2, b"more")
    with pytest.raises(Unavailable):
        store.complete_upload("data/a", upload.id, [part])
    with pytest.raises(NoSuchKey):
        store.head("data/a")


def test_what_is_older_is_read(root: Path, fail_once: Fail) -> None:
    """What was durable long before the failure is read on, also by a process that is new."""
    opened(root).put("data/old", b"body")
    later = opened(root, ahead=SETTLED + 60)
    fail_once(of_a_folder)
    with pytest.raises(OutcomeUnknown):
        later.put(KEY, b"body")
    assert later.get("data/old").body == b"body"
    other = FolderStore(root, later.now, Files(root, Trust(root, lambda: "this boot")))
    os.utime(root / FAILED, (later.now(), later.now()))
    assert other.get("data/old").body == b"body"


def test_a_restarted_machine_knows_what_is_there(root: Path, fail_once: Fail) -> None:
    """After a boot what the disk shows is what it has: it is read, and written on."""
    fail_once(of_a_folder)
    with pytest.raises(OutcomeUnknown):
        opened(root).put(KEY, b"body")
    store = opened(root, boot="the next boot")
    store.check_access()
    assert store.get(KEY).body == b"body"
    store.put("data/new", b"body")
    assert not (root / FAILED).exists()


def test_a_start_says_what_to_do(root: Path, fail_once: Fail) -> None:
    """A process that starts before the next boot is refused, and told how to go on."""
    fail_once(of_a_folder)
    with pytest.raises(OutcomeUnknown):
        opened(root).put(KEY, b"body")
    with pytest.raises(ConfigurationError, match="restart the machine"):
        opened(root).check_access()
    (root / FAILED).unlink()
    opened(root).check_access()


def test_a_process_that_cannot_tell_others_knows_itself(root: Path, fail_once: Fail) -> None:
    """A disk that doesn't even take the note isn't believed by the process that met it."""

    def full() -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = FolderStore(root, files=Files(root, Trust(root, full)))
    fail_once(of_a_folder)
    with pytest.raises(OutcomeUnknown):
        store.put(KEY, b"body")
    with pytest.raises(Unavailable):
        store.put(KEY, b"body")
    assert not (root / FAILED).exists()


def test_a_file_that_was_not_synced_is_thrown_away(root: Path, fail_once: Fail) -> None:
    """A file whose own sync fails is removed before it has a name; the next write is another."""
    store = opened(root)
    failed = fail_once(of_a_file)
    with pytest.raises(Unavailable):
        store.put(KEY, b"body")
    assert failed
    assert not list((root / "tmp").iterdir())
    with pytest.raises(NoSuchKey):
        store.get(KEY)
    store.put(KEY, b"body")
    assert opened(root).get(KEY).body == b"body"
