"""What a fleet's pull has cost, as tables and as one line of JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.fleet.crew import Pulled
from bench.fleet.frontends import Watched
from bench.fleet.pull import WAITED
from bench.fleet.source import Source
from bench.fleet.spec import MIB, FleetSpec
from bench.tables import table

MOST_FETCHED: Final = 1.05
"""Of a layer's bytes: each is fetched once, by one node, unless it is small."""
USUAL: Final = {
    ("Info", "NOT_FOUND"),
    ("Write: STAT", "ALREADY_EXISTS"),
    ("Write: STAT", WAITED),
    ("Write: COMMIT", "ALREADY_EXISTS"),
}
"""What calls may end with beside OK while nodes pull the same image."""


@dataclass(frozen=True, slots=True)
class FleetResult:
    """What there is to tell."""

    spec: FleetSpec
    source: Source
    pulled: Pulled
    frontends: Sequence[Watched]

    @property
    def within_limits(self) -> bool:
        """Whether all nodes have the image, no call failed, and each layer was fetched once."""
        healthy = not self.pulled.failures and not self.unusual
        return healthy and self.source.most_fetched <= MOST_FETCHED

    @property
    def unusual(self) -> dict[str, int]:
        """Calls that ended with what no pull should see."""
        return {
            f"{call} {code}": found.number
            for call, code, found in self.pulled.tally.items()
            if code != "OK" and (call, code) not in USUAL
        }

    @property
    def requests(self) -> Counter[tuple[str, str]]:
        """Of all frontends, by backend and operation."""
        found: Counter[tuple[str, str]] = Counter()
        for frontend in self.frontends:
            found.update(frontend.requested())
        return found

    def requests_to(self, backend: str) -> float:
        """Of all frontends, to `Redis` or to `S3`."""
        return sum(number for (to, _), number in self.requests.items() if to == backend)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: bytes and seconds."""
        ready = self.pulled.ready
        return {
            "nodes": self.spec.nodes,
            "ready": len(ready),
            "failures": dict(Counter(self.pulled.failures)),
            "repeated": dict(Counter(self.pulled.repeated)),
            "image_bytes": self.source.image.size,
            "fetched": self.source.fetched,
            "most_fetched": self.source.most_fetched,
            "median_ready": _share(ready, 0.5),
            "last_ready": _share(ready, 1.0),
            "median_pull": _share(self.pulled.took, 0.5),
            "longest_pull": _share(self.pulled.took, 1.0),
            "nodes_cpu": self.pulled.cpu,
            "nodes_memory": self.pulled.memory,
            "calls": [
                {
                    "call": call,
                    "code": code,
                    "number": found.number,
                    "p50": found.quantile(0.5),
                    "p99": found.quantile(0.99),
                }
                for call, code, found in self.pulled.tally.items()
            ],
            "frontends": [
                {
                    "address": one.address,
                    "connections": one.most["connections"],
                    "memory_before": one.before.gauges["memory"],
                    "memory": one.most["memory"],
                    "descriptors": one.most["descriptors"],
                    "other_descriptors_before": one.before.other_descriptors,
                    "other_descriptors": one.most_others,
                    "cpu": one.grown("cpu"),
                }
                for one in self.frontends
            ],
            "requests": {f"{to} {what}": n for (to, what), n in sorted(self.requests.items())},
            "within_limits": self.within_limits,
        }

    def text(self) -> str:
        """For people."""
        parts = [self._summary(), self._calls(), self._frontends(), self._requests()]
        for what, why in (("failed pull", self.pulled.repeated), ("failure", self.pulled.failures)):
            if why:
                parts.append(table((what, "number"), Counter(why).most_common(10)))
        return "\n\n".join(parts)

    def _summary(self) -> str:
        ready = self.pulled.ready
        return table(
            ("fleet", "figure"),
            [
                ("nodes", self.spec.nodes),
                ("nodes with the whole image", len(ready)),
                ("layers", ", ".join(f"{size / MIB:g} MiB" for size in self.spec.layers)),
                ("source, MB/s for all", f"{self.spec.rate / 1e6:g}"),
                ("bytes fetched, of the image", f"{self.source.fetched:.2f}"),
                (
                    "… of the layer (≥ 1 MiB) that was fetched most",
                    f"{self.source.most_fetched:.2f}",
                ),
                ("bytes of a Read", self.spec.read),
                ("nodes begin within, s", f"{self.spec.spread:g}"),
                ("seconds to the first node, the median, the last", _seconds(ready)),
                ("seconds of a node's pull: least, median, most", _seconds(self.pulled.took)),
                ("pulls that failed and were repeated", len(self.pulled.repeated)),
                ("nodes' CPU, s", f"{self.pulled.cpu:.1f}"),
                ("nodes' memory, MiB", f"{self.pulled.memory / MIB:.0f}"),
            ],
        )

    def _calls(self) -> str:
        return table(
            ("call", "ended with", "number", "a node", "p50, ms", "p99, ms"),
            [
                (
                    call,
                    code,
                    f"{found.number:,}",
                    f"{found.number / self.spec.nodes:.1f}",
                    f"{1000 * found.quantile(0.5):.1f}",
                    f"{1000 * found.quantile(0.99):.1f}",
                )
                for call, code, found in self.pulled.tally.items()
            ],
        )

    def _frontends(self) -> str:
        return table(
            (
                "frontend",
                "connections",
                "other descriptors, before and most",
                "memory before, MiB",
                "most memory, MiB",
                "CPU, s",
            ),
            [
                (
                    one.address,
                    one.most["connections"],
                    f"{one.before.other_descriptors:.0f}, {one.most_others:.0f}",
                    f"{one.before.gauges['memory'] / MIB:.0f}",
                    f"{one.most['memory'] / MIB:.0f}",
                    f"{one.grown('cpu'):.1f}",
                )
                for one in self.frontends
            ],
        )

    def _requests(self) -> str:
        rows = [
            (to, what, f"{number:,.0f}", f"{number / self.spec.nodes:.2f}")
            for (to, what), number in sorted(self.requests.items())
        ]
        totals = [
            (
                to,
                "all",
                f"{self.requests_to(to):,.0f}",
                f"{self.requests_to(to) / self.spec.nodes:.2f}",
            )
            for to in ("Redis", "S3")
        ]
        return table(("to", "about", "requests", "a node"), [*totals, *rows])


def _share(ready: Sequence[float], share: float) -> float:
    """The seconds within which a share of the nodes was ready; 0 if none was."""
    return ready[min(len(ready) - 1, int(share * len(ready)))] if ready else 0.0


def _seconds(ready: Sequence[float]) -> str:
    return ", ".join(f"{_share(ready, share):.1f}" for share in (0.0, 0.5, 1.0))
