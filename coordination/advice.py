"""Advice for `holdfast doctor` about a Redis that can't be used, by how it failed."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Final

from holdfast.coordination.client import Client
from holdfast.coordination.probe import RESP, first_words, speaks_tls
from holdfast.coordination.target import Target
from holdfast.errors import HoldfastError, PermissionDenied

PASSWORD: Final = re.compile("WRONGPASS|NOAUTH|[Aa]uthentication|password|AUTH")


UNREACHED: Final = (
    (socket.gaierror, "the host name isn't known: correct the host in HOLDFAST_REDIS_URL"),
    (
        ConnectionRefusedError,
        "nobody listens there: start Redis, or correct host and port in HOLDFAST_REDIS_URL",
    ),
    (
        FileNotFoundError,
        "there is no such socket: start Redis, or correct the path in HOLDFAST_REDIS_URL",
    ),
)
"""What to do, by the error that the system reported."""
OTHERWISE: Final = "set HOLDFAST_REDIS_URL to a Redis 6.2 or newer that can be reached from here"


async def advice(client: Client, url: str, error: HoldfastError) -> str:
    """What to do about a failure.

    Args:
        client: the one whose request failed.
        url: of the Redis.
        error: the failure.
    """
    if isinstance(error, PermissionDenied):
        if PASSWORD.search(str(error)):
            return "correct user and password in HOLDFAST_REDIS_URL"
        return "give the user what docs/operations.md, Redis, lists"
    kinds = {type(one) for one in causes_of(error)}
    tls = await _about_tls(client, Target.parse(url))
    return tls or next((do for kind, do in UNREACHED if kind in kinds), OTHERWISE)


async def _about_tls(client: Client, target: Target) -> str:
    """What to do if only one of the two ends speaks TLS; "" otherwise."""
    said = await first_words(client)
    if target.scheme == "redis" and (not said or said[:1] not in RESP) and await speaks_tls(client):
        return "this port speaks TLS: use rediss:// (or the server's plain port)"
    if target.scheme == "rediss" and said and said[:1] in RESP:
        return "this port speaks no TLS: use redis:// (or the server's TLS port)"
    return ""


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error, then its cause, the cause of that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
