"""All pairs, or those that are asked for; what is measured is kept after each."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.compare import (
    encrypted,
    fairness,
    reading,
    scaling,
    through_agent,
    traced,
    transports,
    writing,
)
from bench.compare.pairs import Measured
from bench.compare.peers import Peers
from bench.compare.report import Begun, Pair, Report

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
    "fairness": fairness.fairness,
    "transports": transports.transports,
    "tls": encrypted.encrypted,
    "agent": through_agent.through_agent,
    "traces": traced.traced,
    "two-frontends": scaling.two_frontends,
}


def run(
    names: Sequence[str], rounds: int, folder: Path | None, out: Path, *, add: bool = False
) -> Report:
    """Measures pairs, each with programs of its own, and saves the report after each.

    Args:
        names: of the pairs; by default all, or, with `add`, those that the report lacks.
        rounds: counted runs of each.
        folder: where the programs keep their data; by default in the system's.
        out: where the report is.
        add: keep what the report there has of other pairs.
    """
    report = Report.load(out) if add else Report()
    begun = Begun(_now(), rounds, _revision(), _machine())
    for name in names or [name for name in PAIRS if name not in report.pairs]:
        root = Path(tempfile.mkdtemp(prefix="hf-bench-", dir=folder))
        try:
            with Peers(root) as peers:
                rows = tuple(PAIRS[name](peers, rounds))
        finally:
            shutil.rmtree(root, ignore_errors=True)
        pairs = {**report.pairs, name: Pair(begun, rows)}
        report = Report({each: pairs[each] for each in PAIRS if each in pairs})
        report.save(out)
        for row in rows:
            target = row.target
            line = f"{target.name}: {target.ours} beside {target.peer}: {row.ratio:.2f}x\n"
            sys.stderr.write(line)
    return report


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _revision() -> str:
    """Of the tree, with a mark where something in it was changed."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
