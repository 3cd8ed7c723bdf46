"""What is wrong for a while: with the store as somebody sees it, or with who looks.

Frontends and each collector have troubles of their own, concurrently with one another and with
the chaos that kills and stops programs. Lies are the exception: those troubles that may make a
collector believe something wrong come one at a time over all collectors, and honest runs of
each lie between two of them (`bench/soak/lies.py`). Meanwhile troubles that tell no lie go on.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench.soak.lies import Lies
from bench.soak.stage import FRONTENDS_VIEW, LEASE, Program, Stage
from bench.soak.views import View

DAY: Final = 86_400.0
LITTLE: Final = 15.0
"""Seconds by which a clock may be wrong and is believed: as small beside a soak's ages as the
ten minutes that a fleet believes are beside its own."""
PAUSE: Final = (1.0, 10.0)
"""Seconds between two troubles, from and to."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What begins, and what ends it; it lasts seconds from `least` to `most`.

    `lie`: whether a collector may believe something wrong by it.
    """

    begin: Callable[[], None]
    end: Callable[[], None]
    least: float
    most: float
    lie: bool = False


class Troubles(threading.Thread):
    """One trouble after another, until it is time to stop; none is left then."""

    def __init__(
        self,
        who: str,
        seed: int,
        stop: threading.Event,
        kinds: Mapping[str, Trouble],
        *,
        lies: Lies,
        afterwards: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is wrong yet.

        Args:
            who: has them.
            seed: of which comes when, and for how long.
            stop: set when the last is to end.
            kinds: what there is, by its name; not all of it lies.
            lies: says when one may be told.
            afterwards: called whenever one has ended.
        """
        super().__init__(name=f"troubles of {who}", daemon=True)
        self._who = who
        self._dice = random.Random(f"{seed}/troubles/{who}")  # noqa: S311 -- replayed by seed
        self._end = stop
        self._kinds = kinds
        self._harmless = [name for name, kind in kinds.items() if not kind.lie]
        self._lies = lies
        self._afterwards = afterwards
        self.counts: Counter[str] = Counter()
        self.trouble: list[str] = []

    def run(self) -> None:
        """Begins and ends them."""
        while self._kinds and not self._end.wait(self._dice.uniform(*PAUSE)):
            name, share = self._next()
            kind = self._kinds[name]
            self.counts[f"{name}, {self._who}"] += 1
            print(f"{time.strftime('%H:%M:%S')} {self._who}: {name}", flush=True)
            try:
                kind.begin()
                self._end.wait(kind.least + share * (kind.most - kind.least))
            except Exception as error:  # noqa: BLE001 -- told at the end
                self.trouble.append(repr(error))
            finally:
                kind.end()
                if kind.lie:
                    self._lies.end()
                self._afterwards()

    def _next(self) -> tuple[str, float]:
        """Which comes, and for what share of the time it may last.

        As many throws whether or not a lie may be told: the rest doesn't depend on that.
        """
        wanted, instead = self._dice.choice([*self._kinds]), self._dice.choice(self._harmless)
        share = self._dice.random()
        if self._kinds[wanted].lie and not self._lies.begin():
            return instead, share
        return wanted, share


def _condition(view: View, kind: str, least: float, most: float, *, lie: bool = False) -> Trouble:
    return Trouble(lambda: view.condition(kind), lambda: view.condition(""), least, most, lie)


def _clock(view: View, ahead: float) -> Trouble:
    lie = abs(ahead) > LITTLE
    return Trouble(lambda: view.clock(ahead), lambda: view.clock(0.0), 5.0, 30.0, lie)


def _of_frontends(stage: Stage) -> dict[str, Trouble]:
    if stage.views is None:
        return {}
    view = stage.views[FRONTENDS_VIEW]
    return {
        "bits flip on the way up": _condition(view, "spoiled", 5.0, 20.0),
        "bits flip on the way down": _condition(view, "corrupt", 5.0, 20.0),
        "the store hangs": _condition(view, "hung", 1.0, 10.0),
        "the store is full": _condition(view, "full", 1.0, 5.0),
    }


def _of_a_collector(stage: Stage, program: Program) -> dict[str, Trouble]:
    kinds = {
        "stopped": Trouble(
            lambda: program.signal(signal.SIGSTOP),
            lambda: program.signal(signal.SIGCONT),
            0.5 * LEASE,
            8 * LEASE,
        )
    }
    if stage.views is None:
        return kinds
    view = stage.views[program.name]
    return kinds | {
        "bits flip on the way up": _condition(view, "spoiled", 5.0, 30.0),
        "bits flip on the way down": _condition(view, "corrupt", 5.0, 30.0, lie=True),
        "listings are empty": _condition(view, "emptied", 3.0, 30.0, lie=True),
        "listings are cut short": _condition(view, "halved", 3.0, 30.0, lie=True),
        "listings are out of order": _condition(view, "shuffled", 3.0, 30.0, lie=True),
        "the store hangs": _condition(view, "hung", 1.0, 10.0),
        "the store's clock is days ahead": _clock(view, 3 * DAY),
        "the store's clock is days behind": _clock(view, -3 * DAY),
        "the store's clock is a little ahead": _clock(view, LITTLE),
    }


def troubles(stage: Stage, seed: int, stop: threading.Event) -> list[Troubles]:
    """Everybody's. A collector that found out that something is wrong, and ended, begins again."""
    lies = Lies(program.log for program in stage.collectors)
    return [
        Troubles(FRONTENDS_VIEW, seed, stop, _of_frontends(stage), lies=lies),
        *(
            Troubles(
                program.name,
                seed,
                stop,
                _of_a_collector(stage, program),
                lies=lies,
                afterwards=partial(stage.revive, program),
            )
            for program in stage.collectors
        ),
    ]
