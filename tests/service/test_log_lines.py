"""The log's lines on their way to stderr, whoever reads them or doesn't."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import pytest

from holdfast.service.process.log_lines import AT_ONCE, WAITING, LogLines
from tests.servers.process import wait_until

LINE = "x" * 999
"""A thousand bytes, with its end."""
FEWEST = WAITING // (len(LINE) + 1)
"""Lines that are kept at least."""


@dataclass
class Log:
    """A log that is a pipe: only who asks empties it."""

    reader: int
    stream: TextIO
    lost: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lines = LogLines(self.stream, self.lost.append)

    def read(self, least: int) -> list[str]:
        """Reads until there are so many lines."""
        found = b""
        while found.count(b"\n") < least:
            found += os.read(self.reader, 2**20)
        return found.decode().splitlines()


@pytest.fixture
def log() -> Iterator[Log]:
    """A log that nobody reads."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        log = Log(reader, stream)
        yield log
        os.close(reader)
        log.lines.close()


def test_a_line_is_written_before_the_program_continues(log: Log) -> None:
    """While somebody reads, no thread is needed, and lines keep their order."""
    for number in range(100):
        log.lines.info(f"line {number}")
    assert log.lines._thread is None
    assert log.read(100) == [f"line {number}" for number in range(100)]


def test_nobody_waits_for_a_reader_that_stands_still(log: Log) -> None:
    """Lines wait in a thread, within their bound, and what is too much is reported once."""
    most = 2 * FEWEST
    for number in range(most):
        log.lines.info(f"{number:06}{LINE[6:]}")
    read = log.read(FEWEST)
    wait_until(lambda: bool(log.lost), "a report of lost lines")
    log.lines.info("after all")
    while read[-1] != "after all":
        read += log.read(1)
    kept = [int(line[:6]) for line in read[:-1]]
    assert kept == sorted(kept)
    assert kept[:FEWEST] == list(range(FEWEST))
    assert sum(log.lost) == most - len(kept)


def test_lines_of_libraries_wait_for_nobody_either(log: Log) -> None:
    """A handler of the standard library writes whole lines, in order with ours."""
    record = logging.LogRecord("asyncio", logging.ERROR, "", 0, "lost %s", ("a task",), None)
    log.lines.info("before")
    logging.StreamHandler(log.lines).emit(record)
    assert log.read(2) == ["before", "lost a task"]


def test_long_lines_come_whole(log: Log) -> None:
    """A line that a pipe may divide is written by the thread, and those after it follow."""
    log.lines.error("y" * 3 * AT_ONCE)
    log.lines.info("after")
    assert log.read(2) == ["y" * 3 * AT_ONCE, "after"]


def test_a_reader_that_has_left_is_no_error(log: Log) -> None:
    """Lines that nobody can read are lost, and that raises nothing."""
    reader = log.reader
    replaced = os.open(os.devnull, os.O_RDONLY)
    os.dup2(replaced, reader)
    os.close(replaced)
    for _ in range(3):
        log.lines.warning("lost")
    assert log.lines._lost == 3
    assert log.lost == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_no_error() -> None:
    """A log that can't grow raises nothing, and what is missing is reported once it can again."""
    lost = list[int]()
    with open("/dev/full", "w", encoding="utf-8") as stream:  # noqa: PTH123 -- its descriptor
        lines = LogLines(stream, lost.append)
        lines.info("one")
        lines.info("two")
        assert lost == []
        room = os.open(os.devnull, os.O_WRONLY)
        os.dup2(room, stream.fileno())
        os.close(room)
        lines.info("three")
    assert lost == [2]


def test_a_stream_without_a_descriptor(capsys: pytest.CaptureFixture[str]) -> None:
    """It is written to as it is."""
    import sys  # noqa: PLC0415 -- while it is captured

    LogLines(sys.stderr, lambda _: None).info("ready")
    assert capsys.readouterr().err == "ready\n"
