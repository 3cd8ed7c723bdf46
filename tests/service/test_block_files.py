"""Blocks as files: never wrong bytes, never over the budget, the least lately used go first."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from holdfast.errors import DataLoss
from holdfast.service.reading.block_files import LEAST_COST, BlockFiles
from holdfast.storage.records import BLOCK_SIZE, Record
from tests.service.disk_blocks import costs, kept, record_of, unfinished, usage
from tests.service.failing_disk import BROKEN, FORBIDDEN, failing

ROOM = 8
BUDGET = ROOM * LEAST_COST
"""Of so many small blocks."""
TICKS = count(1)
"""The time, which passes whenever somebody looks."""


def opened(folder: Path, budget: int = BUDGET) -> BlockFiles:
    """A folder as a process that has just started has it."""
    files = BlockFiles(folder, budget, TICKS.__next__)
    files.prepare()
    assert files.recount()
    return files


def put(files: BlockFiles, name: object) -> bool:
    """Writes a small block of its own."""
    return files.write(small(name), 0, content(name))


def get(files: BlockFiles, name: object) -> bytes | None:
    """Reads such a block."""
    return files.read(small(name), 0)


def content(name: object) -> bytes:
    return f"block {name}".encode()


def small(name: object) -> Record:
    return record_of(content(name), f"data/{name}")


def test_what_is_kept(tmp_path: Path) -> None:
    """A block is read back by another process after a restart, and one that isn't there is None."""
    assert put(opened(tmp_path), "a")
    files = opened(tmp_path)
    assert get(files, "a") == content("a")
    assert get(files, "b") is None
    assert files.used == usage(tmp_path) == LEAST_COST
    assert unfinished(tmp_path) == []


def test_a_block_of_many(tmp_path: Path) -> None:
    """Blocks of one blob are apart, and each counts for its bytes."""
    data = os.urandom(BLOCK_SIZE) + b"end"
    record, files = record_of(data, "data/a"), opened(tmp_path, 4 * BLOCK_SIZE)
    assert files.write(record, 0, data[:BLOCK_SIZE])
    assert files.write(record, 1, b"end")
    assert files.read(record, 0) == data[:BLOCK_SIZE]
    assert files.read(record, 1) == b"end"
    assert files.used == costs(tmp_path) == BLOCK_SIZE + LEAST_COST


