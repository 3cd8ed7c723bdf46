"""All pairs, or those that are asked for, in one run."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.compare import reading, writing
from bench.compare.pairs import Measured
from bench.compare.peers import Peers
from bench.compare.report import Report

PAIRS: Mapping[str, Callable[[Peers, int], list[Measured]]] = {
    "write": writing.one_stream,
    "four-writes": writing.four_streams,
    "commit": writing.commits,
    "small-blobs": writing.small_blobs,
    "small-writes": writing.small_messages,
    "read": reading.sequential,
    "read-together": reading.together,
    "unpack": reading.unpacking,
    "info": reading.infos,
}


def run(names: Sequence[str], rounds: int, folder: Path | None) -> Report:
    """Measures the pairs of those names, each with programs of its own."""
    measured: list[Measured] = []
    for name in names or PAIRS:
        root = Path(tempfile.mkdtemp(prefix="hf-bench-", dir=folder))
        try:
            with Peers(root) as peers:
                found = PAIRS[name](peers, rounds)
        finally:
            shutil.rmtree(root)
        measured += found
        for one in found:
            sys.stderr.write(f"{one.target.name}, beside {one.target.peer}: {one.ratio:.2f}x\n")
    return Report(measured)
