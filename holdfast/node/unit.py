"""The systemd unit that serves a node's socket."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from holdfast.errors import InvalidArgument, shorten

DEFAULT_PROGRAM: Final = "/opt/holdfast/holdfast"


def unit(program: str = DEFAULT_PROGRAM) -> str:
    """The text of the unit that starts `program`.

    Raises:
        InvalidArgument: `program` isn't an absolute path that needs no quotes.
    """
    if not program.startswith("/") or not program.isprintable() or set(program) & set(" \"'\\%$;"):
        raise InvalidArgument(
            f"program {shorten(program)}: systemd needs an absolute path without spaces, "
            f"quotes, '%' and '$', as in {DEFAULT_PROGRAM}"
        )
    text = files(__package__).joinpath("holdfast.service").read_text("utf-8")
    return text.replace(DEFAULT_PROGRAM, program)
