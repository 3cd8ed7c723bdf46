"""One run of the collector: its passes, in their order.

    tenants that are gone   give up their holds, as they would themselves
    ingests                 left behind in Redis; frozen commits are carried out
    holds, records          condemned, then buried by a second listing
    data                    listed, then all records read, then deleted
    tails, uploads          older than G

A pass that fails is told of, and the others run: each is safe by itself.
"""

from __future__ import annotations

import asyncio

from holdfast.service.collector.ingests import IngestSweep, Knowledge, give_up
from holdfast.service.collector.run import Run, Stopped
from holdfast.service.collector.sweep import sweep_store
from holdfast.tasks import begin, wait_for_end


async def collect_once(run: Run, knowledge: Knowledge, tenants_gone: tuple[str, ...] = ()) -> None:
    """Runs all passes; what went wrong is in the run's report.

    Args:
        run: what its passes share.
        knowledge: of Redis.
        tenants_gone: whose holds and ingests are given up.
    """
    try:
        for tenant in tenants_gone:
            with run.guarded(f"giving up what {tenant} has"):
                await give_up(run, knowledge, tenant)
        with run.guarded("ingests"):
            await IngestSweep(run, knowledge)()
        await _in_a_thread(run)
    except Stopped as stop:
        run.report.error("stopped", stop)
    finally:
        run.report.doing = ""


async def _in_a_thread(run: Run) -> None:
    """Sweeps the store; if this is cancelled, the sweep is told to stop, and waited for."""
    work = begin(asyncio.to_thread(sweep_store, run))
    try:
        await wait_for_end(work)
    except asyncio.CancelledError:
        run.stop.set()
        await asyncio.wait([work])
        raise
