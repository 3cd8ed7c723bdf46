"""What goes wrong: at random, from a seed, one thing after another and some at once."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

from bench.soak.stage import LEASE, Program, Stage

SPARED = 0
"""The frontend that is never killed: its memory, descriptors and threads must not grow."""


class Chaos(threading.Thread):
    """Hurts the stage until it is time to stop; leaves it as it is then."""

    def __init__(self, stage: Stage, seed: int, stop: threading.Event) -> None:
        super().__init__(name="chaos", daemon=True)
        self.stage = stage
        self.dice = random.Random(f"{seed}/chaos")  # noqa: S311 -- replayed by seed
        self.stop = stop
        self.counts: Counter[str] = Counter()
        self.trouble: list[str] = []

    def run(self) -> None:
        """One fault after another, each mended before the next two or three."""
        faults: list[tuple[float, Callable[[], None]]] = [
            (0.30, self._kill_frontend),
            (0.50, self._stop_frontend),
            (0.56, self._drain_frontend),
            (0.66, lambda: self._kill_redis(empty=False)),
            (0.72, lambda: self._kill_redis(empty=True)),
            (0.78, lambda: self._halt(self.stage.redis, 0.5, 4.0)),
            (0.90, self._hurt_s3),
            (1.00, self._kill_collector),
        ]
        while not self.stop.wait(self.dice.uniform(0.3, 3.0)):
            draw = self.dice.random()
            try:
                next(fault for limit, fault in faults if draw <= limit)()
            except Exception as error:  # noqa: BLE001 -- told at the end
                self.trouble.append(repr(error))

    def _note(self, text: str, program: Program) -> None:
        kind = program.name.partition("-")[0]
        self.counts[f"{text} {kind}"] += 1
        print(f"{time.strftime('%H:%M:%S')} {text} {program.name}", flush=True)

    def _pause(self, least: float, most: float) -> None:
        self.stop.wait(self.dice.uniform(least, most))

    def _restart(self, program: Program) -> None:
        self._note("restart", program)
        program.start()
        if program.port:
            program.ready()

    def _victim(self) -> Program:
        return self.dice.choice(self.stage.frontends[SPARED + 1 :])

    def _kill_frontend(self) -> None:
        victim = self._victim()
        self._note("kill", victim)
        victim.kill()
        self._pause(0.0, 3.0)
        self._restart(victim)

    def _drain_frontend(self) -> None:
        victim = self._victim()
        self._note("drain", victim)
        if victim.end() != 0:
            self.trouble.append(f"{victim.name} didn't drain in time or ended badly")
        self._restart(victim)

    def _stop_frontend(self) -> None:
        self._halt(self.dice.choice(self.stage.frontends), 0.5 * LEASE, 3 * LEASE)

    def _halt(self, program: Program, least: float, most: float) -> None:
        self._note("stop", program)
        program.signal(signal.SIGSTOP)
        self._pause(least, most)
        program.signal(signal.SIGCONT)

    def _kill_redis(self, *, empty: bool) -> None:
        redis = self.stage.redis
        self._note("kill and empty" if empty else "kill", redis)
        redis.kill()
        self._pause(0.0, 3.0)
        if empty:
            self.stage.empty_redis()
        self._restart(redis)

    def _hurt_s3(self) -> None:
        if self.stage.s3 is None:
            self._kill_frontend()
        elif self.dice.random() < 0.6:
            self._note("kill", self.stage.s3)
            self.stage.s3.kill()
            self._pause(0.0, 3.0)
            self._restart(self.stage.s3)
        else:
            self._halt(self.stage.s3, 0.5, 5.0)

    def _kill_collector(self) -> None:
        victim = self.dice.choice(self.stage.collectors)
        self._note("kill", victim)
        self.stage.restart(victim)
