"""The Lua scripts in the folder `lua`, run by their hash.

Every change in Redis is one of them. Each is safe to run twice, because redis-py
sends a request again when its reply was lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib import resources
from typing import Any, Final

from redis.exceptions import NoScriptError

from holdfast.backend import Backend
from holdfast.coordination.client import Client
from holdfast.coordination.connection import DEADLINE, master_of, translated
from holdfast.errors import Unavailable, because, shorten
from holdfast.origins import step

Argument = str | bytes | int

AREAS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("ending", "release", "renew"), "lease"),
    **dict.fromkeys(
        (
            *("abort", "checkpoint", "collect", "find", "forget", "freeze", "leave", "open"),
            *("ref_show", "rekey", "restart", "rewind", "save", "take_turn"),
        ),
        "ingest",
    ),
    **dict.fromkeys(
        (
            *("change_alone", "change_begin", "change_confirm", "change_end"),
            *("hold_fill", "hold_look_up"),
        ),
        "hold",
    ),
    **dict.fromkeys(
        (
            *("charge", "charge_end", "charge_find", "charge_settle"),
            *("count_begin", "count_end", "count_listed", "grow"),
        ),
        "quota",
    ),
    **dict.fromkeys(
        ("flight_ask", "flight_end", "flight_list", "flight_move", "flight_show"), "flight"
    ),
    **dict.fromkeys(
        ("frontend_announce", "frontend_hour", "frontend_leave", "frontend_list"), "overview"
    ),
    "identify": "pairing",
}
"""All scripts, each with what it is about: by this word, metrics count it."""
NAMES: Final = tuple(sorted(AREAS))


@cache
def source(name: str) -> str:
    """The text of a script."""
    return (resources.files(__package__) / "lua" / f"{name}.lua").read_text("utf-8")


@cache
def _sha(name: str) -> str:
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Runs scripts on one client."""

    def __init__(self, client: Client, backend: Backend | None = None) -> None:
        """Sends nothing yet.

        Args:
            client: of one Redis.
            backend: records whether that Redis answers.
        """
        self._client = client
        self._backend = backend

    def master_of(self, key: str) -> str:
        """Names the server on which a script with that key runs, as far as it is known."""
        return master_of(self._client, key)

    def recorded(self, area: str) -> AbstractContextManager[None]:
        """Surrounds a request, so that its outcome is recorded as one of this area."""
        return self._backend.asked(DEADLINE, area) if self._backend else nullcontext()

    async def run(self, name: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:  # noqa: ANN401 -- what the script returns, documented in its header
        """Runs a script; its header documents the keys, the arguments and the reply.

        Raises:
            Unavailable: Redis can't be reached, or can't write now.
            ResourceExhausted: Redis is out of memory.
            PermissionDenied: Redis refuses the credentials or a command.
        """
        with self.recorded(AREAS[name]), step("Redis", name):
            async with translated():
                try:
                    return await self._client.evalsha(_sha(name), len(keys), *keys, *args)
                except NoScriptError:
                    return await self._client.eval(source(name), len(keys), *keys, *args)


def text(value: bytes | str) -> str:
    """A reply's bytes as text; those that aren't UTF-8, and so weren't written by us, are replaced.

    Raises:
        TypeError: it is neither; see `understood`.
    """
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, str):
        return value
    raise TypeError(f"a reply has {shorten(value)} instead of text")


@contextmanager
def understood() -> Iterator[None]:
    """Surrounds the reading of a reply.

    Raises:
        Unavailable: the reply isn't one of our scripts': a bit has flipped on the way, or something
            else answers in Redis's place.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError) as error:
        raise Unavailable(f"Redis's reply can't be read ({because(error)}); try again") from error


def pairs(reply: Sequence[bytes]) -> dict[str, str]:
    """A HGETALL reply as a mapping."""
    words = [text(word) for word in reply]
    return dict(zip(words[::2], words[1::2], strict=True))
