"""`python -m tests.fuzz --seconds 60 [TARGET…]` changes real values, and has parsers read them.

Each target gets so many seconds. If a parser breaks a promise, the finding has the options that
repeat it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from tests.fuzz.targets import TARGETS


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Fuzzes the targets that are named, or all."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET")
    options.add_argument("--seconds", type=float, default=60.0, help="for each target")
    options.add_argument("--seed", type=int, default=random.randrange(2**32))  # noqa: S311
    options.add_argument("--only", type=int, help="the number of the one value to try")
    chosen = options.parse_args()
    say(f"seed {chosen.seed}")
    failed = False
    for name in chosen.targets or TARGETS:
        number = chosen.only or 0
        until = time.monotonic() + chosen.seconds
        try:
            while True:
                TARGETS[name].attempt(chosen.seed, number)
                number += 1
                if chosen.only is not None or time.monotonic() > until:
                    break
        except AssertionError as error:
            failed = True
            say(f"{name}: {error}")
        say(f"{name}: {number:,} values")
    sys.exit(failed)


if __name__ == "__main__":
    main()
