"""Which programs are connected to this frontend, as they say themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from holdfast.overview import CLIENTS, OTHER_CLIENTS, ClientFigures

LONGEST: Final = 40
"""Most characters of a program and its version."""


def clients_of(user_agents: Iterable[str]) -> tuple[ClientFigures, ...]:
    """Returns how many connections each program has, the most frequent first.

    Further programs, and those that don't say what they are, are the last, without a name.

    Args:
        user_agents: one for each connection, as the client has sent it.
    """
    programs: Counter[str] = Counter()
    for said, connections in Counter(user_agents).items():
        programs[_program(said)] += connections
    others = programs.pop(OTHER_CLIENTS, 0)
    ordered = sorted(programs.items(), key=lambda pair: (-pair[1], pair[0]))
    others += sum(connections for _, connections in ordered[CLIENTS:])
    shown = [ClientFigures(name, connections) for name, connections in ordered[:CLIENTS]]
    return (*shown, *([ClientFigures(OTHER_CLIENTS, others)] if others else []))


def _program(said: str) -> str:
    """Returns the first product of a user agent: `containerd/1.6.20` (RFC 9110, section 10.1.5)."""
    words = said.split(maxsplit=1)
    return words[0][:LONGEST] if words else OTHER_CLIENTS
