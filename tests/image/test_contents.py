"""What is in the image, and what isn't."""

from __future__ import annotations

import csv
import hashlib
import os
import stat
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

import pytest
from packaging.utils import canonicalize_name

from tests.image.archive import Image
from tests.project.repository import ROOT, files, links, version

pytestmark = pytest.mark.image
ENVIRONMENT: Final = Path("opt/holdfast")
MADE: Final = {
    "etc/group",
    "etc/nsswitch.conf",
    "etc/passwd",
    "etc/ssl/certs/ca-certificates.crt",
    "opt/holdfast/pyvenv.cfg",
}
"""What belongs to no package: scripts/image-base and the Dockerfile make it."""
CONFIGURATION: Final = {"etc/ld.so.conf.d/x86_64-linux-gnu.conf", "etc/python3.11/sitecustomize.py"}
"""Files of packages that Debian gives no sum for, since people may change them."""
STATES: Final = Path("var/lib/dpkg/status.d")
MOST_COMPRESSED: Final = 64 * 2**20
"""Bytes that a node pulls at most; 48 MiB when this was written."""
UNCHECKED_HASH: Final = b"\x01\x00\x00\x00"


def regular(image: Image) -> Iterator[Path]:
    """All its files, as paths in it; links aren't."""
    for folder, _, names in os.walk(image.root):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(image.root)


def installed(image: Image) -> dict[str, Distribution]:
    """Its Python distributions, by name."""
    [packages] = (image.root / ENVIRONMENT).glob("lib/python3*/site-packages")
    return {found.name: found for found in distributions(path=[str(packages)])}


def from_debian(image: Image) -> dict[str, str]:
    """The files that its Debian packages list, and their MD5 sums."""
    lines = [
        line
        for path in (image.root / STATES).glob("*.md5sums")
        for line in path.read_text("utf-8").splitlines()
    ]
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def from_wheels(image: Image) -> set[str]:
    """The files that its Python distributions list."""
    found = set()
    for distribution in installed(image).values():
        base = Path(str(distribution.locate_file("")))
        for name, *_ in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
            found.add(os.path.relpath(os.path.normpath(base / name), image.root))
    return found


def test_it_is_built_of_this_source(image: Image) -> None:
    """Its modules are this tree's, none is missing and none is more."""
    [folder] = (image.root / ENVIRONMENT).glob("lib/python3*/site-packages/holdfast")
    theirs = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in {".py", ".lua", ".service"}
    }
    linked = {link.readlink().name for link in links()}
    ours = {}
    for path in files():
        if path.suffix in {".py", ".lua", ".service"}:
            top, _, rest = path.relative_to(ROOT).as_posix().partition("/")
            if top == "holdfast" and rest:
                ours[rest] = path.read_bytes()
            elif top in linked:
                ours[f"{top}/{rest}"] = path.read_bytes()
    assert theirs == ours, "run `make image`"


def test_it_says_what_it_is(image: Image) -> None:
    """User, program, signal and labels are what registries and kubelets look for."""
    said = image.defaults
    assert image.name == "localhost/local/holdfast:test"
    assert said["User"] == "65532:65532"
    assert (said["Entrypoint"], said["Cmd"]) == (["holdfast"], ["serve"])
    assert said["StopSignal"] == "SIGTERM"
    prefix = "org.opencontainers.image."
    assert said["Labels"][f"{prefix}version"] == version()
    assert said["Labels"][f"{prefix}licenses"] == "Apache-2.0"
    assert {f"{prefix}title", f"{prefix}description", f"{prefix}revision"} <= set(said["Labels"])
    named = {line.partition("=")[0] for line in said["Env"]}
    assert named == {"PATH", "PYTHONDONTWRITEBYTECODE"}, "nothing of the build may be left"


def test_it_is_small(image: Image) -> None:
    """A node pulls few bytes, and after an upgrade of Holdfast alone only its own layer."""
    assert sum(image.sizes) < MOST_COMPRESSED
    assert image.sizes[-1] < sum(image.sizes) // 10


def test_each_file_belongs_to_something(image: Image) -> None:
    """Each file comes from a Debian package, byte by byte, or from a wheel, or is compiled."""
    debian, wheels = from_debian(image), from_wheels(image)
    known = wheels | MADE | CONFIGURATION
    unknown, changed = [], []
    for path in regular(image):
        name = str(path)
        if name in debian:
            digest = hashlib.md5((image.root / path).read_bytes(), usedforsecurity=False)
            if digest.hexdigest() != debian[name]:
                changed.append(name)
        elif name not in known and path.parent != STATES and path.suffix != ".pyc":
            unknown.append(name)
    assert unknown == changed == []


def test_all_modules_are_compiled(image: Image) -> None:
    """Nothing is compiled at the start: it couldn't be kept, and the times of files don't count."""
    wrong = []
    for path in regular(image):
        if path.suffix == ".py" and "site-packages/" in f"{path}":
            folder = image.root / path.parent / "__pycache__"
            compiled = [found.read_bytes() for found in folder.glob(f"{path.stem}.cpython-3*.pyc")]
            if [code[4:8] for code in compiled] != [UNCHECKED_HASH]:
                wrong.append(str(path))
    assert wrong == []


def test_nobody_can_change_it_or_rise(image: Image) -> None:
    """No file is writable to others, runs as its owner, or belongs to the program's own user."""
    wrong = []
    for folder, folders, names in os.walk(image.root):
        for name in [*folders, *names]:
            path = Path(folder, name)
            found = path.lstat()
            if path.is_symlink() or path.relative_to(image.root) == Path("tmp"):
                continue
            if found.st_mode & (stat.S_IWOTH | stat.S_ISUID | stat.S_ISGID):
                wrong.append(path)
            if found.st_uid != 0 and path.relative_to(image.root) != Path("home/nonroot"):
                wrong.append(path)
    assert wrong == []


def test_only_what_runs_is_installed(image: Image) -> None:
    """The lock's distributions and Holdfast are there: no installer, no compiler, no test."""
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pins = [line.split(" ")[0].split("==") for line in lines if "==" in line]
    locked = {canonicalize_name(name.partition("[")[0]): pin for name, pin in pins}
    normal = {canonicalize_name(name): it.version for name, it in installed(image).items()}
    # The lock is for all Pythons that Holdfast runs on; what others need isn't installed.
    assert set(normal) - set(locked) == {"holdfast"}
    assert {name: locked[name] for name in normal if name in locked} == {
        name: found for name, found in normal.items() if name != "holdfast"
    }
    programs = {path.name for path in (image.root / ENVIRONMENT / "bin").iterdir()}
    assert programs == {"holdfast", "python", "python3", "python3.11"}
