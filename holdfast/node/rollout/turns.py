"""Whose turn it is: which nodes go first, and how many are changed at once.

A DaemonSet bounds upgrades; a new one starts its pods on all nodes at once. So the pods take turns
by objects that the chart has made: leases, as many as nodes may be changed at once. A node keeps
its lease until it is verified. If it fails, it keeps the lease, and others don't follow. A lease
that nobody renews is free again, since its node may be gone.

No clock decides: whoever waits counts how often it has seen a lease unchanged.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from holdfast.errors import Aborted, HoldfastError, NotFound, Unavailable, because

PAUSE: Final = 15.0
"""Seconds between two looks."""
RENEWAL: Final = 60.0
"""Seconds after which a lease is renewed."""
UNCHANGED: Final = 60
"""Looks that a lease stays unchanged until it is free: 15 minutes. A pod that fails is started
again after 5 minutes at most, and renews it then."""
LOOKS: Final = 240
"""Looks until a try ends: an hour. The next try waits again."""
SPEC: Final = "holdfast/spec"
"""The label by which the chart says what a DaemonSet's pods do."""


class Objects(Protocol):
    """The API server; see `ApiServer`."""

    def get(self, path: str) -> dict[str, Any]:
        """Reads an object."""

    def put(self, path: str, item: Mapping[str, Any]) -> dict[str, Any]:
        """Replaces an object, if it is still the one that was read."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the chart has put the objects.

    Attributes:
        namespace: the release's.
        name: of the DaemonSet and the ConfigMap; leases have a number in addition.
        canary: whether this node is one of those that go first.
    """

    namespace: str
    name: str
    canary: bool = False

    @property
    def settings(self) -> str:
        """The ConfigMap: how many at once, and what the canaries' DaemonSet should be."""
        return f"/api/v1/namespaces/{self.namespace}/configmaps/{self.name}"

    @property
    def canaries(self) -> str:
        """The DaemonSet of those that go first."""
        return f"/apis/apps/v1/namespaces/{self.namespace}/daemonsets/{self.name}-canary"

    def lease(self, number: int) -> str:
        """A lease. Canaries have their own: a node that fails must not keep them from the mend."""
        name = f"{self.name}{'-canary' if self.canary else ''}-{number}"
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{name}"


@dataclass
class ClusterTurn:
    """A node's turn among those of a cluster.

    Attributes:
        objects: the API server.
        place: where the objects are.
        node: the node's name.
        say: reports why it waits.
        pause: lets so many seconds pass.
        looks: how often a try looks whether it is its turn.
    """

    objects: Objects
    place: Place
    node: str
    say: Callable[[str], None]
    pause: Callable[[float], None] = time.sleep
    looks: int = LOOKS
    _mine: str = ""
    _seen: dict[str, tuple[tuple[str, str], int]] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _renewing: threading.Thread | None = None

    def mine(self) -> bool:
        """Whether this process has it."""
        return bool(self._mine)

    def wait(self) -> None:
        """Waits until it is this node's turn, which it is then until `end`.

        Raises:
            PermissionDenied: the pod's account lacks a right.
            Unavailable: it wasn't, in all these looks.
        """
        said = why = ""
        for look in range(self.looks):
            if look:
                self.pause(PAUSE + random.random())  # noqa: S311 -- only so that not all ask at once
            try:
                why = self._look()
            except (Unavailable, NotFound, Aborted) as error:
                why = because(error)
            if not why:
                self._renewing = threading.Thread(target=self._renew, name="turn", daemon=True)
                self._renewing.start()
                return
            if why != said:
                self.say(f"it isn't this node's turn: {why}")
                said = why
        minutes = self.looks * PAUSE / 60
        raise Unavailable(f"it wasn't this node's turn for {minutes:g} minutes: {why}")

    def keep(self) -> None:
        """Keeps a turn that this node has had: it has failed, and others must not follow."""
        try:
            self._kept(self._leases(self._settings()))
        except HoldfastError as error:
            self.say(f"the turn could not be renewed: {because(error)}")

    def end(self) -> None:
        """Has the next node's turn begin; if that fails, it begins once the lease is old."""
        self._ended.set()
        if self._renewing is not None:
            self._renewing.join()
        self._mine = ""
        try:
            for path, lease in self._leases(self._settings()).items():
                if _holder(lease) == self.node:
                    self._write(path, lease, "")
        except HoldfastError as error:
            self.say(f"the turn could not be ended: {because(error)}; others wait until it is old")

    def _look(self) -> str:
        """Takes the turn if it can be; says why not, or ""."""
        settings = self._settings()
        leases = self._leases(settings)
        kept = self._kept(leases)
        why = self._first(settings)
        if why:
            return why
        free = [path for path, lease in leases.items() if self._free(path, lease)]
        for path in [kept] if kept else free:
            with suppress(Aborted):
                if path != kept:
                    self._write(path, leases[path], self.node)
                self._mine = path
                return ""
        return f"{', '.join(sorted(filter(None, map(_holder, leases.values()))))} come first"

    def _first(self, settings: Mapping[str, Any]) -> str:
        """Why the canaries aren't done, or ""."""
        wanted = settings.get("canaries", "")
        if self.place.canary or not wanted:
            return ""
        found = self.objects.get(self.place.canaries)
        status = found.get("status", {})
        nodes = status.get("desiredNumberScheduled", 0)
        if (
            found["metadata"].get("labels", {}).get(SPEC) != wanted
            or status.get("observedGeneration") != found["metadata"]["generation"]
        ):
            return "the canaries are about to be changed"
        if not nodes:
            return "no node has the labels of nodes.canary.nodeSelector, and canaries go first"
        done = min(status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0))
        return "" if done >= nodes else f"{done} of {nodes} canaries are verified"

    def _settings(self) -> Mapping[str, Any]:
        found = self.objects.get(self.place.settings).get("data")
        if not isinstance(found, dict) or not str(found.get("atOnce", "")).isdigit():
            raise Unavailable(
                f"{self.place.settings} doesn't say how many nodes are changed at once"
            )
        return found

    def _leases(self, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        paths = [self.place.lease(number) for number in range(int(settings["atOnce"]))]
        return {path: self.objects.get(path) for path in paths}

    def _kept(self, leases: dict[str, dict[str, Any]]) -> str | None:
        """Renews the lease that this node has; returns its path, or None."""
        for path, lease in leases.items():
            if _holder(lease) == self.node:
                self._write(path, lease, self.node)
                return path
        return None

    def _free(self, path: str, lease: dict[str, Any]) -> bool:
        """Whether nobody has a lease, or nobody has renewed it for long."""
        holder = _holder(lease)
        seen = (holder, str(lease["metadata"].get("resourceVersion")))
        before, looks = self._seen.get(path, (seen, 0))
        looks = looks + 1 if before == seen else 0
        self._seen[path] = (seen, looks)
        return not holder or looks >= UNCHANGED

    def _write(self, path: str, lease: dict[str, Any], holder: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {**lease.get("spec", {}), "holderIdentity": holder, "renewTime": now}
        if holder != _holder(lease):
            spec["acquireTime"] = now
        spec["leaseDurationSeconds"] = int(PAUSE * UNCHANGED)
        self.objects.put(path, {**lease, "spec": spec})

    def _renew(self) -> None:
        while not self._ended.wait(RENEWAL):
            self.keep()


def _holder(lease: Mapping[str, Any]) -> str:
    return str(lease.get("spec", {}).get("holderIdentity") or "")
