"""What an agent's loop is asked for the pages of `/debug`: each answer is made at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from holdfast.service.agent.agent import RunningAgent
from holdfast.service.web.debug import Inspect
from holdfast.service.web.inspections import shown_connections, under_way
from holdfast.transport.server import OpenConnection


def of_agent(
    running: RunningAgent, connections: Callable[[], list[OpenConnection]]
) -> Mapping[str, Inspect]:
    """Returns what can be asked of an agent, by name."""
    parts, room = running.parts, running.room
    return {
        "connections": lambda: shown_connections(connections()),
        "streams": lambda: [
            {"tenant": tenant, "ref": ref, "frontend": upstream}
            for tenant, ref, upstream in parts.writes.listed()
        ],
        "budget": lambda: {
            "replay": {"bytes": room.size, "free": room.free, "waiting": room.waiting},
            "messages_out": {"handed": parts.outflow.handed},
            "background_tasks": len(running.background),
        },
        "calls": lambda: under_way(parts.overload),
        "frontends": lambda: [
            {"frontend": one.target, "up": one.up, "calls": one.under_way}
            for one in parts.upstreams.all
        ],
    }
