"""Runs a flow once undisturbed, and then with every fault at every request that it made."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from grpc import StatusCode
from grpc.aio import AioRpcError

from tests.faults.flows import Flow
from tests.faults.pauses import Pauses
from tests.faults.plans import Point, Strike
from tests.faults.stage import (
    PATIENT,
    RETRIED,
    Ground,
    check_books,
    check_end,
    check_nothing_half,
    persist,
    settle,
    staged,
)

ABREAST = 4
"""Concurrent runs: they mostly wait, for a delayed request or for a lease to expire."""
ALSO = {
    "full": StatusCode.RESOURCE_EXHAUSTED,
    "oom": StatusCode.RESOURCE_EXHAUSTED,
    "corrupt": StatusCode.DATA_LOSS,
}
"""Codes that a client may get after some faults, besides UNAVAILABLE and ABORTED."""
ACT_DEADLINE = 25.0
"""Seconds after which a flow counts as hung; its RPCs end by themselves before that."""
BY_TIMER = "progress"
"""In the kind of requests that a timer makes: a run may end before the timer fires."""
STRIKE_ATTEMPTS = 4
"""How often a run is tried until it makes the request that is to be struck."""
UNDISTURBED_ATTEMPTS = 5
"""How often a run without a fault is tried if the machine pauses."""


@dataclass
class Count:
    """What one enumeration did."""

    points: int = 0
    runs: int = 0
    refused: int = 0
    missed: list[Strike] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)


async def enumerate_faults(
    flow: Flow,
    ground: Ground,
    folder: Path,
    *,
    chosen: Callable[[Strike], bool] = lambda _: True,
    swept: bool = True,
    abreast: int = ABREAST,
) -> Count:
    """Runs a flow with every chosen fault at every request.

    Raises:
        AioRpcError: it is refused although nothing disturbs it.
        ExceptionGroup: the runs that went wrong, each with its fault.
    """
    await _undisturbed(flow, ground, folder, swept=swept)  # Redis learns the scripts
    points = await _undisturbed(flow, ground, folder, swept=swept)
    count = Count(points=len(points))
    slots = asyncio.Semaphore(abreast)
    wrong: list[Exception] = []

    async def one(strike: Strike) -> None:
        async with slots:
            try:
                await _run(flow, ground, folder, strike, count, swept=swept)
            except Exception as error:  # noqa: BLE001 -- all that goes wrong is told together
                error.add_note(f"{flow.name}: {strike}")
                wrong.append(error)

    strikes = [s for s in _strikes(points, ground) if chosen(s)]
    await asyncio.gather(*(one(strike) for strike in strikes))
    # On a slow machine a stream may lose its lease before it makes the request that should
    # be struck. Such a run shows nothing, so another one is made.
    for _ in range(STRIKE_ATTEMPTS - 1):
        missed, count.missed = count.missed, []
        for strike in missed:
            await one(strike)
    # How often a run deletes, or begins an unneeded upload, depends on timing. A request that
    # another undisturbed run doesn't make is no part of the flow.
    for _ in range(STRIKE_ATTEMPTS if count.missed else 0):
        made = await _undisturbed(flow, ground, folder, swept=swept)
        count.missed = [strike for strike in count.missed if strike.point in made]
    if wrong:
        raise ExceptionGroup(f"{flow.name}: {len(wrong)} of {len(strikes)} runs went wrong", wrong)
    return count


def _strikes(points: Sequence[Point], ground: Ground) -> list[Strike]:
    return [
        Strike(point, fault, times)
        for point in points
        for fault, times in ground.strikes(point.kind)
    ]


async def _undisturbed(flow: Flow, ground: Ground, folder: Path, *, swept: bool) -> list[Point]:
    """Runs a flow that must be answered with OK; returns the requests that it made.

    A refusal is a failure, unless this process was paused so long that a sound request ran out
    of time.
    """
    for _ in range(UNDISTURBED_ATTEMPTS - 1):
        async with Pauses() as pauses:
            try:
                return await _run(flow, ground, folder, None, Count(), swept=swept)
            except AioRpcError as error:
                if error.code() not in RETRIED or not pauses.seen:
                    raise
    return await _run(flow, ground, folder, None, Count(), swept=swept)


async def _run(
    flow: Flow, ground: Ground, folder: Path, strike: Strike | None, count: Count, *, swept: bool
) -> list[Point]:
    settings = {} if strike else PATIENT
    async with staged(ground, secrets.token_hex(5), strike, folder, **settings) as stage:
        await persist(lambda: flow.prepare(stage))
        promised = dict(stage.held)
        heard: StatusCode | None = None
        stage.plan.arm()
        try:
            async with asyncio.timeout(ACT_DEADLINE):
                await flow.act(stage)
        except AioRpcError as error:
            heard = error.code()
            if strike is None or heard not in {*RETRIED, ALSO.get(strike.fault)}:
                raise
        await settle(stage.struck)
        stage.plan.lift()
        if heard:
            await check_nothing_half(stage, promised)
        elif not flow.name.startswith("suspend"):
            await check_books(stage, stage.clean, stage.held)
        await flow.finish(stage)
        await check_end(stage, swept=swept)
        count.runs += 1
        count.refused += heard is not None
        if strike:
            count.codes[heard.name if heard else "OK"] += 1
        # A run that was refused before it reached the point, for lack of time, proves nothing.
        shown = not strike or heard or stage.plan.fired or BY_TIMER in strike.point.kind
        if strike and not shown:
            count.missed.append(strike)
        return stage.plan.points
