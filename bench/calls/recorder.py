"""Runs a frontend, and counts the calls of the project's functions.

`python recorder.py TREE FILE COMMAND …` runs `holdfast COMMAND …` of the project in TREE. SIGRTMIN
begins to count; the signal after it writes what was counted to FILE, as JSON: a line for each
thread with the names of the files whose functions were called, in order. A coroutine that is
resumed counts as called, because that is what it costs.

It imports nothing of the project before it counts, so that it can run any version.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

OURS: Final = ("holdfast", "service", "storage", "coordination", "transport")
GENERATED: Final = "_pb2"


class Recorder:
    """What each thread called since counting began."""

    def __init__(self, tree: Path, out: Path) -> None:
        self._tree = tree
        self._out = out
        self._on = False
        self._called: dict[int, list[str]] = defaultdict(list)
        self._names: dict[CodeType, str] = {}

    def begin(self, *_: object) -> None:
        """Forgets what was counted, and counts."""
        self._called.clear()
        self._on = True

    def end(self, *_: object) -> None:
        """Writes what was counted."""
        self._on = False
        lines = [json.dumps(files) for files in self._called.values()]
        scratch = self._out.with_suffix(".new")
        scratch.write_text("\n".join(lines) + "\n", "utf-8")
        scratch.rename(self._out)

    def see(self, frame: FrameType, event: str, _: object) -> None:
        """The profile hook of each thread."""
        if not self._on or event != "call":
            return
        code = frame.f_code
        name = self._names.get(code)
        if name is None:
            name = self._names[code] = self._name(code)
        if name:
            self._called[threading.get_ident()].append(name)

    def _name(self, code: CodeType) -> str:
        """The file of a function and its name, or "" if the function isn't the project's."""
        path = Path(code.co_filename)
        try:
            inside = path.resolve().relative_to(self._tree)
        except ValueError:
            return ""
        if inside.parts[0] not in OURS or GENERATED in inside.name:
            return ""
        return f"{inside}:{code.co_qualname}"


def main() -> None:
    """Runs the command with the hook in place."""
    tree, out, *command = sys.argv[1:]
    root = Path(tree).resolve()
    recorder = Recorder(root, Path(out))
    signal.signal(signal.SIGRTMIN, recorder.begin)
    signal.signal(signal.SIGRTMIN + 1, recorder.end)
    threading.setprofile(recorder.see)
    sys.setprofile(recorder.see)
    sys.path.insert(0, str(root))
    sys.argv = ["holdfast", *command]
    from holdfast.cli import main as holdfast  # noqa: PLC0415 -- that of the tree

    holdfast()


if __name__ == "__main__":
    main()
