"""Environment variables with our prefix: which of them are ours, and which nobody reads."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

PREFIX: Final = "HOLDFAST_"
AGENT: Final = f"{PREFIX}AGENT_"
"""The beginning of an agent's own settings: they resemble the client's and are none of them."""
CLIENT: Final = frozenset(
    {
        "HOLDFAST_ADDRESS",
        "HOLDFAST_CA",
        "HOLDFAST_CERT",
        "HOLDFAST_KEY",
        "HOLDFAST_SERVER_NAME",
        "HOLDFAST_TENANT",
        "HOLDFAST_TENANT_HEADER",
        "HOLDFAST_TLS",
        "HOLDFAST_TOKEN_FILE",
    }
)
"""Variables that the command line's client reads."""
TESTS: Final = frozenset({"HOLDFAST_TEST_BIN"})
"""Variables that our tests read; processes that they start inherit them."""
LIKE: Final = 0.75
"""From which similarity on, between 0 and 1, one name counts as the other misspelt."""
_LINK: Final = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$")
_PORT: Final = re.compile(r"(tcp|udp|sctp)://", re.ASCII)


def strangers(environment: Mapping[str, str], known: Collection[str]) -> list[str]:
    """Names with our prefix that nothing reads: probably a misspelt setting.

    Kubernetes sets variables in every pod for Services called holdfast, or holdfast-something.
    They are left out: HOLDFAST_SERVICE_HOST, HOLDFAST_PORT=tcp://… and the like.

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
    """Names that are almost those of the client's variables.

    All others may be a frontend's, which the client doesn't know.
    """
    for name in sorted(environment):
        ours = name.startswith(PREFIX) and not name.startswith(AGENT)
        if ours and name not in CLIENT and nearest(name, CLIENT):
            yield name


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most similar, or "" if none is similar."""
    ours = {one.removeprefix(PREFIX): one for one in known}
    bare = name.upper().removeprefix(PREFIX)
    return next((ours[one] for one in difflib.get_close_matches(bare, ours, 1, LIKE)), "")


def advice(name: str, known: Iterable[str], folder: str = "") -> str:
    """Advice for an unknown name: a variable's, or that of a file in a folder."""
    meant = nearest(name, known)
    told = f"{folder}/{name}" if folder else name
    mend = f"did you mean {meant}?" if meant else "remove it" if folder else "unset it"
    return f"{told} is no setting; {mend}"


def _is_link(name: str, value: str) -> bool:
    return bool(_LINK.search(name) or (name.endswith("_PORT") and _PORT.match(value)))
