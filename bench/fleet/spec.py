"""How large a fleet is, what it pulls, and under which names."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import ByteSize, TypeAdapter, ValidationError

from bench.tenants import HEADER, check_prefix
from holdfast.errors import ConfigurationError

MIB: Final = 2**20
LAYERS: Final = (MIB, 2 * MIB, 4 * MIB)
READ: Final = 32 * 1024
"""Bytes: containerd's."""
MOST_NODES: Final = 5_000
MOST_BYTES: Final = 1024 * MIB
"""Of an image, because the process that serves it keeps it in memory."""


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """A fleet, and the frontends that it uses.

    Attributes:
        frontends: `host:port` of each, as an agent's AGENT_FRONTENDS has them.
        metrics: `host:port` of the HTTP port of each.
        prefix: how the names of all tenants begin.
        nodes: how many pull.
        layers: their sizes in bytes.
        rate: bytes per s that the source sends to all nodes together.
        processes: how many share the nodes.
        spread: s within which all nodes begin, each at random.
        read: bytes of a Read while a layer is unpacked. Agents answer these; larger ones cost the
            nodes less CPU, and frontends notice nothing of it.
        header: the header that names the tenant to frontends.
        patience: s for one node's pull, after which it counts as failed.
    """

    frontends: tuple[str, ...]
    metrics: tuple[str, ...]
    prefix: str
    nodes: int = 50
    layers: tuple[int, ...] = LAYERS
    rate: float = 30e6
    processes: int = 2
    spread: float = 5.0
    read: int = READ
    header: str = HEADER
    patience: float = 600.0

    def __post_init__(self) -> None:
        """Refuses what would touch real nodes, or grow without bound.

        Raises:
            ConfigurationError: it says what is wrong.
        """
        check_prefix(self.prefix)
        if not 1 <= self.nodes <= MOST_NODES:
            raise ConfigurationError(f"{self.nodes} nodes: between 1 and {MOST_NODES} can pull")
        if not self.layers or sum(self.layers) > MOST_BYTES or min(self.layers) < 1:
            raise ConfigurationError(
                f"the layers have {sum(self.layers)} bytes in all: an image has at least one "
                f"layer, none of them empty, and {MOST_BYTES} bytes at most"
            )
        if not 1 <= self.read <= MIB:
            raise ConfigurationError(f"Reads of {self.read} bytes: they have up to 1 MiB")
        if self.rate <= 0 or self.processes < 1 or self.patience <= 0 or self.spread < 0:
            raise ConfigurationError(
                "rate, processes and patience must be positive, and spread not negative"
            )
        if not self.frontends or not self.metrics:
            raise ConfigurationError("name at least one frontend, and one HTTP port of one")

    def tenant(self, number: int) -> str:
        """The name of a node."""
        return f"{self.prefix}-{number:04}"

    def share(self, process: int) -> range:
        """The numbers of the nodes that a process has."""
        return range(process, self.nodes, self.processes)

    def encode(self) -> str:
        """As text, for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> FleetSpec:
        """What `encode` has returned."""
        found: dict[str, Any] = json.loads(text)
        lists = {name: tuple(found[name]) for name in ("frontends", "metrics", "layers")}
        return cls(**{**found, **lists})


def size_of(text: str) -> int:
    """A size such as 4MiB, in bytes.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError as error:
        raise ConfigurationError(f"{text!r} is no size; write, for example, 4MiB") from error
