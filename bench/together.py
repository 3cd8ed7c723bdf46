"""Real containerds that pull one image at the same moment: bytes from the registry, and seconds.

One node pulls alone, then several together, then several of which the first leader dies in
mid-layer; each time with an image of its own, on a new store. The registry's line is slow, and all
share it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from bench.cpu import Meter
from tests.nodes.images import Image, make_layered_image
from tests.nodes.programs import GENERATIONS, programs
from tests.nodes.site import Site, at_once, site
from tests.nodes.test_pull_together import leader_of, pull_unless_killed
from tests.servers.process import wait_until
from tests.servers.registry import Registry, registry_server

MIB: Final = 2**20
SMALL: Final = (4 * MIB, 8 * MIB)
"""Layers beside the large one and the two that a container needs."""
RATE: Final = 30e6
"""Bytes per second that the registry sends to all nodes together."""
MOST_FETCHED: Final = 1.05
MOST_TIME: Final = 1.3
MOST_FETCHED_AGAIN: Final = 2.1
PATIENCE: Final = 300.0
"""Seconds for a leader to get half-way."""


REGISTRY: Final = "registry and its clients"
"""What this process is."""


@dataclass(frozen=True, slots=True)
class Pull:
    """One pull by some nodes: seconds, bytes fetched, of those of the layers, and seconds of CPU.

    `cpu` has an entry for each kind of program.
    """

    what: str
    seconds: float
    fetched: float
    cpu: Mapping[str, float]

    @property
    def all_cpu(self) -> float:
        """Seconds of CPU that all programs used together."""
        return sum(self.cpu.values())


@dataclass(frozen=True, slots=True)
class Result:
    """All pulls: alone, together, and with a leader that dies."""

    image_bytes: int
    alone: Pull
    together: Pull
    interrupted: Pull

    @property
    def within_limits(self) -> bool:
        """Whether the nodes together fetch once, in about the time of one."""
        return (
            self.together.fetched <= MOST_FETCHED
            and self.together.seconds <= MOST_TIME * self.alone.seconds
            and self.interrupted.fetched <= MOST_FETCHED_AGAIN
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        rows = [
            "| pull | seconds | of one alone | bytes fetched, of the layers | seconds of CPU |",
            "| --- | --- | --- | --- | --- |",
        ]
        for pull in (self.alone, self.together, self.interrupted):
            ratio = pull.seconds / self.alone.seconds
            spent = ", ".join(f"{name} {used:.1f}" for name, used in pull.cpu.items())
            rows.append(
                f"| {pull.what} | {pull.seconds:.1f} | {ratio:.2f} | {pull.fetched:.2f} "
                f"| {pull.all_cpu:.1f}: {spent} |"
            )
        rows.append(f"\n{os.cpu_count()} cores; {self.image_bytes / MIB:.0f} MiB of layers")
        return "\n".join(rows)


def run(nodes: int, size: int) -> Result:
    """Pulls an image whose largest layer has SIZE bytes by one node, and by NODES at once."""
    with registry_server() as registry:
        registry.rate = RATE
        image, alone = _pull(registry, 1, size)
        _, together = _pull(registry, nodes, size)
        interrupted = _interrupted(registry, nodes, size)
    return Result(image.layer_bytes, alone, together, interrupted)


def _pull(registry: Registry, nodes: int, size: int) -> tuple[Image, Pull]:
    image, reference = _image(registry, size)
    with _site(nodes) as made:
        spent, begun = _Spent(), time.monotonic()
        at_once([partial(node.pull, reference) for node in made.nodes])
        seconds, cpu = time.monotonic() - begun, spent.since()
    what = "one node" if nodes == 1 else f"{nodes} nodes at once"
    return image, Pull(what, seconds, _fetched(registry, image), cpu)


def _interrupted(registry: Registry, nodes: int, size: int) -> Pull:
    image, reference = _image(registry, size)
    large, killed = image.layers[-1], set[str]()
    with _site(nodes) as made:

        def kill_the_leader() -> None:
            wait_until(lambda: registry.served[large] > size // 2, "half a layer", PATIENCE)
            number = [node.name for node in made.nodes].index(leader_of(made.nodes[0], large))
            killed.add(made.nodes[number].name)
            made.frontends[number].kill()
            made.nodes[number].crash()
            made.frontends[number].start()
            made.nodes[number].boot()

        spent, begun = _Spent(), time.monotonic()
        pulls = [partial(pull_unless_killed, node, reference, killed) for node in made.nodes]
        at_once([*pulls, kill_the_leader])
        at_once([partial(node.pull_when_there, reference) for node in made.nodes])
        seconds, cpu = time.monotonic() - begun, spent.since()
    return Pull("… and the leader dies half-way", seconds, _fetched(registry, image), cpu)


class _Spent:
    """The CPU that this process and the programs below it use from now on."""

    def __init__(self) -> None:
        self._meter, self._own = Meter(), time.process_time()

    def since(self) -> dict[str, float]:
        """Seconds by kind of program, the largest first."""
        used = {name: cpu.total for name, cpu in self._meter.used().items()}
        used[REGISTRY] = time.process_time() - self._own
        return dict(sorted(used.items(), key=lambda one: -one[1]))


def _image(registry: Registry, size: int) -> tuple[Image, str]:
    image = make_layered_image(os.urandom, (*SMALL, size))
    name = f"bench-{random.getrandbits(32):x}"
    return image, registry.add(name, "1", image.root, image.blobs)


@contextmanager
def _site(nodes: int) -> Iterator[Site]:
    with site() as made:
        for number in range(nodes):
            made.frontend(programs(GENERATIONS[number % len(GENERATIONS)]))
        made.start()
        yield made


def _fetched(registry: Registry, image: Image) -> float:
    return sum(registry.served[layer] for layer in image.layers) / image.layer_bytes
