"""Pushes many files at once: one line for each, one total, and a summary at the end."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

import typer

from holdfast.cli import output
from holdfast.cli.exit_codes import ERROR, exit_code
from holdfast.cli.sources import STDIN, PushedFile
from holdfast.client import Committed, ContentStore
from holdfast.client.upload import Progress, Waits
from holdfast.digests import Digest
from holdfast.errors import (
    BeingWritten,
    HoldfastError,
    Overloaded,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    reported,
)

AHEAD: Final = 4
"""How many files per job may be begun before the first of them is done: results are printed in
order, and a large file must not delay the others."""
SHOWN: Final = 8 * 2**20
"""The size in bytes from which a file has a bar of its own, besides the total's."""
_FATAL: Final = (Unavailable, Overloaded, ResourceExhausted, PermissionDenied)
"""Errors that the next file would meet too."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How files are pushed; `label_path` is the label that gets each file's path, or ""."""

    labels: dict[str, str]
    ref: str | None = None
    digest: Digest | None = None
    label_path: str = ""

    def labels_of(self, source: PushedFile) -> dict[str, str]:
        """The labels of one file."""
        named = {self.label_path: output.printable(source.name)} if self.label_path else {}
        return {**self.labels, **named}


@dataclass
class Summary:
    """What happened to the files; sizes in bytes."""

    pushed: int = 0
    size: int = 0
    sent: int = 0
    there: int = 0
    skipped: int = 0
    left: int = 0
    """Files that weren't pushed because the push ended before."""
    errors: list[Exception] = field(default_factory=list)

    def note(self, committed: Committed) -> None:
        """Counts a file that is now in the store."""
        self.pushed += 1
        self.size += committed.size
        self.sent += committed.sent
        self.there += committed.already_there

    @property
    def exit_code(self) -> int:
        """0, or the code that all errors share, or 1."""
        codes = {exit_code(error) for error in self.errors}
        return codes.pop() if len(codes) == 1 else ERROR if codes else 0

    def line(self) -> str:
        """The summary for people."""
        parts = [
            f"{self.pushed:,} pushed, {output.size(self.size)}",
            f"{self.there:,} of them already there",
            f"{output.size(self.sent)} sent",
        ]
        if self.skipped:
            parts.append(f"{self.skipped:,} skipped")
        if self.errors:
            parts.append(f"{len(self.errors):,} failed")
        if self.left:
            parts.append(f"{self.left:,} not pushed")
        return ", ".join(parts)


