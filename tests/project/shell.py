"""A shell that commands of a page are given to, one after the other."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.project.repository import ROOT
from tests.servers.process import wait_until

END = "\x1e"
"""What stands before and after a command's exit code; no command prints it."""
LOOP = (
    f"""while IFS= read -r -d '' -u 3 line; do eval "$line" 3<&-; printf '{END}%d{END}' $?; done"""
)
PYTHON = f"PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)}"
PROGRAMS = {
    "python": f'{PYTHON} "$@"',
    "holdfast": f'{PYTHON} -m holdfast.cli "$@"',
    "kubectl": "echo node/node-7",  # of a cluster of one node
}
Seen = Callable[[str], bool]
"""Whether what a command has printed so far is enough."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended: what it printed on standard output, and what all did on error."""

    code: int
    printed: str
    said: str


class Shell:
    """A bash in a folder of its own; what it starts in the background ends with it."""

    def __init__(self, bash: subprocess.Popen[str], folder: Path, errors: Path) -> None:
        self.folder = folder
        self._bash = bash
        self._errors = errors

    def run(self, command: str) -> Done:
        """Runs a command to its end; one with `&` in the background."""
        bash = self._bash
        assert bash.stdin is not None
        assert bash.stdout is not None
        bash.stdin.write(f"{command}\0")
        bash.stdin.flush()
        printed, ends = "", 0
        while ends < 2:
            letter = bash.stdout.read(1)
            assert letter, f"the shell has ended in {command}: {self.said()}"
            ends += letter == END
            printed += letter
        text, code, _ = printed.split(END)
        return Done(int(code), text, self.said())

    def run_until(self, command: str, seen: Seen) -> Done:
        """Runs a command that doesn't end until something is seen in what it prints, then ends it.

        It ends as a service does, by SIGTERM.
        """
        output = self.folder / ".printed"
        output.write_text("")
        started = self.run(f"( exec {command}\n) > {shlex.quote(str(output))} & echo $!")
        number = started.printed.strip()

        def enough() -> bool:
            assert self.run(f"kill -0 {number}").code == 0, self.said()
            return seen(output.read_text("utf-8"))

        wait_until(enough, command)
        ended = self.run(f"kill -s {signal.SIGTERM.name.removeprefix('SIG')} {number}; wait $!")
        return Done(ended.code, output.read_text("utf-8"), ended.said)

    def said(self) -> str:
        """The end of what was said on standard error so far."""
        return self._errors.read_text("utf-8", "replace")[-4000:]


@contextmanager
def shell(
    folder: Path,
    settings: Mapping[str, str],
    *,
    programs: Mapping[str, str] = PROGRAMS,
    prefix: Sequence[str] = (),
) -> Iterator[Shell]:
    """Opens a shell in `folder`, where `holdfast` and `python` are this tree's.

    Args:
        folder: where it begins, with a path that is short enough for sockets.
        settings: its environment, beside this process's.
        programs: scripts for `sh` by the names under which they are found.
        prefix: a command that starts it.
    """
    found = folder / ".venv" / "bin"
    found.mkdir(parents=True)
    for name, program in programs.items():
        (found / name).write_text(f"#!/bin/sh\n{program}\n")
        (found / name).chmod(0o755)
    activate = f"PATH={shlex.quote(str(found))}:$PATH\n"
    (found / "activate").write_text(activate)
    errors = folder / ".errors"
    with errors.open("wb") as said:
        bash = subprocess.Popen(
            [*prefix, "bash", "--norc", "-c", f"exec 3<&0 </dev/null; {activate}{LOOP}"],
            cwd=folder,
            env={**os.environ, "HOME": str(folder / ".home"), **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
    opened = Shell(bash, folder, errors)
    try:
        yield opened
    finally:
        bash.communicate("jobs -p | xargs --no-run-if-empty kill; wait\0", timeout=60)
    assert "Traceback" not in opened.said(), opened.said()
