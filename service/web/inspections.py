"""What the loop that serves RPCs is asked for the pages of `/debug`: each answer is made at once.

Refs and tenants are shown as JSON shows them; lists are bounded, and say how long they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final

from holdfast.coordination.leases import Lease, Leases
from holdfast.service.ingest.budget import BufferBudget
from holdfast.service.ingest.session import Session
from holdfast.service.rpc.overload import Overload
from holdfast.service.rpc.parts import Frontend
from holdfast.service.web.debug import Inspect
from holdfast.transport.server import OpenConnection

MOST: Final = 1_000
"""Entries of a list."""


def of_frontend(
    frontend: Frontend,
    budget: BufferBudget,
    leases: Leases,
    connections: Callable[[], list[OpenConnection]],
) -> Mapping[str, Inspect]:
    """Returns what can be asked of a frontend, by name."""
    return {
        "connections": lambda: shown_connections(connections()),
        "streams": lambda: _listed(frontend.sessions.streams(), _stream),
        "leases": lambda: _listed(leases.all, _lease),
        "budget": lambda: _budgets(frontend, budget),
        "calls": lambda: under_way(frontend.overload),
    }


def shown_connections(connections: list[OpenConnection]) -> object:
    """Returns connections, those that have been silent for longest last."""
    return _listed(sorted(connections, key=lambda one: one.silent), _connection)


def under_way(overload: Overload) -> object:
    """Returns how many RPCs of each kind are under way, and may be."""
    return {
        kind.value: {"under_way": gate.under_way, "most": gate.limit}
        for kind, gate in overload.gates.items()
    }


def _budgets(frontend: Frontend, budget: BufferBudget) -> object:
    intake = frontend.intake
    return {
        "buffers": {
            "bytes": budget.size,
            "free": budget.free,
            "streams": budget.shares,
            "waiting": budget.waiting,
            "spills": budget.spills,
        },
        "messages_in": {"bytes": intake.size, "free": intake.free, "waiting": intake.waiting},
        "messages_out": {"handed": frontend.outflow.handed},
        "background_tasks": len(frontend.background),
    }


def _listed(entries: Iterable[Any], show: Callable[[Any], object]) -> object:
    found = list(entries)
    return {"count": len(found), "shown": [show(one) for one in islice(found, MOST)]}


def _connection(one: OpenConnection) -> object:
    certificate = one.peer.certificate
    names = (
        [certificate.common_name, *certificate.uris, *certificate.dns_names] if certificate else []
    )
    return {
        "peer": one.peer.address,
        "pid": one.peer.credentials[0] if one.peer.credentials else None,
        "uid": one.peer.credentials[1] if one.peer.credentials else None,
        "certificate": next(filter(None, names), None),
        "user_agent": one.user_agent or None,
        "streams": one.streams,
        "seconds": round(one.seconds, 1),
        "seconds_silent": round(one.silent, 1),
        "draining": one.draining,
    }


def _stream(one: Session) -> object:
    tenant, ref = one.name
    return {
        "tenant": tenant,
        "ref": ref,
        "phase": one.phase.name.lower(),
        "offset": one.offset,
        "total": one.total,
        "ending": one.ending,
    }


def _lease(one: Lease) -> object:
    return {
        "tenant": one.tenant,
        "ref": one.ref,
        "seconds_left": round(one.deadline - one.clock(), 1),
        "ended": one.ended,
    }
