"""Durations as the buckets of a histogram, each with an example of what lasted so long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from holdfast.durations import Durations

Bucket = tuple[str, float] | tuple[str, float, Exemplar]


class Buckets(Durations):
    """Durations with exemplars: the latest of each bucket."""

    __slots__ = ("exemplars",)

    def __init__(self, bounds: Sequence[float]) -> None:
        """Begins empty; `bounds` are in s, and rise."""
        super().__init__(bounds)
        self.exemplars: list[Exemplar | None] = [None] * len(self.counts)

    def note(self, seconds: float, exemplar: Mapping[str, str] | None) -> None:
        """Counts one duration; `exemplar` names what lasted so long."""
        at = self.add(seconds)
        if exemplar:
            self.exemplars[at] = Exemplar(dict(exemplar), seconds)


def shown(durations: Durations) -> Sequence[Bucket]:
    """Returns the buckets as prometheus_client takes them: each has those below it in it, too."""
    names = [*map(floatToGoString, durations.bounds), "+Inf"]
    counts = list(accumulate(list(durations.counts)))
    exemplars = durations.exemplars if isinstance(durations, Buckets) else [None] * len(counts)
    return [
        (name, count, exemplar) if exemplar else (name, count)
        for name, count, exemplar in zip(names, counts, exemplars, strict=True)
    ]
