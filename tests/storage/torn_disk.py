"""A disk that forgets: records file operations, and gives the trees a power failure may leave.

What is assumed of the file system is what ext4 and XFS promise. The entries of a folder
(a file made, renamed, linked or removed) are sure once that folder, or the other folder
of the rename, was synced; the bytes of a file once that file was. Before that each may be
there or not, whatever came of the others, with two limits: a rename is done as a whole,
and what happened to one file happened in order. Bytes that aren't synced may be missing
from any length on, or be zeros.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ALL_SUBSETS: Final = 1024
"""Where choices are no more than that, each is tried."""
RANDOM: Final = 24
"""Random choices where they are more."""


PAIRS: Final = 12
"""Effects up to which each two are lost together, where not all subsets are tried."""


class Crash(BaseException):
    """The process ends here."""


@dataclass(eq=False)
class Node:
    """A file with its bytes, or a folder with its entries, as the running system sees it."""

    entries: dict[str, Node] | None = None
    content: bytes = b""


@dataclass(frozen=True)
class Change:
    """Entries that an operation on `node` sets, or takes away (None)."""

    node: Node
    slots: tuple[tuple[Node, str, Node | None], ...]


@dataclass(frozen=True)
class Data:
    """Bytes appended to a file."""

    node: Node
    data: bytes


@dataclass(frozen=True)
class Sync:
    """An fsync of a file or a folder, and the place in the program that asked for it."""

    node: Node
    site: str


Operation = Change | Data | Sync
Tree = tuple[tuple[str, bytes | None], ...]
"""Paths in order, each with the bytes of a file or, for a folder, None."""


def scanned(path: Path) -> Node:
    """What is on the real disk."""
    if not path.is_dir():
        return Node(content=path.read_bytes())
    return Node(entries={child.name: scanned(child) for child in sorted(path.iterdir())})


@dataclass
class Log:
    """The operations of this thread below a folder, from when recording began."""

    top: Path
    base: Node = field(default_factory=Node)
    operations: list[Operation] = field(default_factory=list)
    crash_at: int | None = None
    _before: dict[Node, dict[str, Node]] = field(default_factory=dict)
    _contents: dict[Node, bytes] = field(default_factory=dict)
    _open: dict[int, Node] = field(default_factory=dict)

    def begin(self) -> None:
        """Takes what is there as durable."""
        self.base = scanned(self.top)
        for node in _below(self.base):
            if node.entries is None:
                self._contents[node] = node.content
            else:
                self._before[node] = dict(node.entries)

    def find(self, path: Path) -> Node | None:
        """What is at a path now."""
        node: Node | None = self.base
        for name in path.relative_to(self.top).parts:
            node = (node.entries or {}).get(name) if node else None
        return node

    def may_go_on(self) -> None:
        """Ends the process where the test wants it."""
        if self.crash_at is not None and len(self.operations) >= self.crash_at:
            raise Crash

    def change(self, node: Node, *slots: tuple[Path, Node | None]) -> None:
        """Notes changed entries."""
        found = []
        for path, value in slots:
            folder = self.find(path.parent)
            assert folder is not None
            assert folder.entries is not None
            found.append((folder, path.name, value))
            if value is None:
                folder.entries.pop(path.name, None)
            else:
                folder.entries[path.name] = value
        self.operations.append(Change(node, tuple(found)))

    # -- what a crash leaves

    def trees(
        self, count: int, skip: str = "", chosen: random.Random | None = None
    ) -> Iterator[Tree]:
        """The different trees that a power failure after `count` operations may leave.

        Args:
            count: of operations that were carried out.
            skip: a place in the program whose syncs don't count.
            chosen: takes random choices where there are too many.
        """
        done = self.operations[:count]
        synced: dict[Node, int] = {}
        for index, operation in enumerate(done):
            if isinstance(operation, Sync) and operation.site != skip:
                synced[operation.node] = index
        changes = [(i, c) for i, c in enumerate(done) if isinstance(c, Change)]
        sure = {
            i for i, c in changes if any(synced.get(folder, -1) > i for folder, _, _ in c.slots)
        }
        files = self._torn(done, synced)
        open_ = [i for i, c in changes if i not in sure and not _overtaken(i, c, changes, sure)]
        seen: set[Tree] = set()
        for keep, lengths in _choices(open_, files, chosen or random.Random(0)):  # noqa: S311 -- replayed
            tree = self._tree(changes, sure | keep, lengths)
            if tree not in seen:
                seen.add(tree)
                yield tree

    def _torn(self, done: list[Operation], synced: dict[Node, int]) -> dict[Node, list[bytes]]:
        """The contents that each file may have; the first is what was written."""
        found: dict[Node, list[bytes]] = {n: [body] for n, body in self._contents.items()}
        written: dict[Node, list[tuple[int, bytes]]] = {}
        for index, operation in enumerate(done):
            if isinstance(operation, Data):
                written.setdefault(operation.node, []).append((index, operation.data))
        for node, pieces in written.items():
            safe = b"".join(data for i, data in pieces if i < synced.get(node, -1))
            full = b"".join(data for _, data in pieces)
            late = len(full) - len(safe)
            found[node] = list(
                dict.fromkeys(
                    (full, safe, full[: len(safe) + late // 2], full[:-1] if late else full,
                     safe + bytes(late))
                )
            )  # fmt: skip
        return found

    def _tree(
        self,
        changes: list[tuple[int, Change]],
        kept: set[int],
        contents: dict[Node, bytes],
    ) -> Tree:
        # What happened to one file happened in order: a later step takes the earlier along.
        last = {c.node: i for i, c in changes if i in kept}
        entries = {folder: dict(before) for folder, before in self._before.items()}
        for index, change in changes:
            if index <= last.get(change.node, -1):
                for folder, name, value in change.slots:
                    there = entries.setdefault(folder, {})
                    there.pop(name, None)
                    if value is not None:
                        there[name] = value

        def walk(node: Node, path: str) -> Iterator[tuple[str, bytes | None]]:
            if node.entries is None:
                yield path, contents.get(node, b"")
                return
            yield path, None
            for name, child in sorted(entries.get(node, {}).items()):
                yield from walk(child, f"{path}/{name}" if path else name)

        return tuple(walk(self.base, ""))


def _below(node: Node) -> Iterator[Node]:
    yield node
    for child in (node.entries or {}).values():
        yield from _below(child)


def _overtaken(
    index: int, change: Change, changes: list[tuple[int, Change]], sure: set[int]
) -> bool:
    """Whether it makes no difference: a later step that is sure takes it along."""
    return any(later > index and c.node is change.node and later in sure for later, c in changes)


def _choices(
    pending: list[int], files: dict[Node, list[bytes]], chosen: random.Random
) -> Iterator[tuple[set[int], dict[Node, bytes]]]:
    torn = [node for node, contents in files.items() if len(contents) > 1]
    options: list[list[Any]] = [[True, False] for _ in pending] + [files[node] for node in torn]
    total = 1
    for option in options:
        total *= len(option)
    picks = itertools.product(*options) if total <= ALL_SUBSETS else _some(options, chosen)
    plain = {node: contents[0] for node, contents in files.items()}
    for pick in picks:
        keep = {i for i, kept in zip(pending, pick, strict=False) if kept}
        yield keep, plain | dict(zip(torn, pick[len(pending) :], strict=True))


def _some(options: list[list[Any]], chosen: random.Random) -> Iterator[tuple[Any, ...]]:
    """All kept, all lost, each alone lost, each alone kept, random ones, and pairs lost."""
    best = [option[0] for option in options]
    worst = [option[1] for option in options]
    yield tuple(best)
    yield tuple(worst)
    for base in (best, worst):
        for index, option in enumerate(options):
            for value in option:
                yield (*base[:index], value, *base[index + 1 :])
    for _ in range(RANDOM):
        yield tuple(chosen.choice(option) for option in options)
    if len(options) > PAIRS:
        return
    for one, two in itertools.combinations(range(len(options)), 2):
        yield tuple(worst[i] if i in {one, two} else best[i] for i in range(len(options)))


def materialised(tree: Tree, folder: Path) -> None:
    """Puts a tree on the real disk."""
    for path, content in tree:
        if content is None:
            (folder / path).mkdir(parents=True, exist_ok=True)
        else:
            (folder / path).write_bytes(content)
