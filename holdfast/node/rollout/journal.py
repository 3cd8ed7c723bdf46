"""The journal of a node: what was decided for it. All other files follow from it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from holdfast.errors import UnsupportedFormat, shorten
from holdfast.node.containerd import DEFAULT_SOCKET
from holdfast.node.rollout.disk import Disk
from holdfast.node.rollout.layout import PROGRAMS, Containerd, Layout

FORMAT: Final = 1
"""Another one is another release's; this one can't know what it decided.

Fields may come without another format: during an upgrade the earlier release's hook reads what
the later one's rollout has written, and must leave out what it doesn't know.
"""


class Phase(StrEnum):
    """Which store containerd has, from its next start on.

    own → moving → holdfast → returning → own, and moving → rollback → own.
    """

    OWN = "own"
    """Its own store."""
    MOVING = "moving"
    """Holdfast, which isn't verified yet."""
    HOLDFAST = "holdfast"
    """Holdfast; containerd was seen to use it."""
    RETURNING = "returning"
    """Its own, once it has what containerd fetched meanwhile; until then Holdfast."""
    ROLLBACK = "rollback"
    """Its own, even if it lacks what containerd fetched meanwhile: Holdfast didn't work here."""


@dataclass(frozen=True, slots=True)
class Journal:
    """What was decided.

    Attributes:
        phase: which store containerd has.
        current: the generation that has served; "" if none has.
        wanted: the generation that is to serve.
        failed: the generation that was given up, which isn't tried again by itself.
        reason: why.
        release: containerd's version when it was moved, as 1.6.20.
        containerd: the containerd in question.
        programs: where the generations are.
        socket: the agent's.
        given_back: when a watched node last got Holdfast back that something had taken from it, in
            s since 1970.
    """

    phase: Phase = Phase.OWN
    current: str = ""
    wanted: str = ""
    failed: str = ""
    reason: str = ""
    release: str = ""
    containerd: Containerd = field(default_factory=Containerd)
    programs: str = PROGRAMS
    socket: str = DEFAULT_SOCKET
    given_back: float = 0.0

    def store(self, disk: Disk, layout: Layout) -> None:
        """Writes it, durably."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"
        disk.write(layout.journal, text, 0o600)


def load(layout: Layout) -> Journal | None:
    """Reads the journal of a node; None if it has none.

    Raises:
        UnsupportedFormat: another release wrote it, or something else did.
    """
    try:
        text = layout.journal.read_text("utf-8")
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)
        if found.pop("format") != FORMAT:
            raise ValueError("format")  # noqa: TRY301 -- one reason for all that can't be read
        kept = _known(Journal, found)
        kept["phase"] = Phase(kept["phase"])
        kept["containerd"] = Containerd(**_known(Containerd, kept["containerd"]))
        return Journal(**kept)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnsupportedFormat(
            f"{layout.journal} can't be read by this release: {shorten(text)}; use the release "
            "that wrote it"
        ) from None


def _known(kind: type, found: dict[str, Any]) -> dict[str, Any]:
    """Of what was read, the fields that this release knows."""
    names = {one.name for one in dataclasses.fields(kind)}
    return {name: value for name, value in found.items() if name in names}