def test_only_its_user_gets_in(tmp_path: Path) -> None:
    """Folders are for their owner alone, and so are files, whatever was there before."""
    root = tmp_path / "new" / "v1"
    root.mkdir(parents=True)
    root.chmod(0o777)
    put(opened(tmp_path / "new"), "a")
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (root, *root.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


@pytest.mark.parametrize("obstacle", ["file", "link"])
def test_a_folder_that_is_none(tmp_path: Path, obstacle: str) -> None:
    """A file or a link where the folder should be is refused: it could be anybody's."""
    if obstacle == "file":
        (tmp_path / "v1").touch()
    else:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "v1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="v1"):
        opened(tmp_path)


@given(key=st.text(max_size=40), index=st.integers(min_value=0, max_value=2**31))
def test_names_are_hashes(key: str, index: int) -> None:
    """Whatever stands in a record, a block's file is below the folder, under a hash."""
    folder = Path("/cache")
    path = BlockFiles(folder, BUDGET, lambda: 0).path(record_of(b"a", key), index)
    assert path.parent.parent == folder / "v1"
    assert len(bytes.fromhex(path.name)) == 32
    assert path.parent.name == path.name[0]


def test_names_differ() -> None:
    """Data key and number of a block can't be mistaken for those of another one."""
    files = BlockFiles(Path("/cache"), BUDGET, lambda: 0)
    places = [("a", 11), ("a1", 1), ("a", 1), ("b", 11)]
    assert len({files.path(record_of(b"a", key), index) for key, index in places}) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: bytes([body[0] ^ 1]) + body[1:],
        lambda body: body[:-1],
        lambda body: body + b"x",
        lambda _: b"",
        lambda body: bytes(len(body)),
    ],
    ids=["flipped", "cut", "longer", "empty", "zeros"],
)
def test_damage(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """A file that isn't the block is removed, and its bytes are shown to nobody."""
    files = opened(tmp_path)
    put(files, "a")
    [path] = kept(tmp_path)
    path.write_bytes(damage(content("a")))
    with pytest.raises(DataLoss):
        get(files, "a")
    assert get(files, "a") is None
    assert put(files, "a")
    assert get(files, "a") == content("a")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A link in a file's place is removed, even to the right bytes, and its target stays."""
    files, target = opened(tmp_path / "cache"), tmp_path / "target"
    target.write_bytes(content("a"))
    path = files.path(small("a"), 0)
    path.symlink_to(target)
    with pytest.raises(DataLoss):
        get(files, "a")
    assert not path.is_symlink()
    assert put(files, "a")
    assert target.read_bytes() == content("a")


def test_writing_replaces_a_link(tmp_path: Path) -> None:
    """A block is written in the place of a link, not through it."""
    files, target = opened(tmp_path / "cache"), tmp_path / "target"
    target.write_bytes(b"precious")
    files.path(small("a"), 0).symlink_to(target)
    assert put(files, "a")
    assert get(files, "a") == content("a")
    assert target.read_bytes() == b"precious"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """What isn't a file doesn't hold a reader up."""
    files = opened(tmp_path)
    os.mkfifo(files.path(small("a"), 0))
    with pytest.raises(DataLoss):
        get(files, "a")
    assert get(files, "a") is None


def test_a_folder_is_no_block(tmp_path: Path) -> None:
    """A folder in a file's place, just as large as the block, isn't read: it is no fault."""
    files = opened(tmp_path)
    size = files.path(small("a"), 0).parent.stat().st_size
    record = record_of(b"x" * size, "data/x")
    files.path(record, 0).mkdir()
    with pytest.raises(DataLoss):
        files.read(record, 0)


def test_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    """A block that another process has written meanwhile is left as it is, and counts once."""
    one, two = opened(tmp_path), opened(tmp_path)
    put(one, "a")
    [path] = kept(tmp_path)
    before = path.stat().st_ino
    assert put(two, "a")
    assert path.stat().st_ino == before
    assert usage(tmp_path) == LEAST_COST


def test_the_budget(tmp_path: Path) -> None:
    """However many blocks are written, all files together stay within the budget."""
    files = opened(tmp_path)
    for number in range(5 * ROOM):
        assert put(files, number)
        assert costs(tmp_path) <= BUDGET
    assert files.evicted == 5 * ROOM - len(kept(tmp_path))
    assert get(files, 5 * ROOM - 1) is not None


def test_the_least_lately_used_go(tmp_path: Path) -> None:
    """What was read lately stays, also over a restart; what wasn't, goes."""
    files = opened(tmp_path)
    for number in range(ROOM):
        put(files, number)
    get(files, 0)
    files = opened(tmp_path)
    put(files, "new")
    assert get(files, 0) is not None
    assert get(files, 1) is None


def test_a_smaller_budget(tmp_path: Path) -> None:
    """A budget that was lowered is kept from the start on."""
    files = opened(tmp_path)
    for number in range(ROOM):
        put(files, number)
    files = opened(tmp_path, 3 * LEAST_COST)
    assert costs(tmp_path) == files.used == usage(tmp_path) <= 3 * LEAST_COST
    assert get(files, ROOM - 1) is not None


def test_two_on_one_folder(tmp_path: Path) -> None:
    """Two processes find each other's blocks, and keep one budget between them."""
    one, two = opened(tmp_path), opened(tmp_path)
    for number in range(3 * ROOM):
        writer, reader = (one, two) if number % 2 else (two, one)
        assert put(writer, number)
        assert get(reader, number) == content(number)
        assert costs(tmp_path) <= BUDGET


def test_what_another_one_evicted(tmp_path: Path) -> None:
    """A block that another process has evicted isn't there, and that is no error."""
    one, two = opened(tmp_path), opened(tmp_path)
    put(one, "a")
    for number in range(ROOM):
        put(two, number)
    assert get(one, "a") is None
    assert put(one, "a")


def test_many_at_once(tmp_path: Path) -> None:
    """Many that write at the same time don't exceed the budget together, at any moment."""

    def work(number: int) -> None:
        files = BlockFiles(tmp_path, BUDGET, TICKS.__next__)
        for step in range(60):
            put(files, (number, step % 20))
            get(files, ((number + 1) % 4, step % 20))

    opened(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        working = [threads.submit(work, number) for number in range(4)]
        while not all(future.done() for future in working):
            with (tmp_path / "v1" / "usage").open("rb") as account:
                fcntl.flock(account, fcntl.LOCK_EX)  # who counts must not be counting what moves
                # What is being written counts as a whole block, which may be more than the budget.
                assert costs(tmp_path) <= min(usage(tmp_path), BUDGET)
        for future in working:
            future.result()
    assert costs(tmp_path) <= min(usage(tmp_path), BUDGET)
    assert unfinished(tmp_path) == []


def test_leftovers(tmp_path: Path) -> None:
    """What a dead process was writing is removed at the start; what a live one writes, counts."""
    opened(tmp_path)
    dead, alive = (tmp_path / "v1" / "tmp" / name for name in ("dead", "alive"))
    dead.write_bytes(b"half a blo")
    with alive.open("wb") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        files = opened(tmp_path, 4 * BLOCK_SIZE)
        assert unfinished(tmp_path) == [alive]
        assert files.used == BLOCK_SIZE
    assert opened(tmp_path).used == 0
    assert unfinished(tmp_path) == []


def test_no_room_beside_other_writers(tmp_path: Path) -> None:
    """Where all room is taken by what others are writing, a block isn't written."""
    files = opened(tmp_path, BLOCK_SIZE)
    with (tmp_path / "v1" / "tmp" / "alive").open("wb") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        assert opened(tmp_path, BLOCK_SIZE).used == BLOCK_SIZE
        assert not put(files, "a")
    assert kept(tmp_path) == []


def test_while_another_one_counts(tmp_path: Path) -> None:
    """While another process makes room nobody waits for it: a block isn't written."""
    files = opened(tmp_path)
    with (tmp_path / "v1" / "usage").open("rb") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        assert not put(files, "a")
        assert not files.recount()
    assert put(files, "a")


@pytest.mark.parametrize("account", [b"", b"nonsense", b"-1", b"1e9"], ids=str)
def test_an_account_that_is_damaged(tmp_path: Path, account: bytes) -> None:
    """An account that can't be read is made anew, by counting."""
    files = opened(tmp_path)
    put(files, "a")
    (tmp_path / "v1" / "usage").write_bytes(account)
    put(files, "b")
    assert usage(tmp_path) == costs(tmp_path) == 2 * LEAST_COST


def test_a_write_that_fails(tmp_path: Path) -> None:
    """A block that can't be put in its place is an error, and leaves nothing behind."""
    files = opened(tmp_path)
    folder = files.path(small("a"), 0).parent
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        put(files, "a")
    assert unfinished(tmp_path) == []
    files.prepare()
    assert put(files, "a")


@pytest.mark.parametrize(("number", "left"), [(BROKEN, 0), (FORBIDDEN, 1)])
def test_a_file_that_can_not_be_read(tmp_path: Path, number: int, left: int) -> None:
    """A file on which the disk fails is removed; one that just can't be opened now, isn't."""
    files = opened(tmp_path)
    put(files, "a")
    with (
        failing(tmp_path, number, reading=True, writing=False),
        pytest.raises(OSError, match=os.strerror(number)),
    ):
        get(files, "a")
    assert len(kept(tmp_path)) == left


def test_too_little_room_on_the_disk(tmp_path: Path) -> None:
    """A budget that the disk has no room for is noticed, and how much is missing."""
    assert opened(tmp_path).missing() == 0
    files = opened(tmp_path, 2**60)
    assert files.missing() > 2**59
    files.used = 2**60  # what blocks take already isn't missing
    assert files.missing() == 0


class BlocksModel(RuleBasedStateMachine):
    """Two processes on a folder, against a dictionary of what was used when."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self.clock = count(1)
        self.now = 0
        self.used: dict[int, int] = {}

    @initialize()
    def begin(self) -> None:
        self.processes = [self._opened(), self._opened()]

    def _opened(self) -> BlockFiles:
        files = BlockFiles(self.folder, BUDGET, lambda: self.now)
        files.prepare()
        assert files.recount()
        return files

    def _tick(self) -> int:
        self.now = next(self.clock)
        return self.now

    def teardown(self) -> None:
        self._folder.cleanup()

    def _there(self) -> set[int]:
        found = {path.name for path in kept(self.folder)}
        files = self.processes[0]
        return {number for number in self.used if files.path(small(number), 0).name in found}

    @rule(who=st.integers(0, 1), number=st.integers(0, 20))
    def write(self, who: int, number: int) -> None:
        before = self._there()
        self._tick()
        assert put(self.processes[who], number)
        if number not in before:
            self.used[number] = self.now
        gone = before - self._there()
        stayed = {self.used[one] for one in before - gone}
        assert not gone or not stayed or max(self.used[one] for one in gone) < min(stayed)
        assert number in self._there()

    @rule(who=st.integers(0, 1), number=st.integers(0, 20))
    def read(self, who: int, number: int) -> None:
        there = number in self._there()
        self._tick()
        assert get(self.processes[who], number) == (content(number) if there else None)
        if there:
            self.used[number] = self.now

    @rule(who=st.integers(0, 1), data=st.data())
    def damage(self, who: int, data: st.DataObject) -> None:
        there = sorted(self._there())
        if there:
            number = data.draw(st.sampled_from(there))
            self.processes[0].path(small(number), 0).write_bytes(b"something else")
            with pytest.raises(DataLoss):
                get(self.processes[who], number)
            assert number not in self._there()

    @rule(who=st.integers(0, 1))
    def restart(self, who: int) -> None:
        self.processes[who] = self._opened()
        assert self.processes[who].used == costs(self.folder) == usage(self.folder)

    @invariant()
    def stays_within_the_budget(self) -> None:
        assert costs(self.folder) <= usage(self.folder) <= BUDGET


TestBlocksModel = BlocksModel.TestCase
TestBlocksModel.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
