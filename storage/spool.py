"""Lines sorted on disk: joins of listings that don't fit in memory, in linear time.

A spool takes lines in any order and gives them back in order, each once. It keeps
at most `limit` of them in memory; more go to sorted files, `FAN_IN` of which are
merged into one of the next level, so that few are ever open at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, TypeVar

from holdfast.errors import ConfigurationError, ResourceExhausted

LIMIT: Final = 200_000
"""Lines in memory: about 30 MB of record keys."""
FAN_IN: Final = 32
"""Files of a level that are merged into one of the next."""
BUFFER: Final = 64 * 2**10
"""Bytes read ahead of each file that is merged."""

Left = TypeVar("Left")
Right = TypeVar("Right")


class Spools:
    """A temporary folder for spools, which is gone when it is left."""

    def __init__(self, parent: Path | None = None, limit: int = LIMIT) -> None:
        """Nothing is made yet.

        Args:
            parent: where the folder is made; None: where the system has such folders.
            limit: lines that each spool keeps in memory.
        """
        self._parent = parent
        self._limit = limit
        self._names = count()
        self._folder: TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        """Makes the folder.

        Raises:
            ConfigurationError: it can't be made there.
        """
        try:
            self._folder = TemporaryDirectory(prefix="holdfast-gc-", dir=self._parent)
        except OSError as error:
            raise ConfigurationError(
                f"no temporary folder can be made in {self._parent or 'the usual place'} "
                f"({error}); name another one with --spool-dir"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def new(self) -> Spool:
        """An empty spool."""
        if self._folder is None:
            raise RuntimeError("spools are made inside their folder's block")
        return Spool(Path(self._folder.name) / str(next(self._names)), self._limit)


class Spool:
    """Lines, sorted by their bytes, each once. For one thread."""

    def __init__(self, stem: Path, limit: int = LIMIT) -> None:
        """Begins empty.

        Args:
            stem: how the files' paths begin.
            limit: lines kept in memory.
        """
        self._stem = stem
        self._limit = limit
        self._lines: set[bytes] = set()
        self._levels: list[list[Path]] = []
        self._names = count()

    def add(self, line: bytes) -> None:
        """Takes a line, which must not hold a line's end.

        Raises:
            ResourceExhausted: the disk is full.
        """
        if b"\n" in line:
            raise ValueError(f"not a line: {line!r}")
        self._lines.add(line)
        if len(self._lines) >= self._limit:
            self._store(0, sorted(self._lines))
            self._lines = set()

    def sorted(self) -> Iterator[bytes]:
        """All lines so far, in order; nothing may be added while they are read."""
        with ExitStack() as stack:
            files = [path for level in self._levels for path in level]
            runs: list[Iterable[bytes]] = [_opened(path, stack) for path in files]
            yield from _distinct(heapq.merge(*runs, sorted(self._lines)))

    def _store(self, level: int, lines: Iterable[bytes]) -> None:
        path = self._stem.with_name(f"{self._stem.name}-{next(self._names)}")
        try:
            with path.open("wb", BUFFER) as file:
                file.writelines(line + b"\n" for line in lines)
        except OSError as error:
            raise ResourceExhausted(
                f"the spool {path.parent} can't be written ({error}); name a folder with more "
                "room with --spool-dir"
            ) from error
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(path)
        if len(self._levels[level]) >= FAN_IN:
            self._merge(level)

    def _merge(self, level: int) -> None:
        paths, self._levels[level] = self._levels[level], []
        with ExitStack() as stack:
            runs = [_opened(path, stack) for path in paths]
            self._store(level + 1, _distinct(heapq.merge(*runs)))
        for path in paths:
            path.unlink()


def _opened(path: Path, stack: ExitStack) -> Iterator[bytes]:
    file: BinaryIO = stack.enter_context(path.open("rb", BUFFER))
    return (line[:-1] for line in file)


def _distinct(lines: Iterable[bytes]) -> Iterator[bytes]:
    last = None
    for line in lines:
        if line != last:
            last = line
            yield line


def joined(
    left: Iterable[Left],
    right: Iterable[Right],
    left_key: Callable[[Left], bytes],
    right_key: Callable[[Right], bytes],
) -> Iterator[tuple[Left | None, Right | None]]:
    """Pairs what two iterables in order of their keys have in common.

    An item without a counterpart comes with None in its place. Where one side has a
    key several times, the others come alone.
    """
    lefts, rights = iter(left), iter(right)
    a, b = next(lefts, None), next(rights, None)
    while a is not None or b is not None:
        order = _compare(a, b, left_key, right_key)
        yield (a if order <= 0 else None), (b if order >= 0 else None)
        if order <= 0:
            a = next(lefts, None)
        if order >= 0:
            b = next(rights, None)


def _compare(
    a: Any,  # noqa: ANN401 -- Left | None
    b: Any,  # noqa: ANN401 -- Right | None
    left_key: Callable[[Any], bytes],
    right_key: Callable[[Any], bytes],
) -> int:
    if a is None or b is None:
        return 1 if a is None else -1
    one, two = left_key(a), right_key(b)
    return (one > two) - (one < two)
