"""`python -m bench [PART …]`: runs the measurements, all of them by default."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench import large_blob

OUT = Path(__file__).parent / "out"


def main() -> int:
    """Runs what was asked for; 1 if a limit was passed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    large = parts.add_parser("large-blob", help="one blob of many GiB through one frontend")
    large.add_argument("--gib", type=float, default=20.0, help="size of the blob")
    large.add_argument("--folder", type=Path, default=None, help="where the store goes")
    chosen = parser.parse_args()
    result = large_blob.run(chosen.gib, chosen.folder)
    OUT.mkdir(exist_ok=True)
    (OUT / f"{chosen.part}.json").write_text(json.dumps(result.as_dict(), indent=2) + "\n")
    print(result.text())
    return 0 if result.within_limits else 1


if __name__ == "__main__":
    sys.exit(main())
