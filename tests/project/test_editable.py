"""An editable install, as whoever works on Holdfast has it: type checkers see through it."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.project.repository import ROOT

HOOK = "import sys; from setuptools.build_meta import build_editable; build_editable(sys.argv[1])"
USE = """
import holdfast

def read(store: holdfast.ContentStore) -> None:
    reveal_type(store.info)
    store.nonsense
    holdfast.nonsense
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's tree: building in the tree itself would leave files in it."""
    project = tmp_path / "project"
    project.mkdir()
    for path in ROOT.iterdir():
        if path.suffix in {".toml", ".md"} or path.name == "LICENSE":
            (project / path.name).write_bytes(path.read_bytes())
        elif path.is_dir() and (path / "__init__.py").is_file():
            (project / path.name).symlink_to(path)
    return project


@pytest.fixture
def python(project: Path, tmp_path: Path) -> Path:
    """A Python into which the project is installed as `pip install -e` does, without its needs."""
    subprocess.run(
        [sys.executable, "-c", HOOK, str(tmp_path)], cwd=project, check=True, capture_output=True
    )
    [wheel] = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    [packages] = (tmp_path / "venv" / "lib").glob("python3.*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    return tmp_path / "venv" / "bin" / "python"


def test_types(python: Path, tmp_path: Path) -> None:
    """Who imports an editable install has its types, and mypy finds what isn't there."""
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "use.py").write_text(USE)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--python-executable", str(python)),
            *("--config-file=", "--cache-dir", str(tmp_path / "cache"), "use.py"),
        ],
        cwd=tmp_path / "user",
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout + done.stderr
    assert "py.typed" not in told, told
    assert "import-untyped" not in told, told
    assert 'Revealed type is "def (digest: ' in told, told
    assert '"ContentStore" has no attribute "nonsense"' in told, told
    assert 'Module has no attribute "nonsense"' in told, told
