"""The passes over the store, in their order. Blocking."""

from __future__ import annotations

from service.collector.data import DataSweep
from service.collector.deletes import BrokenDeletes
from service.collector.leftovers import abort_uploads, sweep_tails
from service.collector.records import Burial, Condemnation, list_holds
from service.collector.run import Run


def sweep_store(run: Run) -> None:
    """Runs all passes over the store; what went wrong is in the report.

    Raises:
        Stopped: the run was told to stop.
    """
    marks, held = run.spools.new(), None
    with run.guarded("records"):
        held = list_holds(run, marks, count=True)
        candidates = Condemnation(run)(held)
        Burial(run)(candidates)
    with run.guarded("broken-off deletes"):
        BrokenDeletes(run)(marks)
    with run.guarded("data"):
        DataSweep(run)(held)
    with run.guarded("tails"):
        sweep_tails(run)
    with run.guarded("uploads"):
        abort_uploads(run)
