"""Whether a Redis accepts as many connections as all frontends may open.

At `maxclients` Redis refuses new connections, so a frontend that starts, or that has just lost its
connections, would stay without any.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio.cluster import RedisCluster

from holdfast.checks import Check
from holdfast.coordination.client import Client
from holdfast.coordination.connection import NAME, is_cluster, translated

MOST: Final = 8
"""Connections of a frontend to one server, at most."""
SHARE: Final = 0.75
"""Of `maxclients`: above it, a rollout or a failover may need the rest."""


async def crowding(client: Client) -> list[Check]:
    """Compares frontends and their connections with what each server accepts.

    Frontends are counted by the names of their connections. If the user may not list them, only
    the connections that there are now are compared.

    Raises:
        Unavailable: Redis can't be reached.
    """
    async with translated():
        everywhere = {"target_nodes": RedisCluster.PRIMARIES} if is_cluster(client) else {}
        described = by_node(await client.info(section="clients", **everywhere))
        try:
            listed = by_node(await client.client_list(**everywhere))
        except redis_errors.NoPermissionError:
            listed = {}
    frontends = len({name for clients in listed.values() for name in _names(clients)})
    return [_check(node, info, frontends) for node, info in described.items()]


def by_node(reply: Any) -> dict[str, Any]:  # noqa: ANN401 -- redis-py's own
    """A reply by the name of the node that sent it; one server's, or one master's, under ""."""
    replies = reply.values() if isinstance(reply, dict) else ()
    if replies and all(isinstance(one, dict | list) for one in replies):
        return {str(name): one for name, one in reply.items()}
    return {"": reply}


def _names(clients: list[Mapping[str, str]]) -> Iterator[str]:
    """The names of our processes among a server's clients, each as often as it is there."""
    return (one["name"] for one in clients if one.get("name", "").startswith(f"{NAME}/"))


def _check(node: str, info: Mapping[str, Any], frontends: int) -> Check:
    most, now = int(info.get("maxclients", 0)), int(info.get("connected_clients", 0))
    needed = max(now, frontends * MOST)
    enough = math.ceil(needed / SHARE)
    counted = (
        f"{frontends} frontends (or other processes of ours) of {MOST} connections at most"
        if frontends
        else "no frontend seen"
    )
    return Check(
        f"Redis {node} connections" if node else "Redis connections",
        ok=not most or needed <= SHARE * most,
        essential=False,
        found=f"{counted}, {now} connections now; maxclients {most}",
        advice=f"raise maxclients, and the server's limit of open files, to {enough} or more, or "
        "find out whose connections they are (CLIENT LIST): Redis refuses all beyond that",
    )
