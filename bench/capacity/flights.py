"""A fleet that starts at once, simulated: how often its layers are fetched, and what waiting costs.

Each node asks for its layers as containerd does: Info, and where that finds nothing a STAT; told
to wait, it asks both again, after a pause that grows from 16 ms to 2 s. `Rules` is what the
scripts in Redis do, and a test holds the two against each other. If frontends are overloaded, Infos
end without an answer, which containerd takes for a no; then a STAT looks at the store.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Final

FIRST_PAUSE: Final = 0.016
"""Seconds: containerd's shortest pause. Source: `OpenWriter` in `core/content/helpers.go`."""
LONGEST_PAUSE: Final = 2.048
"""Seconds: its longest pause, before chance halves it on average."""
REPORT: Final = 1.0
"""Seconds between two reports of a leader's progress."""
DEADLINE: Final = 10.0
"""Seconds after which an Info that gets no answer ends."""
RESTART: Final = 60.0
"""Seconds after which a node that died asks again."""


@dataclass(slots=True)
class Aloft:
    """A digest in flight, as a key in Redis keeps it: bytes, and s."""

    leader: str
    offset: int
    admits: float
    until: float
    also: str = ""


class Rules:
    """What the scripts do with the flights of all digests, with a clock passed in."""

    def __init__(self, *, patience: float, wait: float) -> None:
        self.patience = patience
        self.wait = wait
        self.flights: dict[str, Aloft] = {}
        self.led: dict[str, tuple[str, float]] = {}
        """Who led each digest's last flight, and when it admits another writer."""

    def ask(self, digest: str, tenant: str, now: float) -> str:
        """Returns for whom a tenant should wait; "" if it is admitted."""
        flight = self._found(digest, now)
        if flight is None:
            self._lead(digest, tenant, now)
        elif tenant not in {flight.leader, flight.also}:
            if flight.admits > now:
                return flight.leader
            flight.also, flight.admits = tenant, now + self.wait
            self.led[digest] = flight.leader, flight.admits
        return ""

    def move(self, digest: str, tenant: str, offset: int, now: float) -> bool:
        """Reports progress; returns whether this tenant leads."""
        flight = self._found(digest, now)
        if flight is None:
            flight = self._lead(digest, tenant, now)
        elif flight.leader != tenant:
            if flight.offset >= offset:
                return False
            flight.also, flight.leader = flight.leader, tenant
            self.led[digest] = tenant, flight.admits
        flight.offset, flight.until = offset, now + self.patience
        return True

    def end(self, digest: str, tenant: str, now: float) -> bool:
        """Ends the flight of a leader that gives up; returns whether it led."""
        flight = self._found(digest, now)
        if flight is None or flight.leader != tenant:
            return False
        del self.flights[digest]
        return True

    def _lead(self, digest: str, tenant: str, now: float) -> Aloft:
        """A new flight; its leader doesn't put off the next writer if it led the last one."""
        led, admits = self.led.get(digest, ("", 0.0))
        if led != tenant or admits + self.wait <= now:
            admits = now + self.wait
        self.flights[digest] = flight = Aloft(tenant, 0, admits, now + self.patience)
        self.led[digest] = tenant, admits
        return flight

    def _found(self, digest: str, now: float) -> Aloft | None:
        flight = self.flights.get(digest)
        return flight if flight and flight.until > now else None


@dataclass(frozen=True, slots=True)
class Start:
    """A fleet that starts: every tenant wants all layers, `abreast` at a time.

    Attributes:
        tenants: nodes that begin within `spread`.
        layers: sizes in bytes.
        rate: bytes per s at which a node fetches one layer.
        spread: s within which all nodes begin.
        dying: the share of writes that die on their way.
        abreast: layers that a node fetches at once.
        seed: of the chance.
        unanswered: the share of Infos that end without an answer.
        looks: whether a STAT that no flight stops looks at the store after such an Info.
    """

    tenants: int = 500
    layers: tuple[int, ...] = tuple(2 ** (20 + number % 10) for number in range(50))
    rate: float = 30e6
    spread: float = 5.0
    dying: float = 0.1
    abreast: int = 3
    seed: int = 1
    unanswered: float = 0.0
    looks: bool = True


