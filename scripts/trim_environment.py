"""Leaves in a virtual environment only what a frontend runs: for images and for bundles.

    python3 trim_environment.py ENVIRONMENT [--layer-of ENVIRONMENT]

It needs nothing but Python, since it runs where the image's packages are installed.
"""

from __future__ import annotations

import argparse
import compileall
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

SERVICES: Final = frozenset({"s3", "sso", "sso-oidc", "signin", "sts"})
"""What botocore must know: S3, and where credentials come from. It knows some 400."""
SOURCES: Final = ("*.pyi", "*.pyx", "*.pxd", "*.pxi", "*.c", "*.cpp", "*.h", "*.hpp")
"""What compilers and type checkers read."""
PROGRAM: Final = "holdfast"


def main() -> None:
    """Trims and compiles an environment."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("environment", type=Path)
    parser.add_argument(
        "--layer-of",
        type=Path,
        help="where that environment's files come to lie, over another environment's",
    )
    chosen = parser.parse_args()
    environment = chosen.environment.absolute()
    [packages] = environment.glob("lib/python3*/site-packages")
    trim_programs(environment / "bin")
    trim_packages(packages)
    if chosen.layer_of:
        become_layer(environment, chosen.layer_of)
    compile_packages(packages, environment, chosen.layer_of or environment)


def trim_programs(folder: Path) -> None:
    """Leaves Python and Holdfast; activating is for shells, and the image has none."""
    for path in folder.iterdir():
        if path.name != PROGRAM and not path.name.startswith("python"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def trim_packages(packages: Path) -> None:
    """Removes what is never imported: sources, tests, descriptions of services, debug symbols."""
    trim_services(packages)
    shutil.rmtree(packages / "greenlet" / "tests", ignore_errors=True)
    for pattern in SOURCES:
        for path in packages.rglob(pattern):
            path.unlink()
    if libraries := [str(path) for path in packages.rglob("*.so*") if path.is_file()]:
        subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)  # noqa: S603, S607


def trim_services(packages: Path) -> None:
    """Removes what boto knows of services that nothing here asks."""
    for data in (packages / "botocore" / "data", packages / "boto3" / "data"):
        for service in data.glob("*/"):
            if service.is_dir() and service.name not in SERVICES:
                shutil.rmtree(service)


def become_layer(environment: Path, place: Path) -> None:
    """Leaves only what the environment at `place` lacks, and names that one as the program's."""
    program = environment / "bin" / PROGRAM
    text = program.read_text("utf-8")
    program.write_text(text.replace(f"#!{environment}/", f"#!{place}/", 1), "utf-8")
    for path in (environment / "bin").glob("python*"):
        path.unlink()
    for path in environment.iterdir():
        if path.name not in {"bin", "lib"}:
            path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
    # Where the wheel lay while it was built.
    for path in environment.rglob("direct_url.json"):
        path.unlink()


def compile_packages(packages: Path, environment: Path, place: Path) -> None:
    """Compiles all modules, for a file system that can't be written to.

    Hashes that nobody checks stand in for times: the same sources make the same bytes.
    """
    whole = compileall.compile_dir(
        packages,
        quiet=1,
        stripdir=str(environment),
        prependdir=str(place),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    if not whole:
        sys.exit("not all modules could be compiled")


if __name__ == "__main__":
    main()
