"""The files that belong to the project, committed or about to be."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MADE = {".venv", "build", "dist", "__pycache__", ".git", ".hypothesis"}
"""Folders whose contents are made on the spot."""


def files() -> list[Path]:
    """All files but those that git ignores; without git, all but what is made on the spot."""
    if shutil.which("git") and (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
        found = [ROOT / name for name in listed.decode().split("\0") if name]
    else:
        found = [path for path in ROOT.rglob("*") if not MADE & set(path.relative_to(ROOT).parts)]
    return [path for path in found if path.is_file()]


def links() -> list[Path]:
    """The folders of the repository that are packages of `holdfast`, as it links to them."""
    return [path for path in (ROOT / "holdfast").iterdir() if path.is_symlink()]


def check_out(folder: Path) -> None:
    """Copies the project into a folder: its files and links, and nothing that was made."""
    for path in files():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    for link in links():
        (folder / link.relative_to(ROOT)).symlink_to(link.readlink())


def version() -> str:
    """The version that pyproject.toml states."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return str(project["project"]["version"])


def required_text(name: str) -> str:
    """A project file's text; fails the test where it is missing."""
    path = ROOT / name
    if not path.is_file():
        pytest.fail(f"{name} is missing")
    return path.read_text("utf-8")
