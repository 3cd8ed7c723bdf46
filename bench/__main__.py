"""`python -m bench [PART …]`: runs the measurements, all of them by default."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path
from typing import Any, Protocol

from bench import large_blob
from bench.soak import run

OUT = Path(__file__).parent / "out"


class Result(Protocol):
    """What a part found."""

    @property
    def within_limits(self) -> bool:
        """Whether it is good."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ...

    def text(self) -> str:
        """For people."""
        ...


def main() -> int:
    """Runs what was asked for; 1 if a limit was passed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    large = parts.add_parser("large-blob", help="one blob of many GiB through one frontend")
    large.add_argument("--gib", type=float, default=20.0, help="size of the blob")
    large.add_argument("--folder", type=Path, default=None, help="where the store goes")
    soak = parts.add_parser("soak", help="a fleet under load and faults; nothing may be lost")
    soak.add_argument("--minutes", type=float, default=60.0, help="of load and faults")
    soak.add_argument("--seed", type=int, default=None, help="by default one that is printed")
    soak.add_argument("--backend", choices=("folder", "minio"), default="folder")
    soak.add_argument("--folder", type=Path, default=None, help="where everything goes")
    chosen = parser.parse_args()
    result: Result
    if chosen.part == "soak":
        seed = secrets.randbelow(10**6) if chosen.seed is None else chosen.seed
        result = run.run(chosen.minutes, seed, chosen.backend, chosen.folder)
    else:
        result = large_blob.run(chosen.gib, chosen.folder)
    OUT.mkdir(exist_ok=True)
    (OUT / f"{chosen.part}.json").write_text(json.dumps(result.as_dict(), indent=2) + "\n")
    print(result.text())
    return 0 if result.within_limits else 1


if __name__ == "__main__":
    sys.exit(main())
