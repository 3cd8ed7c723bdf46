"""What is built and installed has one name, and each kind of installation has what it needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

from holdfast.client import ContentStore
from tests.project.repository import ROOT, check_out, files
from tests.servers.process import free_port, listens, started

FOREIGN: Final = ("service", "storage", "coordination", "protos", "tests", "bench", "transport")
"""Modules that an application may well have of its own."""
SERVERS: Final = {
    "boto3",
    "redis",
    "pydantic-settings",
    "prometheus-client",
    "uvloop",
    "structlog",
    "hpack",
}
OURS: Final = ("holdfast", "service", "storage", "coordination", "protos", "transport")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout: what is built mustn't see what lies about here."""
    copy = tmp_path_factory.mktemp("tree")
    check_out(copy)
    return copy


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of the checkout, unpacked."""
    out = tmp_path_factory.mktemp("sdist")
    _build("sdist", tree, out)
    [archive] = out.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(out, filter="data")
    [folder] = (path for path in out.iterdir() if path.is_dir())
    return folder


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made of the source distribution as an installation does."""
    out = tmp_path_factory.mktemp("wheel")
    _build("wheel", sdist, out)
    [made] = out.glob("*.whl")
    return made


def _build(kind: str, folder: Path, out: Path) -> None:
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content."""
    folder = tmp_path_factory.mktemp("site")
    shutil.unpack_archive(wheel, folder, "zip")
    return folder


def test_one_name(installed: Path) -> None:
    """An installation adds one module to an environment: `holdfast`."""
    names = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert names == {"holdfast"}


def test_all_of_it(installed: Path) -> None:
    """Whatever the repository's packages have is installed: code, types, scripts, the contract."""
    wanted = set()
    for path in files():
        top, *rest = path.relative_to(ROOT).parts
        if top in OURS and path.suffix in {".py", ".pyi", ".lua", ".proto", ".typed"}:
            wanted.add("/".join(rest if top == "holdfast" else (top, *rest)))
    found = {
        str(path.relative_to(installed / "holdfast"))
        for path in (installed / "holdfast").rglob("*")
    }
    assert wanted - found == set()


def needed(wheel: Path, extra: str = "") -> dict[str, Distribution]:
    """The distributions that pip would install with the wheel, by name."""
    with zipfile.ZipFile(wheel) as packed:
        [name] = (name for name in packed.namelist() if name.endswith("/METADATA"))
        metadata = HeaderParser().parsestr(packed.read(name).decode())
    found: dict[str, Distribution] = {}
    waiting = [(Requirement(line), extra) for line in metadata.get_all("Requires-Dist") or ()]
    while waiting:
        requirement, wanted = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": wanted}):
            continue
        known = requirement.name.lower()
        if known not in found:
            found[known] = distribution(known)
        for one in {"", *requirement.extras}:
            for line in found[known].requires or ():
                below = Requirement(line)
                if below.name.lower() not in found:
                    waiting.append((below, one))
    return found


def environment(folder: Path, installed: Path, distributions: dict[str, Distribution]) -> Path:
    """An environment with the wheel and these distributions, and nothing else."""
    folder.mkdir()
    for path in installed.iterdir():
        (folder / path.name).symlink_to(path)
    for one in distributions.values():
        for top in {Path(str(file)).parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(one.locate_file(top))).resolve())
    return folder


def python(site: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python with the packages of one folder only."""
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_client_alone(wheel: Path, installed: Path, tmp_path: Path) -> None:
    """`pip install holdfast` is the client and its commands: no package that only servers need."""
    alone = needed(wheel)
    assert alone.keys() & SERVERS == set()
    site = environment(tmp_path / "site", installed, alone)
    names = "import holdfast; [getattr(holdfast, name) for name in holdfast.__all__]"
    done = python(site, "-c", names, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    helped = python(site, "-m", "holdfast.cli", "--help", cwd=tmp_path)
    assert "push" in helped.stdout
    assert not re.search(r"\bserve\b", helped.stdout)  # --server-name has the word, too
    refused = python(site, "-m", "holdfast.cli", "serve", cwd=tmp_path)
    assert refused.returncode == 1
    assert "pip install 'holdfast[server]'" in refused.stderr


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """An application whose modules are named as the repository's folders are."""
    folder = tmp_path / "application"
    folder.mkdir()
    for name in FOREIGN:
        (folder / f"{name}.py").write_text(f"OWN = {name!r}\n")
    names = ", ".join(FOREIGN)
    (folder / "app.py").write_text(
        f"import {names}\n"
        "import sys\n"
        "from holdfast import ContentStore\n"
        f"assert [module.OWN for module in ({names})] == {list(FOREIGN)!r}\n"
        "with ContentStore(sys.argv[1], tenant='app') as store:\n"
        "    print(store.get(store.put(b'bytes').digest).decode())\n"
    )
    return folder


@pytest.fixture
def served(
    wheel: Path, installed: Path, application: Path, tmp_path: Path
) -> Iterator[tuple[Path, str]]:
    """`holdfast[server]` beside the application, serving; the environment and the address."""
    site = environment(tmp_path / "site", installed, needed(wheel, "server"))
    port = free_port()
    settings = {
        "PYTHONPATH": str(site),
        "HOLDFAST_DATA_DIR": str(tmp_path / "data"),
        "HOLDFAST_LISTEN": f"tcp://127.0.0.1:{port}?tenant-header=x-holdfast-tenant",
    }
    code = f"import os, sys; os.chdir({str(application)!r}); sys.path.insert(0, '')\n"
    code += "from holdfast.cli import main; sys.argv = ['holdfast', 'serve']; main()"
    with started(
        [sys.executable, "-S", "-c", code],
        tmp_path / "log",
        lambda: listens(port),
        {**os.environ, **settings},
    ):
        yield site, f"127.0.0.1:{port}"


def test_beside_an_application(served: tuple[Path, str], application: Path) -> None:
    """An application with modules of its own of our folders' names runs, and so does Holdfast."""
    site, address = served
    done = python(site, "app.py", address, cwd=application)
    assert done.stdout.strip() == "bytes", done.stderr
    with ContentStore(address, tenant="other") as store:
        assert store.put(b"more").size == 4
