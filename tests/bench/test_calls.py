"""Counting what an RPC runs through: calls, files, and changes of file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.calls import recorder
from bench.calls.run import Calls


def test_what_is_counted() -> None:
    """Calls and files are those of all threads; a change of file is one within a thread."""
    counted = Calls.of([["a.py:f", "a.py:g", "b.py:h"], ["b.py:h", "b.py:h"]])
    assert (counted.calls, counted.files, counted.changes) == (5, 2, 1)
    assert counted.most[0] == ("b.py:h", 3)


def test_only_the_project_is_counted(tmp_path: Path) -> None:
    """The recorder counts the functions of the tree that it runs, between its two signals."""
    package = tmp_path / "holdfast"
    package.mkdir()
    (package / "inner.py").write_text("def called():\n    pass\n")
    (package / "content_pb2.py").write_text("def generated():\n    pass\n")
    (package / "__init__.py").write_text("")
    (package / "cli.py").write_text(
        "import json, os, signal\n"
        "from holdfast import content_pb2, inner\n"
        "def main():\n"
        "    inner.called()\n"
        "    os.kill(os.getpid(), signal.SIGRTMIN)\n"
        "    inner.called(), content_pb2.generated(), json.dumps([])\n"
        "    os.kill(os.getpid(), signal.SIGRTMIN + 1)\n"
    )
    out = tmp_path / "out"
    command = [sys.executable, recorder.__file__, str(tmp_path), str(out), "serve"]
    subprocess.run(command, check=True, timeout=60)
    [thread] = [json.loads(line) for line in out.read_text().splitlines()]
    assert thread == ["holdfast/inner.py:called"]
