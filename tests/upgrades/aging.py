"""A store in a folder that grows old at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from holdfast.service.backends import STORE_FOLDER

DAY: Final = 24 * 3600.0


def grow_old(data_dir: Path, days: float) -> None:
    """Makes all that is stored in a data folder so many days older, what programs noted too."""
    for path in (data_dir / STORE_FOLDER / "objects").rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime - days * DAY
            os.utime(path, (then, then))


def objects(data_dir: Path, prefix: str = "") -> dict[str, bytes]:
    """The files of a store's objects, by key."""
    top = data_dir / STORE_FOLDER / "objects"
    return {
        str(path.relative_to(top)): path.read_bytes()
        for path in (top / prefix).rglob("*")
        if path.is_file()
    }
