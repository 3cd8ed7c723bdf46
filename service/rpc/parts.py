"""The parts of a frontend that the RPCs use."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.coordination.ingests import Ingests
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.holdings.presence import Presence
from holdfast.service.holdings.warming import Warming
from holdfast.service.ingest.commit import Commits
from holdfast.service.ingest.flights import FlightGate
from holdfast.service.ingest.intake import Intake
from holdfast.service.ingest.sessions import Sessions
from holdfast.service.overview.fleet import FleetOverview
from holdfast.service.overview.traffic import Traffic
from holdfast.service.process.background import Background
from holdfast.service.process.frontend_metrics import FrontendMetrics
from holdfast.service.reading.reader import Reader
from holdfast.service.rpc.accounts import Accounts
from holdfast.service.rpc.outflow import Outflow
from holdfast.service.rpc.overload import Overload
from holdfast.service.rpc.rates import Rates
from holdfast.service.trust.audit import AuditLog
from holdfast.service.trust.recognizers import Recognizers


@dataclass(frozen=True, slots=True)
class Frontend:
    """The parts that the RPCs use. `call_deadline` is in seconds, for RPCs that move no bytes.

    `flights` is None if tenants don't wait for one another's writes.
    """

    catalogue: Catalogue
    reader: Reader
    ingests: Ingests
    commits: Commits
    sessions: Sessions
    flights: FlightGate | None
    warming: Warming
    presence: Presence
    intake: Intake
    outflow: Outflow
    overload: Overload
    rates: Rates
    traffic: Traffic
    overview: FleetOverview
    background: Background
    metrics: FrontendMetrics
    recognizers: Recognizers
    audit: AuditLog
    accounts: Accounts
    call_deadline: float
    connection_age: float
