"""What the rollout needs of an API server: objects, each replaced only if it hasn't changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from holdfast.errors import Aborted, NotFound, Unavailable
from holdfast.node.rollout.turns import SPEC, UNCHANGED, ClusterTurn, Place
from tests.rollout.model import Model

NAMESPACE: Final = "nodes"
NAME: Final = "store-nodes"
LOOKS: Final = UNCHANGED // 2
"""Too few to find that a node is gone."""
OTHERS: Final = Place(NAMESPACE, NAME)
CANARIES: Final = Place(NAMESPACE, NAME, canary=True)


class Objects:
    """The objects of a release, as the chart makes them, and a DaemonSet's status."""

    def __init__(self, *, at_once: int = 1, canaries: int = 0) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.down = False
        self.asked = 0
        self._version = 0
        data = {"atOnce": str(at_once), "canaries": "spec-1" if canaries else ""}
        self._store(OTHERS.settings, {"metadata": {"name": NAME}, "data": data})
        for place in (OTHERS, CANARIES):
            for number in range(at_once):
                self._store(place.lease(number), {"metadata": {"name": "lease"}})
        if canaries:
            self.canaries(canaries, 0)

    def canaries(self, nodes: int, verified: int, spec: str = "spec-1", **status: int) -> None:
        """Says what has become of the canaries."""
        found = {
            "observedGeneration": 2, "desiredNumberScheduled": nodes,
            "updatedNumberScheduled": nodes, "numberAvailable": verified,
        }  # fmt: skip
        metadata = {"name": f"{NAME}-canary", "generation": 2, "labels": {SPEC: spec}}
        self._store(OTHERS.canaries, {"metadata": metadata, "status": {**found, **status}})

    def _store(self, path: str, item: dict[str, Any]) -> None:
        self._version += 1
        stored = copy.deepcopy(item)
        stored["metadata"]["resourceVersion"] = str(self._version)
        self.items[path] = stored

    def get(self, path: str) -> dict[str, Any]:
        """Reads one."""
        self.asked += 1
        if self.down:
            raise Unavailable("no API server")
        if path not in self.items:
            raise NotFound(path)
        return copy.deepcopy(self.items[path])

    def put(self, path: str, item: Mapping[str, Any]) -> dict[str, Any]:
        """Replaces one, if it is still the one that was read."""
        before = self.get(path)
        if item["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]:
            raise Aborted(path)
        self._store(path, dict(item))
        return self.get(path)

    def holders(self, place: Place = OTHERS) -> list[str]:
        """Which nodes have a turn."""
        mine = {place.lease(number) for number in range(9)}
        leases = [self.items[path] for path in sorted(self.items.keys() & mine)]
        found = [one.get("spec", {}).get("holderIdentity", "") for one in leases]
        return [name for name in found if name]


def turn(
    objects: Objects, node: str, model: Model | None = None, place: Place = OTHERS
) -> ClusterTurn:
    """A node's turn; no time passes while it waits."""
    said: list[str] = [] if model is None else model.said
    made = ClusterTurn(objects, place, node, said.append, lambda _seconds: None, LOOKS)
    if model is not None:
        model.turn = made
    return made
