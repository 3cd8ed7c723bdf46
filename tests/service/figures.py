"""What a registry of metrics has: all series, and whether its RPCs add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

from tests.service.fleet import eventually


def samples(registry: CollectorRegistry) -> list[Sample]:
    """All series, with their values."""
    return [sample for family in registry.collect() for sample in family.samples]


def shapes(registry: CollectorRegistry) -> dict[str, tuple[str, frozenset[str]]]:
    """Each metric's kind and its labels, by the name that is scraped."""
    found = {}
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = frozenset(label for one in family.samples for label in one.labels) - {"le"}
        found[name] = family.type, labels
    return found


def ended(registry: CollectorRegistry, rpc: str) -> Counter[str]:
    """How calls of an RPC have ended: codes, or codes with a role that isn't node's."""
    found = Counter[str]()
    for one in samples(registry):
        if one.name == "holdfast_rpcs_total" and one.labels["rpc"] == rpc:
            role = one.labels["role"]
            code = one.labels["code"]
            found[code if role == "node" else f"{code} {role}"] += int(one.value)
    return found


def _sums(found: Iterable[Sample], name: str) -> Counter[str]:
    sums = Counter[str]()
    for one in found:
        if one.name == name:
            sums[one.labels["rpc"]] += int(one.value)
    return sums


async def check_rpcs(registry: CollectorRegistry) -> None:
    """Waits until no RPC is under way; then each one that ended was timed, and the reverse."""
    await eventually(lambda: not any(_sums(samples(registry), "holdfast_rpcs_under_way").values()))
    found = samples(registry)
    assert _sums(found, "holdfast_rpcs_total") == _sums(found, "holdfast_rpc_seconds_count")
