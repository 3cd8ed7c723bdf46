"""Variables of the environment whose names begin as ours do: which are ours, and which nobody's."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

PREFIX: Final = "HOLDFAST_"
CLIENT: Final = frozenset({"HOLDFAST_ADDRESS", "HOLDFAST_TENANT"})
"""What the command line's client takes."""
TESTS: Final = frozenset({"HOLDFAST_TEST_BIN"})
"""What our tests take; whatever they start has it, too."""
LIKE: Final = 0.75
"""How alike two names are of which one is the other misspelt, from 0 to 1."""
_LINK: Final = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$")
_PORT: Final = re.compile(r"(tcp|udp|sctp)://", re.ASCII)


def strangers(environment: Mapping[str, str], known: Collection[str]) -> list[str]:
    """Names with our prefix that nobody knows: a setting was meant, and is misspelt.

    What Kubernetes puts into every pod for Services called holdfast, or holdfast-something,
    is left out: HOLDFAST_SERVICE_HOST, HOLDFAST_PORT=tcp://… and the like.

    Args:
        environment: with any names.
        known: names that mean something, in capitals.
    """
    return sorted(
        name
        for name, value in environment.items()
        if name.upper().startswith(PREFIX)
        and name.upper() not in known
        and not _is_link(name, value)
    )


def misspelt_of_client(environment: Iterable[str]) -> Iterator[str]:
    """Names that are nearly those of the client's variables.

    All others may be a frontend's, which the client doesn't know.
    """
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in CLIENT and nearest(name, CLIENT):
            yield name


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that one is most like, or "" if it is like none."""
    ours = {one.removeprefix(PREFIX): one for one in known}
    bare = name.upper().removeprefix(PREFIX)
    return next((ours[one] for one in difflib.get_close_matches(bare, ours, 1, LIKE)), "")


def advice(name: str, known: Iterable[str], folder: str = "") -> str:
    """What to say of a name that nobody knows: a variable's, or a file's in a folder."""
    meant = nearest(name, known)
    told = f"{folder}/{name}" if folder else name
    mend = f"did you mean {meant}?" if meant else "remove it" if folder else "unset it"
    return f"{told} is no setting; {mend}"


def _is_link(name: str, value: str) -> bool:
    return bool(_LINK.search(name) or (name.endswith("_PORT") and _PORT.match(value)))
