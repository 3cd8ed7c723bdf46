"""What the rollout needs of a host: of systemd, of containerd, of the agent."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from holdfast.node.rollout.disk import Disk
from holdfast.node.rollout.layout import Layout


@dataclass(frozen=True, slots=True)
class KnownImage:
    """An image that containerd knows.

    Attributes:
        namespace: containerd's.
        name: its name there.
        digest: that of its index or manifest, as sha256:….
    """

    namespace: str
    name: str
    digest: str


class Services(Protocol):
    """The host's systemd. Each method raises FailedPrecondition if systemd reports an error."""

    def check(self) -> None:
        """Passes if systemd runs the host, and is recent enough."""

    def reload(self) -> None:
        """Reads all units again."""

    def enable(self, *units: str) -> None:
        """Starts units at boot."""

    def disable(self, *units: str) -> None:
        """No longer starts units at boot, and stops them; units that don't exist are no error."""

    def restart(self, unit: str) -> None:
        """Restarts a unit, as one job that systemd finishes by itself; waits for it."""

    def begin(self, unit: str) -> None:
        """Has a unit started, and doesn't wait for it."""

    def active(self, unit: str) -> bool:
        """Whether a unit runs."""

    def release(self, unit: str) -> str:
        """The version of the containerd that a unit starts, as 1.6.20; "" if it isn't known.

        It never raises: the unit may start something else, such as k3s.
        """


class Runtime(Protocol):
    """The host's containerd. Each method raises Unavailable if it doesn't answer."""

    def version(self) -> str:
        """Its version, as 1.6.20."""

    def stores(self) -> AbstractSet[str]:
        """The names of its content stores: its own is called `content`."""

    def images(self) -> list[KnownImage]:
        """All images of all namespaces."""

    def content(self) -> AbstractSet[str]:
        """The digests that its database has, of all namespaces."""

    def read(self, namespace: str, digest: str) -> bytes:
        """The bytes of a manifest or a configuration.

        It raises NotFound if its store lacks it, and ValueError if it is too long to be one.
        """

    def listed(self) -> AbstractSet[str] | None:
        """The names by which the kubelet finds images; None if Kubernetes's plugin is off."""


class Agent(Protocol):
    """What serves the agent's socket. Each method raises Unavailable if it doesn't answer."""

    def held(self) -> dict[str, int]:
        """The digests that the node holds, and their sizes in bytes."""

    def read(self, digest: str) -> bytes:
        """The verified bytes of a small blob.

        It raises NotFound if the node doesn't hold it, and DataLoss if other bytes come.
        """

    def push(self, path: Path, digest: str) -> None:
        """Has the node hold a file's bytes."""

    def fetch(self, digest: str, path: Path) -> None:
        """Writes the verified bytes of some content into a file."""


class Turn(Protocol):
    """This node's turn to be changed, among those of its cluster."""

    def mine(self) -> bool:
        """Whether this process has it."""

    def wait(self) -> None:
        """Waits until it is this node's turn, which it is then until `end`."""

    def keep(self) -> None:
        """Keeps a turn that this node has had: it has failed, and others must not follow."""

    def end(self) -> None:
        """Has the next node's turn begin."""


class AnyTime:
    """The turn of a node that depends on no others."""

    def mine(self) -> bool:
        """Always."""
        return True

    def wait(self) -> None:
        """There is nothing to wait for."""

    def keep(self) -> None:
        """Nobody waits."""

    def end(self) -> None:
        """Nobody waits."""


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits until a condition holds, for so long at most; returns whether it does."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= until:
            return False
        time.sleep(0.2)
    return True


@dataclass(frozen=True, slots=True)
class Host:
    """A host, and how it is reached.

    Attributes:
        layout: where things are.
        disk: its files.
        services: its systemd.
        runtime: its containerd.
        agent: its agent.
        say: reports what is done, in a line.
        waits: waits for a condition, for some seconds at most.
        runs: tries whether the host can run a program; raises FailedPrecondition if it can't.
        turn: its turn to be changed.
    """

    layout: Layout
    disk: Disk
    services: Services
    runtime: Runtime
    agent: Agent
    say: Callable[[str], None]
    runs: Callable[[str], None]
    waits: Callable[[Callable[[], bool], float], bool] = field(default=wait)
    turn: Turn = field(default_factory=AnyTime)
