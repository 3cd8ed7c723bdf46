"""What `import holdfast` gives."""

from __future__ import annotations

import ast
import importlib
import inspect
import pydoc
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import holdfast
from holdfast import errors

TYPED = Path(__file__).parent.parent / "typing" / "api.py"


@pytest.mark.parametrize("name", holdfast.__all__)
def test_every_name_is_there(name: str) -> None:
    """What is promised can be had, and `dir` shows it."""
    assert getattr(holdfast, name)
    assert name in dir(holdfast)


def test_every_error_and_client_name_is_at_the_top_level() -> None:
    """Nobody has to know in which module an error, a value or an option is."""
    tree = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.HoldfastError)
    }
    client = importlib.import_module("holdfast.client")
    assert tree | set(client.__all__) <= set(holdfast.__all__)


def test_every_name_has_its_types_checked() -> None:
    """The type checker is shown how each public name is used, and none that isn't there."""
    tree = ast.parse(TYPED.read_text("utf-8"))
    [used] = [
        {alias.name for alias in node.names}
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "holdfast"
    ]
    assert used == set(holdfast.__all__)


def test_the_version_is_the_distributions() -> None:
    """`__version__` is what is installed."""
    assert holdfast.__version__ == version("holdfast")


def test_help_shows_the_client() -> None:
    """`help(holdfast)` has ContentStore and what it does."""
    assert "class ContentStore" in pydoc.plain(pydoc.render_doc(holdfast))


def test_the_client_is_loaded_when_it_is_asked_for() -> None:
    """A frontend, which needs values and errors, doesn't load the client."""
    code = "import sys, holdfast; assert 'holdfast.client' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    """A misspelt name fails at run time and before, in a type checker."""
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = holdfast.nonsense  # type: ignore[attr-defined]
    code = tmp_path / "code.py"
    code.write_text("import holdfast\nholdfast.ContentStore\nholdfast.nonsense\n")
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent"]
    command += ["--cache-dir", str(tmp_path), str(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if "error" in line and "code.py" in line]
    assert len(found) == 1
    assert 'no attribute "nonsense"' in found[0]
