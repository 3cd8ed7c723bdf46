"""Where the bundled program begins."""

from __future__ import annotations

import os
import sys

from holdfast.cli import main


def forget_library_path() -> None:
    """Keeps what the bundle starts, a redis-server say, from loading the bundle's libraries.

    PyInstaller sets the variable for this process, which has read it by now.
    """
    before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    if before is None:
        os.environ.pop("LD_LIBRARY_PATH", None)
    else:
        os.environ["LD_LIBRARY_PATH"] = before


def run(arguments: list[str]) -> None:
    """Runs the command line; or what the program starts as `sys.executable`, Python elsewhere."""
    match arguments:
        case ["-I", "-S", "-c", code, *rest]:
            sys.argv = ["-c", *rest]
            exec(code, {"__name__": "__main__"})  # noqa: S102 -- as `python -c` does
        case ["-m", "holdfast.cli", *rest]:
            sys.argv = [sys.argv[0], *rest]
            main()
        case _:
            main()


if __name__ == "__main__":
    forget_library_path()
    run(sys.argv[1:])
