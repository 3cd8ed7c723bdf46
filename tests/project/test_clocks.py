"""Which clock is used where."""

from __future__ import annotations

from typing import Final

from tests.project.repository import ROOT

PACKAGES: Final = ("coordination", "holdfast", "service", "storage", "transport")
STANDS_STILL: Final = ("time.monotonic", "CLOCK_MONOTONIC")
ONLY_PAUSES: Final = {
    "coordination/embedded.py": "how long a program may take to start or stop",
    "holdfast/cli/checking.py": "how long a step of a check took",
    "holdfast/cli/demo.py": "how long a part of the demo took",
    "holdfast/cli/demo_stage.py": "how long a program may take to start",
    "holdfast/client/frontends.py": "how long calls are tried again",
    "holdfast/client/protocol.py": "how long calls are tried again",
    "holdfast/client/store.py": "how long calls are tried again",
    "holdfast/clocks.py": "where there is no better one",
    "holdfast/node/rollout/ports.py": "how long a rollout waits for a program of the host",
    "service/reading/block_cache.py": "how fast readers move",
    "service/reading/disk_cache.py": "how long a failing disk is left alone",
    "service/scrub/run.py": "how fast it reads, and how often it saves",
}
"""Where a suspended machine makes no difference but a longer pause, and of what."""


def test_ages_and_deadlines_count_a_suspend() -> None:
    """A clock that stands still while a machine sleeps is used for pauses and rates only."""
    found = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if any(name in path.read_text("utf-8") for name in STANDS_STILL)
    }
    assert found == ONLY_PAUSES.keys()
