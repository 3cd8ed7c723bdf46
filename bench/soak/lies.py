"""Lies that collectors are told: one at a time, and with honest runs between two of them.

The guarantee is for single failures: what one run was made to believe, the next honest one takes
back, and two runs in a row that are both lied to may delete. So a lie begins only when each
collector has done a whole run since the last lie ended, whoever was told it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ENOUGH: Final = 2
"""Runs that end well after a lie: the first may have begun while it lasted, the second didn't."""


def done_well(log: Path, since: int) -> int:
    """How many runs in which all was done a log reports from an offset, in bytes, on."""
    with log.open("rb") as lines:
        lines.seek(since)
        return sum(_ok(line) for line in lines)


def _ok(line: bytes) -> bool:
    try:
        said = json.loads(line)
    except ValueError:
        return False  # a traceback, or the rest of a line that was begun before
    # The log of a run says so too; only its report counts.
    return isinstance(said, dict) and said.get("ok") is True and "event" not in said


class Lies:
    """Says when a lie may begin. Safe for many threads.

    A run that failed doesn't count: it may have stopped before it took anything back.
    """

    def __init__(self, logs: Iterable[Path]) -> None:
        """No lie was told yet.

        Args:
            logs: of all collectors; each run adds a line of JSON.
        """
        self._lock = threading.Lock()
        self._told = False
        self._ends = dict.fromkeys(logs, 0)
        self._digested = True

    def begin(self) -> bool:
        """Whether a lie may begin now; if so, no other may until it has ended and is digested."""
        with self._lock:
            if self._told:
                return False
            self._digested = self._digested or all(
                done_well(log, end) >= ENOUGH for log, end in self._ends.items()
            )
            self._told = self._digested
            return self._told

    def end(self) -> None:
        """The lie that had begun is over."""
        with self._lock:
            self._told = self._digested = False
            self._ends = {log: log.stat().st_size for log in self._ends}
