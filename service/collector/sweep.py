"""The passes over the store, in order. Blocking.

First the whole store is surveyed, then the brakes are checked, then the passes act. If a pass
fails, that is reported, and the others still run, because each is safe by itself. After a brake,
none runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.coordination.growth import GrowthMark
from holdfast.errors import DataLoss, UnsupportedFormat
from holdfast.service.collector.brakes import BrakeReason, CollectionBraked, Tripped, tripped
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
from holdfast.service.collector.tombstones import removable, remove_tombstones
from holdfast.storage.held import FleetHeld
from holdfast.storage.port import Condition
from holdfast.storage.run_reports import FleetCensus


@dataclass(frozen=True, slots=True)
class Last:
    """What the last run has left to be compared with.

    Attributes:
        census: None if there is none that can be read.
        condition: under which it is still the last one; None: any, since it can't be read.
    """

    census: Census | None = None
    condition: Condition | None = None


def sweep_store(run: CollectorRun) -> None:
    """Runs all passes over the store; the report has what went wrong.

    Raises:
        Stopped: the run was told to stop.
    """
    survey, last = None, Last()
    try:
        with run.guarded("looking at the store"):
            last = _last_census(run)
            survey = _survey(run, last.census)
        if survey is not None:
            _act(run, survey, last.condition)
        with run.guarded("tails"):
            sweep_tails(run)
        with run.guarded("snapshots"):
            sweep_snapshots(run)
        with run.guarded("uploads"):
            abort_uploads(run)
    except CollectionBraked:
        return  # the report says why


def _survey(run: CollectorRun, last: Census | None) -> Survey:
    survey = begin(run)
    RecordsPass(run, survey)()
    DataSweep(run).sort(survey)
    run.stop_for(_tripped(run, survey, last))
    return survey


def _tripped(run: CollectorRun, survey: Survey, last: Census | None) -> Sequence[Tripped]:
    found = list(tripped(survey.plan, last, run.limits))
    if any(one.brake in {BrakeReason.HOLDS, BrakeReason.RECORDS} for one in found):
        # A run beside this one may have removed them since this one began, and has said so.
        last = _last_census(run).census or last
        found = list(tripped(survey.plan, last, run.limits))
    return found


def _act(run: CollectorRun, survey: Survey, unchanged: Condition | None) -> None:
    with run.guarded("records"):
        pardon(run, survey.pardon)
        Condemnation(run)(survey.condemn, survey.bury)
        Burial(run)(survey.bury, survey.held)
    with run.guarded("broken-off deletes"):
        BrokenDeletes(run)(survey.marks)
    with run.guarded("data"):
        DataSweep(run)(survey)
    with run.guarded("the census"):
        # It is written first: a run that died between the two would stop all later ones.
        going = removable(run, survey)
        if not run.dry:
            _census(survey, going).write(run.store, unchanged)
        if going:
            with run.guarded("tombstones"):
                remove_tombstones(run, survey)
    with run.guarded("retention"):
        tend_markers(run, survey)
    run.report.census = _fleet(run, survey)
    if run.mark is not None and not run.dry:
        with run.guarded("what the fleet holds"):
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


def _last_census(run: CollectorRun) -> Last:
    try:
        return Last(*Census.read(run.store))
    except (DataLoss, UnsupportedFormat) as error:
        run.report.error("reading the last census", error)
        return Last()


def _census(survey: Survey, going: int) -> Census:
    listed = survey.records - going
    return Census(survey.held.listed, listed, survey.data, survey.data_bytes)
