"""The systemd units that serve a node's socket: an agent, or a frontend with rights of its own."""

from __future__ import annotations

from enum import StrEnum
from importlib.resources import files
from typing import Final

from holdfast.errors import InvalidArgument, shorten

DEFAULT_PROGRAM: Final = "/opt/holdfast/holdfast"
_COMMON: Final = "common"
"""What both units have: how they are confined, and when they are started."""


class Serves(StrEnum):
    """What serves the socket."""

    AGENT = "agent"
    FRONTEND = "frontend"


def unit(program: str = DEFAULT_PROGRAM, serves: Serves = Serves.AGENT) -> str:
    """The text of the unit that starts `program`.

    Raises:
        InvalidArgument: `program` isn't an absolute path that needs no quotes.
    """
    if not program.startswith("/") or not program.isprintable() or set(program) & set(" \"'\\%$;"):
        raise InvalidArgument(
            f"program {shorten(program)}: systemd needs an absolute path without spaces, "
            f"quotes, '%' and '$', as in {DEFAULT_PROGRAM}"
        )
    folder = files(__package__)
    parts = [folder.joinpath(f"{name}.service").read_text("utf-8") for name in (serves, _COMMON)]
    return "".join(parts).replace(DEFAULT_PROGRAM, program)
