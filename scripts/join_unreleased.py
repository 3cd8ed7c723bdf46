"""Moves what a changelog has under Unreleased into the section of the release above it.

    python3 scripts/join_unreleased.py CHANGELOG.md

towncrier makes a section of the fragments. What was written under Unreleased before there were
fragments belongs to the same release: `make changelog` joins the two, kind by kind.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

SECTION: Final = re.compile(r"^(?=## \[)", re.MULTILINE)
KIND: Final = re.compile(r"^### (.+)\n+", re.MULTILINE)
UNRELEASED: Final = "## [Unreleased]"


def main() -> None:
    """Changes the file that is named."""
    path = Path(sys.argv[1])
    path.write_text(joined(path.read_text("utf-8")), "utf-8")


def joined(text: str) -> str:
    """The changelog without a section for what is unreleased; without one, it is unchanged.

    Raises:
        ValueError: there is no release above it that it could join.
    """
    head, *sections = SECTION.split(text)
    at = next((n for n, it in enumerate(sections) if it.startswith(UNRELEASED)), None)
    if at is None:
        return text
    if at == 0:
        raise ValueError("the changelog has no section of a release above Unreleased")
    title, release = parted(sections[at - 1])
    _, earlier = parted(sections[at])
    kinds = [*release, *(kind for kind in earlier if kind not in release)]
    bodies = [
        f"### {kind}\n" + "\n".join(it[kind] for it in (earlier, release) if kind in it)
        for kind in kinds
    ]
    sections[at - 1 : at + 1] = [title + "\n\n" + "\n".join(bodies) + "\n"]
    return (head + "".join(sections)).rstrip("\n") + "\n"


def parted(section: str) -> tuple[str, dict[str, str]]:
    """A section's title, and its text by kinds; what stands before the first kind is dropped."""
    before, *rest = KIND.split(section)
    bodies = {
        kind: body.strip("\n") + "\n" for kind, body in zip(rest[::2], rest[1::2], strict=True)
    }
    return before.partition("\n")[0], bodies


if __name__ == "__main__":
    main()
