"""Makes a folder that holds Holdfast and all it needs, Python too: `make bundle`.

For machines that serve their own containerd: the program there must need neither an image
nor a Python. PyInstaller does the work; what is chosen here is what goes in.
"""

from __future__ import annotations

import argparse
import re
import tarfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path
from platform import machine
from typing import Final

import PyInstaller.__main__

from holdfast.service.commands.serve import serve  # noqa: F401 -- fails early where the environment isn't whole
from scripts.trim_environment import trim_services

ROOT: Final = Path(__file__).parent.parent
NAME: Final = "holdfast"
OWN: Final = ("holdfast",)


def main() -> None:
    """Makes the bundle, and an archive of it if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the folder 'holdfast' is made")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bundle")
    parser.add_argument("--archive", action="store_true", help="make a .tar.gz beside it")
    chosen = parser.parse_args()
    made = make(chosen.folder, chosen.work)
    if chosen.archive:
        archive(made)


def make(folder: Path, work: Path) -> Path:
    """Makes the bundle in `folder`; returns where the program stands."""
    PyInstaller.__main__.run(
        [
            *("--noconfirm", "--onedir", "--strip", "--log-level", "WARN", "--name", NAME),
            *(
                "--paths",
                str(ROOT),
                "--distpath",
                str(folder),
                "--workpath",
                str(work),
                "--specpath",
                str(work),
            ),
            # The commands that join by entry points are found by the metadata.
            *("--copy-metadata", NAME),
            *(f"--collect-submodules={package}" for package in OWN),
            *(f"--collect-data={package}" for package in OWN),
            *(f"--exclude-module={name}" for name in sorted(foreign_modules())),
            str(ROOT / "scripts" / "bundle_entry.py"),
        ]
    )
    made = folder / NAME
    trim_services(made / "_internal")
    return made


def foreign_modules() -> Iterator[str]:
    """Modules of this environment that a frontend doesn't need: tests, types, generators.

    PyInstaller takes along whatever a library could make use of and finds.
    """
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    locked = {_plain(re.split(r"\[|==", line)[0]) for line in lines if "==" in line}
    for module, distributions in packages_distributions().items():
        if not {_plain(name) for name in distributions} & (locked | {NAME}):
            yield module


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def archive(made: Path) -> Path:
    """Packs the bundle beside itself, for tar -C /opt; returns the archive."""
    path = made.with_name(f"{NAME}-{version(NAME)}-linux-{machine()}.tar.gz")
    with tarfile.open(path, "w:gz", compresslevel=6) as packed:
        packed.add(made, NAME)
    return path


if __name__ == "__main__":
    main()
