"""What a page shows: commands, and what they print."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from holdfast.digests import Digest

PROMPT: Final = "$ "
_SHORT: Final = re.compile(r"\b[0-9a-f]{12}\b")
_VARIES: Final = re.compile(
    r"(?P<digest>sha256:(?P<hex>[0-9a-f]{12})…[0-9a-f]+)"
    r"|(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?)"
    r"|(?P<age>Less than a second)"
    r"|(?P<object>data/[0-9a-f]+…[0-9a-f]+)"
    r"|(?P<owner>frontend-\d/\d+)"
    r"|(?P<left>expires in \d+ s)"
    r"|(?P<speed>[\d.]+ s \([\d.]+ MiB/s\))"
    r"|(?P<space>\s+)"
)
_PATTERNS: Final = {
    "digest": r"sha256:[0-9a-f]{64}",
    "time": r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?",
    "age": r"(?:Less than a second|\d+ seconds?)",
    "object": r"data/[0-9a-f-]{36}",
    "owner": r"[^\s/]+/\d+",
    "left": r"expires in \d+ s",
    "speed": r"[\d.]+ s \([\d.]+ [KM]iB/s\)",
    "space": r"\s+",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and the lines that it is shown to print; None where a page doesn't show them."""

    command: str
    printed: tuple[str, ...] | None = None


def console(block: str) -> Iterator[Step]:
    """The steps of a block in which commands have a prompt, and what they print has none."""
    for part in re.split(rf"^{re.escape(PROMPT)}", block, flags=re.MULTILINE)[1:]:
        command, *printed = part.strip().splitlines()
        yield Step(command, tuple(printed))


def script(block: str) -> Iterator[Step]:
    """The steps of a block of commands alone; one may take several lines."""
    command = ""
    for line in block.splitlines():
        command += f"{line}\n"
        whole = subprocess.run(["bash", "-n", "-c", command], check=False, capture_output=True)
        # bash is content with a document that doesn't end, but for a warning, and with a backslash
        # that nothing follows.
        if whole.returncode == 0 and not whole.stderr and not line.endswith("\\"):
            if command.strip():
                yield Step(command.strip())
            command = ""
    assert not command, f"no command: {command}"


def with_digests(command: str, real: Mapping[str, Digest]) -> str:
    """A command with the beginnings of digests on the page replaced by those of real ones."""
    return _SHORT.sub(
        lambda found: real[found[0]].hex[:12] if found[0] in real else found[0], command
    )


def matches(shown: str, printed: str, real: Mapping[str, Digest]) -> bool:
    """Whether a line was printed as it is shown.

    Digests are shortened on pages, and the widths of columns with them. A digest is the one
    that the page says it is, if that is known; times and speeds are any times and speeds.
    """

    def pattern(found: re.Match[str]) -> str:
        if found["hex"] in real:
            return re.escape(str(real[found["hex"]]))
        return _PATTERNS[str(found.lastgroup)]

    parts, at = [], 0
    for found in _VARIES.finditer(shown.strip()):
        parts += [re.escape(shown.strip()[at : found.start()]), pattern(found)]
        at = found.end()
    parts.append(re.escape(shown.strip()[at:]))
    return re.fullmatch("".join(parts), printed.strip()) is not None