@dataclass(slots=True)
class Outcome:
    """What a simulated start has cost; s.

    Attributes:
        fetches: of each layer, how often its bytes were begun to be fetched.
        fetched: bytes that were fetched, unfinished ones included.
        waited: STATs that were told to wait.
        asked: scripts that asked.
        moved: scripts that reported progress.
        infos: Infos that found nothing, or got no answer.
        looks: STATs that looked at the store.
        took: until the last node had everything.
    """

    fetches: dict[str, int] = field(default_factory=dict)
    fetched: int = 0
    waited: int = 0
    asked: int = 0
    moved: int = 0
    infos: int = 0
    looks: int = 0
    took: float = 0.0


Step = Generator[float, None, None]
"""What one client does: it yields the seconds that it waits."""


class Simulation:
    """One start of a fleet."""

    def __init__(self, start: Start, rules: Rules | None) -> None:
        """Begins with an empty store; without rules, nobody waits for anybody."""
        self._start = start
        self._rules = rules
        self._chance = random.Random(start.seed)  # noqa: S311 -- a simulation
        self._now = 0.0
        self._there: set[str] = set()
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Runs it to its end."""
        queue: list[tuple[float, int, Step]] = []
        for number in range(self._start.tenants):
            begun = self._chance.uniform(0, self._start.spread)
            names = [f"layer-{layer}" for layer in range(len(self._start.layers))]
            for lane in range(self._start.abreast):
                client = self._client(f"node-{number}", names[lane :: self._start.abreast])
                heapq.heappush(queue, (begun, number * self._start.abreast + lane, client))
        while queue:
            self._now, order, client = heapq.heappop(queue)
            pause = next(client, None)
            if pause is None:
                self.outcome.took = self._now
            else:
                heapq.heappush(queue, (self._now + pause, order, client))
        return self.outcome

    def _client(self, tenant: str, layers: list[str]) -> Step:
        for layer in layers:
            size = self._start.layers[int(layer.rpartition("-")[2])]
            pause = FIRST_PAUSE
            while not (found := (yield from self._ask(layer))):
                self.outcome.infos += 1
                if self._admitted(layer, tenant) and not self._offered(layer, found):
                    yield from self._write(tenant, layer, size)
                    pause = FIRST_PAUSE
                else:
                    self.outcome.waited += 1
                    yield self._chance.uniform(0, pause)
                    pause = min(2 * pause, LONGEST_PAUSE)

    def _ask(self, layer: str) -> Generator[float, None, bool | None]:
        """Makes an Info; returns whether the layer is there, None without an answer."""
        if self._start.unanswered and self._chance.random() < self._start.unanswered:
            yield DEADLINE
            return None
        return layer in self._there

    def _offered(self, layer: str, found: bool | None) -> bool:
        """Whether a STAT that no flight stops is told that the layer is there."""
        if self._rules is None or not self._start.looks or found is not None:
            return False
        self.outcome.looks += 1
        return layer in self._there

    def _admitted(self, layer: str, tenant: str) -> bool:
        if self._rules is None:
            return True
        self.outcome.asked += 1
        return not self._rules.ask(layer, tenant, self._now)

    def _write(self, tenant: str, layer: str, size: int) -> Step:
        outcome, rate = self.outcome, self._start.rate
        outcome.fetches[layer] = outcome.fetches.get(layer, 0) + 1
        dies_at = self._chance.random() if self._chance.random() < self._start.dying else 1.0
        offset, last = 0, int(size * dies_at)
        while offset < last:
            piece = min(int(rate * REPORT), last - offset)
            yield piece / rate
            offset += piece
            if self._rules is not None and offset < size:
                outcome.moved += 1
                self._rules.move(layer, tenant, offset, self._now)
        outcome.fetched += offset
        if offset == size:
            self._there.add(layer)
        else:
            yield RESTART


def simulated(start: Start, rules: Callable[[], Rules] | None) -> Outcome:
    """Simulates a start, with rules or without."""
    return Simulation(start, rules() if rules else None).run()
