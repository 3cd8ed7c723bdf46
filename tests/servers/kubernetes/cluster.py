"""A cluster: control plane, nodes, and beside them Redis, S3 and DNS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.kubernetes.control_plane import ControlPlane, control_plane
from tests.servers.kubernetes.images import pause_image
from tests.servers.kubernetes.node import Node, node
from tests.servers.kubernetes.services import Outside, minio, names, redis


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster; `cluster` starts one."""

    plane: ControlPlane
    nodes: Sequence[Node]
    redis: Outside
    s3: Outside

    def load(self, *archives: Path) -> None:
        """Puts images onto all nodes."""
        with ThreadPoolExecutor() as pool:
            for archive in archives:
                list(pool.map(lambda one, image=archive: one.load(image), self.nodes))


@contextmanager
def cluster(folder: Path, nodes: int, joining: Sequence[str] = ()) -> Iterator[Cluster]:
    """Runs a cluster until the block ends, or this process does.

    Args:
        folder: for data and logs.
        nodes: how many there are.
        joining: names of others, which may join later.
    """
    numbers = range(1, nodes + 1)
    with ExitStack() as stack:
        known = [*(f"node-{number}" for number in numbers), *joining]
        plane = stack.enter_context(control_plane(folder, known))
        outside = redis(plane.host), minio(plane.host), names(plane)
        for one in outside:
            stack.callback(one.kill)
        with ThreadPoolExecutor() as pool:
            starting = [pool.submit(one.start) for one in outside]
            made = [stack.enter_context(node(plane, number)) for number in numbers]
            for start in starting:
                start.result()
        running = Cluster(plane, made, outside[0], outside[1])
        running.load(pause_image(folder))
        yield running
