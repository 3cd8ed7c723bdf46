"""A mutation: one place of one file, as it is and as it is broken; and the lists of them.

A list is a TOML file. Each `[[file]]` of it names a file, the tests that are to notice, and
the mutations: pairs of a text that stands in the file once, and what it becomes. In
`explained.toml` each has a third part: why nothing can notice it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
EXPLAINED = FOLDER / "explained.toml"


@dataclass(frozen=True, slots=True)
class Mutation:
    """One place broken.

    Attributes:
        path: of the file, from the project's root.
        was: the text as it is, which stands in the file once.
        becomes: the text in its place.
        tests: what pytest is to run.
        why: it can't be noticed; "" where it must be.
    """

    path: str
    was: str
    becomes: str
    tests: tuple[str, ...]
    why: str = ""

    @property
    def name(self) -> str:
        """For people: the file, and the lines."""
        was, becomes = (" ".join(text.split()) for text in (self.was, self.becomes))
        return f"{self.path}: {was} => {becomes or 'nothing'}"

    def applied(self, text: str) -> str:
        """The file's text, broken.

        Raises:
            ValueError: the place isn't there any more, or isn't the only one.
        """
        found = text.count(self.was)
        if found != 1:
            raise ValueError(
                f"{self.path} has {found} places that read {self.was!r}; a mutation needs just "
                "one: mend its list in tests/mutations"
            )
        return text.replace(self.was, self.becomes)


def read(path: Path) -> list[Mutation]:
    """The mutations of a list."""
    listed = tomllib.loads(path.read_text("utf-8"))
    return [
        Mutation(file["path"], was, becomes, tuple(file["tests"]), *why)
        for file in listed["file"]
        for was, becomes, *why in file["mutations"]
    ]


def lists() -> dict[str, Sequence[Mutation]]:
    """All lists of what must be noticed, under their names."""
    return {path.stem: read(path) for path in sorted((FOLDER / "lists").glob("*.toml"))}


def explained() -> Sequence[Mutation]:
    """What nothing can notice, each with its reason."""
    return read(EXPLAINED)
