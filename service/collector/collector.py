"""One run of the collector: its passes, in order.

    tenants that are gone   their holds are deleted, as their own Deletes would do
    ingests                 those left behind in Redis are dropped, or their commits carried out
    holds, records          unheld records are condemned, then buried after a second listing
    data                    data is listed, then all records are read, then unnamed data deleted
    tails, uploads          those older than G are removed

If a pass fails, that is reported, and the others still run, because each is safe by itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from holdfast.service.collector.ingests import IngestSweep, Knowledge, give_up
from holdfast.service.collector.run import CollectionStopped, CollectorRun
from holdfast.service.collector.sweep import sweep_store
from holdfast.tasks import begin, wait_for_end


async def collect_once(
    run: CollectorRun, knowledge: Knowledge, tenants_gone: tuple[str, ...] = ()
) -> None:
    """Runs all passes; the run's report has what went wrong.

    Args:
        run: what the passes share.
        knowledge: acts on Redis, and on holds, as a frontend would.
        tenants_gone: tenants whose holds and ingests are given up.
    """
    try:
        for tenant in tenants_gone:
            with run.guarded(f"giving up what {tenant} has", "giving up what a tenant has"):
                await give_up(run, knowledge, tenant)
        with run.guarded("ingests"):
            await IngestSweep(run, knowledge)()
        mark = None
        with run.guarded("reading how the fleet has grown"):
            mark = await knowledge.growth.mark()
        await _in_a_thread(replace(run, mark=mark))
    except CollectionStopped as stop:
        run.report.error("stopped", stop)
    finally:
        run.report.doing = ""


async def _in_a_thread(run: CollectorRun) -> None:
    """Sweeps the store; if this is cancelled, it stops the sweep and waits for its end."""
    work = begin(asyncio.to_thread(sweep_store, run))
    try:
        await wait_for_end(work)
    except asyncio.CancelledError:
        run.stop.set()
        await asyncio.wait([work])
        raise
