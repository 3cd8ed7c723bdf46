"""Lines sorted on disk: joins of listings that don't fit in memory, in linear time.

A spool accepts lines in any order and returns them in order, each once. It keeps at most `limit`
of them in memory. The rest is in sorted files; `FAN_IN` files of a level are merged into one of
the next, so that only a few are open at any time.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Final, Self, TypeVar

from holdfast.errors import ConfigurationError, ResourceExhausted, because

LIMIT: Final = 100_000
"""Lines in memory: about 15 MB of record keys; a collector has half a dozen spools."""
FAN_IN: Final = 32
"""How many files of a level are merged into one of the next."""
BUFFER: Final = 64 * 2**10
"""Bytes read ahead of each file that is merged."""

Left = TypeVar("Left")
Right = TypeVar("Right")


class Spools:
    """Makes spools; their files have no names, so they vanish with the process however it ends."""

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        """Creates nothing yet.

        Args:
            folder: where the files are created; None: in the system's temporary folder.
            limit: lines that each spool keeps in memory.
        """
        self._folder = folder
        self._limit = limit
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Checks that files can be created.

        Raises:
            ConfigurationError: they can't.
        """
        try:
            TemporaryFile(dir=self._folder).close()
        except OSError as error:
            raise ConfigurationError(
                f"no temporary file can be created in {self._folder or 'the usual folder'} "
                f"({because(error)}); name another folder with --spool-dir"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def new(self) -> Spool:
        """An empty spool that lasts until the block ends."""
        spool = Spool(self._folder, self._limit)
        self._open.callback(spool.close)
        return spool

    def tallies(self) -> TallySpool:
        """An empty one that counts its lines, and lasts until the block ends."""
        spool = TallySpool(self._folder, self._limit)
        self._open.callback(spool.close)
        return spool


class Spool:
    """Lines, sorted by their bytes, each once. For one thread."""

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        """Begins empty.

        Args:
            folder: where the files are created.
            limit: lines kept in memory.
        """
        self._folder = folder
        self._limit = limit
        self._lines: set[bytes] = set()
        self._levels: list[list[IO[bytes]]] = []

    @property
    def files(self) -> int:
        """How many files the spool has."""
        return sum(map(len, self._levels))

    def add(self, line: bytes) -> None:
        """Adds a line, which must not contain a line break.

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
        return self._merged(sorted(self._lines))

    def _merged(self, in_memory: Iterable[bytes]) -> Iterator[bytes]:
        runs: list[Iterable[bytes]] = [_read(file) for level in self._levels for file in level]
        return self._reduced(heapq.merge(*runs, in_memory))

    def _reduced(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Joins lines of several files that are about the same, and follow each other."""
        return _distinct(lines)

    def close(self) -> None:
        """Frees the disk space."""
        for level in self._levels:
            for file in level:
                file.close()
        self._levels = []

    def _store(self, level: int, lines: Iterable[bytes]) -> None:
        try:
            file = TemporaryFile(buffering=BUFFER, dir=self._folder)  # noqa: SIM115 -- kept
            file.writelines(line + b"\n" for line in lines)
            file.flush()
        except OSError as error:
            raise ResourceExhausted(
                f"a spool can't be written in {self._folder or 'the usual folder'} "
                f"({because(error)}); name a folder with more room with --spool-dir"
            ) from error
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(file)
        if len(self._levels[level]) >= FAN_IN:
            self._merge(level)

    def _merge(self, level: int) -> None:
        files, self._levels[level] = self._levels[level], []
        self._store(level + 1, self._reduced(heapq.merge(*map(_read, files))))
        for file in files:
            file.close()


class TallySpool(Spool):
    """Lines, each once and with how often it was added; they have no byte up to a space.

    On disk, a line is followed by a space and its number, so that files sort by their lines.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        """Begins empty; see `Spool`."""
        super().__init__(folder, limit)
        self._tallies: dict[bytes, int] = {}

    def add(self, line: bytes) -> None:
        """Adds a line once more.

        Raises:
            ResourceExhausted: the disk is full.
        """
        if any(byte <= 0x20 for byte in line):  # noqa: PLR2004 -- the space
            raise ValueError(f"not a line without spaces: {line!r}")
        self._tallies[line] = self._tallies.get(line, 0) + 1
        if len(self._tallies) >= self._limit:
            self._store(0, self._in_memory())
            self._tallies = {}

    def sorted(self) -> Iterator[bytes]:
        """All lines so far, in order; nothing may be added while they are read."""
        return (line for line, _ in self.tallied())

    def tallied(self) -> Iterator[tuple[bytes, int]]:
        """The same, each with how often it was added."""
        return map(_tally_of, self._merged(self._in_memory()))

    def _in_memory(self) -> list[bytes]:
        return [_tallied(line, self._tallies[line]) for line in sorted(self._tallies)]

    def _reduced(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for line, same in groupby(map(_tally_of, lines), itemgetter(0)):
            yield _tallied(line, sum(times for _, times in same))


def _tallied(line: bytes, times: int) -> bytes:
    return b"%b %d" % (line, times)


def _tally_of(tallied: bytes) -> tuple[bytes, int]:
    line, _, times = tallied.partition(b" ")
    return line, int(times)


def _read(file: IO[bytes]) -> Iterator[bytes]:
    """A file's lines, from the beginning, even if others read it concurrently."""
    descriptor, offset, rest = file.fileno(), 0, b""
    while chunk := os.pread(descriptor, BUFFER, offset):
        offset += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def _distinct(lines: Iterable[bytes]) -> Iterator[bytes]:
    last = None
    for line in lines:
        if line != last:
            last = line
            yield line


def line_of(key: str, rest: object) -> bytes:
    """A line that sorts by `key`, which has no space in it, and carries `rest` too."""
    return f"{key} {rest}".encode()


def halves(line: bytes) -> tuple[str, str]:
    """The key of a line that `line_of` made, and the rest."""
    key, _, rest = line.decode().partition(" ")
    return key, rest


def joined(
    left: Iterable[Left],
    right: Iterable[Right],
    left_key: Callable[[Left], bytes],
    right_key: Callable[[Right], bytes],
) -> Iterator[tuple[Left | None, Right | None]]:
    """Pairs the items of two iterables, both in order of their keys, that have the same key.

    An item without a counterpart is paired with None. If one side has a key several times,
    only the first is paired.
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
