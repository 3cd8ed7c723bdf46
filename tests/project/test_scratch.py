"""Tests keep stores in memory, if there is enough of it, and nobody has chosen another folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import scratch


@pytest.mark.parametrize(
    ("environment", "folder", "enough", "chosen"),
    [
        ({}, "", 1, True),
        ({}, "", 2**60, False),
        ({}, "missing", 1, False),
        ({"TMPDIR": "/somewhere"}, "", 1, False),
    ],
    ids=["there is enough", "there is too little", "there is none", "somebody has chosen"],
)
def test_memory_is_chosen(
    tmp_path: Path, environment: dict[str, str], folder: str, enough: int, chosen: bool
) -> None:
    """A folder in memory is chosen if it has enough room, and nobody has chosen another one."""
    memory = tmp_path / folder
    assert scratch.choose(environment, memory, enough) == (str(memory) if chosen else "")
