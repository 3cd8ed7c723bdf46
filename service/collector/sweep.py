"""The passes over the store, in order. Blocking.

First the whole store is surveyed, then the brakes are checked, then the passes act. If a pass
fails, that is reported, and the others still run, because each is safe by itself. After a brake,
none runs.
"""

from __future__ import annotations

from holdfast.coordination.growth import GrowthMark
from holdfast.errors import DataLoss, UnsupportedFormat
from holdfast.service.collector.brakes import CollectionBraked, tripped
from holdfast.service.collector.census import Census
from holdfast.service.collector.data import DataSweep
from holdfast.service.collector.deletes import BrokenDeletes
from holdfast.service.collector.leftovers import abort_uploads, sweep_snapshots, sweep_tails
from holdfast.service.collector.reading import RecordsPass
from holdfast.service.collector.records import Burial, Condemnation, pardon
from holdfast.service.collector.report import CollectedKind, Fate
from holdfast.service.collector.retention import tend_markers
from holdfast.service.collector.run import CollectorRun
from holdfast.service.collector.survey import Survey, begin
from holdfast.service.collector.tombstones import remove_tombstones
from holdfast.storage.held import FleetHeld
from holdfast.storage.run_reports import FleetCensus


def sweep_store(run: CollectorRun) -> None:
    """Runs all passes over the store; the report has what went wrong.

    Raises:
        Stopped: the run was told to stop.
    """
    survey = None
    try:
        with run.guarded("looking at the store"):
            survey = _survey(run)
        if survey is not None:
            _act(run, survey)
        with run.guarded("tails"):
            sweep_tails(run)
        with run.guarded("snapshots"):
            sweep_snapshots(run)
        with run.guarded("uploads"):
            abort_uploads(run)
    except CollectionBraked:
        return  # the report says why


def _survey(run: CollectorRun) -> Survey:
    last = _last_census(run)
    survey = begin(run)
    RecordsPass(run, survey)()
    DataSweep(run).sort(survey)
    run.stop_for(tripped(survey.plan, last, run.limits))
    return survey


def _act(run: CollectorRun, survey: Survey) -> None:
    with run.guarded("records"):
        pardon(run, survey.pardon)
        Condemnation(run)(survey.condemn, survey.bury)
        Burial(run)(survey.bury, survey.held)
    with run.guarded("broken-off deletes"):
        BrokenDeletes(run)(survey.marks)
    with run.guarded("data"):
        DataSweep(run)(survey)
    with run.guarded("tombstones"):
        remove_tombstones(run, survey)
    with run.guarded("retention"):
        tend_markers(run, survey)
    run.report.census = _fleet(run, survey)
    if not run.dry:
        with run.guarded("the census"):
            _census(run, survey).write(run.store)
            if run.mark is not None:
                _held(run.mark, survey).write(run.store)


def _held(mark: GrowthMark, survey: Survey) -> FleetHeld:
    return FleetHeld(
        size=survey.held_bytes,
        blobs=survey.held_blobs,
        at=survey.began,
        counter=mark.name,
        mark=mark.bytes,
    )


def _fleet(run: CollectorRun, survey: Survey) -> FleetCensus:
    retained = run.report.tally(CollectedKind.RECORDS, Fate.RETAINED)
    return FleetCensus(
        at=survey.began,
        tenants=survey.held.tenants,
        holds=survey.held.listed,
        blobs=survey.held_blobs,
        size=survey.held_bytes,
        tenant_size=survey.tenant_bytes,
        retained=retained.count,
        retained_size=retained.bytes,
    )


def _last_census(run: CollectorRun) -> Census | None:
    try:
        return Census.read(run.store)
    except (DataLoss, UnsupportedFormat) as error:
        run.report.error("reading the last census", error)
        return None


def _census(run: CollectorRun, survey: Survey) -> Census:
    removed = run.report.count(CollectedKind.RECORDS, Fate.REMOVED)
    return Census(survey.held.listed, survey.records - removed, survey.data, survey.data_bytes)
