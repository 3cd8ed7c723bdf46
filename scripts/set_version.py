"""States a version wherever the project states one: `make version VERSION=0.2.0`.

pyproject.toml is the place that counts. What can't read it repeats it: the chart, and the label of
the image. A test holds them together.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PLACES: Final = {
    "pyproject.toml": r'^version = "(.+)"$',
    "helm/holdfast/Chart.yaml": r'^(?:version: |appVersion: ")([0-9.]+)"?$',
    "Dockerfile": r"^ARG VERSION=(.+)$",
}
"""Files, and the lines in them that state the version, which is the pattern's group."""
VERSION: Final = re.compile(r"\d+\.\d+\.\d+")
"""What Python's packages and Helm's charts spell alike: candidates they don't."""


def main() -> None:
    """Writes the version that is given into each of the places."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    if not VERSION.fullmatch(wanted):
        sys.exit("say which: make version VERSION=0.2.0")
    for name, pattern in PLACES.items():
        path = ROOT / name
        path.write_text(stated(path.read_text("utf-8"), pattern, wanted), "utf-8")
    print(f"{', '.join(PLACES)} state {wanted}; run `make venv` for `holdfast --version`")  # noqa: T201


def stated(text: str, pattern: str, wanted: str) -> str:
    """A file's text, with another version where the pattern finds one."""

    def replaced(line: re.Match[str]) -> str:
        start, end = (place - line.start() for place in line.span(1))
        return line[0][:start] + wanted + line[0][end:]

    return re.sub(pattern, replaced, text, flags=re.MULTILINE)


def found(root: Path = ROOT) -> dict[str, list[str]]:
    """Which versions each of the places states."""
    return {
        name: re.findall(pattern, (root / name).read_text("utf-8"), re.MULTILINE)
        for name, pattern in PLACES.items()
    }


if __name__ == "__main__":
    main()