class Pushing:
    """One push of any number of files."""

    def __init__(
        self, store: ContentStore, wanted: Wanted, bars: output.Bars, *, json: bool, jobs: int
    ) -> None:
        """Pushes nothing yet.

        Args:
            store: where to push.
            wanted: how to push.
            bars: show the progress.
            json: whether results are printed as JSON objects.
            jobs: files at once.
        """
        self._store = store
        self._wanted = wanted
        self._bars = bars
        self._json = json
        self._jobs = jobs
        self._waiting: deque[tuple[PushedFile, Future[Committed]]] = deque()
        """Files that were begun and aren't reported yet, in their order."""
        self._told = 0
        self._telling = Lock()
        self.summary = Summary()

    def skip(self, name: str, kind: str) -> None:
        """Reports that a folder contains something that isn't pushed."""
        self.summary.skipped += 1
        self._bars.say(f"skipped: {name} is {kind}")

    def fail(self, name: str, error: Exception) -> None:
        """Reports that a file couldn't be pushed; the others still are."""
        self.summary.errors.append(error)
        reason = f"{name}: {_reason(error)}"
        if self._json:
            name = output.printable(name)
            output.print_json({"source": name, "error": _reason(error), "code": exit_code(error)})
        self._bars.say(f"holdfast: {reason}")

    def __call__(self, sources: list[PushedFile]) -> None:
        """Pushes files, several at once; results are reported in the order of the files.

        An error that all other files would meet too ends the push.

        Raises:
            HoldfastError: the only file's.
            OSError: the only file can't be read.
        """
        if len(sources) == 1:
            self._print(sources[0], self._push(sources[0], None))
            return
        total = self._bars.begin(f"{len(sources):,} files", sum(source.size for source in sources))
        self.summary.left = len(sources)
        with closing(self._results(sources, total)) as results:
            for source, outcome in results:
                self.summary.left -= 1
                try:
                    self._print(source, outcome())
                except (HoldfastError, OSError) as error:
                    self.fail(source.name, error)
                    if isinstance(error, _FATAL):
                        break
        for source, future in self._waiting:
            if not future.cancelled() and not future.exception():
                self.summary.left -= 1
                self._print(source, future.result())
        total.end()

    def _results(
        self, sources: list[PushedFile], total: output.Bar
    ) -> Generator[tuple[PushedFile, Callable[[], Committed]], None, None]:
        waiting = self._waiting
        with ThreadPoolExecutor(self._jobs, "push") as pool, self._given_up():
            for source in sources:
                waiting.append((source, pool.submit(self._push, source, total)))
                while waiting and (len(waiting) >= AHEAD * self._jobs or waiting[0][1].done()):
                    first, future = waiting.popleft()
                    yield first, future.result
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result

    @contextmanager
    def _given_up(self) -> Iterator[None]:
        """Stops all running pushes if the block is left early; the store keeps their streams."""
        try:
            yield
        except BaseException:
            for _, future in self._waiting:
                future.cancel()
            self._store.close()
            raise

    def _push(self, source: PushedFile, total: output.Bar | None) -> Committed:
        wanted, labels = self._wanted, self._wanted.labels_of(source)
        if source.name == STDIN:
            tell = self._bars.bar("stdin", 0)
            stream = sys.stdin.buffer
            return self._store.push(
                stream, ref=wanted.ref, digest=wanted.digest, labels=labels, progress=tell
            )
        path = Path(source.name)
        with self._shown(path, source.size, total) as (hashed, sent, waits):
            return self._store.push(
                path,
                ref=wanted.ref,
                digest=wanted.digest,
                labels=labels,
                progress=sent,
                hashing=hashed,
                waits=waits,
            )

    @contextmanager
    def _shown(
        self, path: Path, size: int, total: output.Bar | None
    ) -> Iterator[tuple[Progress, Progress, Waits]]:
        """The callbacks for a file's progress: while it is hashed, sent, or waited for."""
        if total is not None and size < SHOWN:
            yield _told_nobody, _told_nobody, _waits_for_nobody
        else:
            name = output.printable(path.name)
            bar = self._bars.begin(f"{name}: hashing", size)

            def sent(at: int, whole: int) -> None:
                bar.describe(name)
                bar.tell(at, whole)

            def waits(ahead: BeingWritten) -> None:
                bar.describe(f"{name}: waiting for {ahead.leader}: {ahead.percent} %")
                bar.tell(ahead.offset, ahead.total)

            try:
                yield bar.tell, sent, waits
            finally:
                bar.end()
        if total is not None:
            with self._telling:
                self._told += size
                total.tell(self._told, 0)

    def _print(self, source: PushedFile, committed: Committed) -> None:
        self.summary.note(committed)
        if self._json:
            output.print_json(output.committed_object(committed, output.printable(source.name)))
            return
        notes = []
        if committed.already_there:
            notes.append("already there")
        if committed.resumed_at:
            notes.append(f"resumed at {output.size(committed.resumed_at[0])}")
        note = f"  ({', '.join(notes)})" if notes else ""
        line = f"{committed.digest}  {output.size(committed.size)}  {source.name}{note}"
        self._bars.result(line)


def finish(pushing: Pushing, count: int) -> None:
    """Prints a summary if there was more than one file, and exits if one failed.

    Raises:
        typer.Exit: with the code of the errors.
    """
    summary = pushing.summary
    if count > 1 or summary.errors or summary.skipped:
        typer.echo(summary.line(), err=True)
    if summary.errors:
        raise typer.Exit(summary.exit_code)


def _told_nobody(at: int, whole: int) -> None:
    """Ignores the progress."""


def _waits_for_nobody(ahead: BeingWritten) -> None:
    """Ignores for whom a push waits."""


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return reported(error)
