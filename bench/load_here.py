"""ghz against a frontend, a Redis and a MinIO on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import load
from bench.compare.peers import Peers


def run(names: Sequence[str], address: str, tenant: str, seconds: float) -> load.Result:
    """Runs profiles against `address`, or against a frontend of its own if that is empty."""
    if address:
        return load.run(names, address, tenant, seconds)
    with tempfile.TemporaryDirectory(prefix="hf-load-") as folder, Peers(Path(folder)) as peers:
        return load.run(names, peers.frontend().address, tenant, seconds)
