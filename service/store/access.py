"""Puts together all ways in which the loop asks one object store.

a body      → counted → has an upload slot → a thread
quick calls → the loop, or a thread
all others  → a thread
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from holdfast.clocks import uptime
from holdfast.digests import Digest
from holdfast.errors import DataLoss, because
from holdfast.request_counts import RequestCounts
from holdfast.service.process.frontend_metrics import FrontendMetrics
from holdfast.service.process.workers import Workers
from holdfast.service.store.blobs import AsyncBlobs
from holdfast.service.store.counting import Counting
from holdfast.service.store.fleet_held import AsyncFleetHeld
from holdfast.service.store.hold_sizes import HoldSizes
from holdfast.service.store.holds import AsyncHolds
from holdfast.service.store.pairing import AsyncPaired
from holdfast.service.store.port import AsyncStore, Sender
from holdfast.service.store.records import AsyncRecords
from holdfast.service.store.retained import AsyncRetained
from holdfast.service.store.slots import Slots
from holdfast.service.store.snapshots import AsyncSnapshots
from holdfast.service.store.tenants import AsyncTenants
from holdfast.service.store.threads import Threads
from holdfast.service.store.upload_slots import UploadSlots
from holdfast.storage.blobs import Blobs
from holdfast.storage.damage import KnownDamage
from holdfast.storage.holds import Holds
from holdfast.storage.kept_holds import KeptHolds
from holdfast.storage.keys import uuid7
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import Records, new_nonce
from holdfast.storage.retained import Retained
from holdfast.storage.sightings import Sightings
from holdfast.storage.snapshots import Snapshots

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """One object store, as the loop asks it.

    Attributes:
        requests: requests about single objects.
        sender: sends bodies, each in its slot.
        records: the records of digests.
        blobs: what tenants hold, in the order that commits need.
        holds: the holds of tenants.
        hold_sizes: what tenants hold, and how large it is.
        snapshots: of what tenants hold.
        retained: since when nobody holds blobs.
        tenants: which there are.
        paired: which Redis the store is used with.
        fleet_held: what all tenants held together when a collection looked.
        request_counts: the requests to it, counted.
    """

    requests: AsyncStore
    sender: Sender
    records: AsyncRecords
    blobs: AsyncBlobs
    holds: AsyncHolds
    hold_sizes: HoldSizes
    snapshots: AsyncSnapshots
    retained: AsyncRetained
    tenants: AsyncTenants
    paired: AsyncPaired
    fleet_held: AsyncFleetHeld
    request_counts: RequestCounts


def access(
    store: ObjectStore,
    workers: Workers,
    slots: UploadSlots,
    damage: KnownDamage,
    metrics: FrontendMetrics,
    *,
    list_budget: int,
    crowded: Callable[[str, Digest], None],
) -> StoreAccess:
    """Puts the access to a store together; it asks for nothing yet.

    Args:
        store: the blocking store.
        workers: run its calls.
        slots: of the bodies that are sent.
        damage: bytes that must not be relied on, whatever their record says.
        metrics: counts what is stored and what is damaged.
        list_budget: bytes of holds that are kept in memory.
        crowded: called, where the call runs, if a tenant has many holds on a digest.
    """
    requests = Threads(store, workers, metrics.misread)
    records, snapshots = Records(store), Snapshots(store, new_nonce)
    kept, damaged = KeptHolds(list_budget), _counting(metrics)
    holds = Holds(store, uuid7, new_nonce, kept, damaged, crowded=crowded)
    blobs = Blobs(store, records, holds, new_nonce, uptime, damage=damage)
    return StoreAccess(
        requests=requests,
        sender=Counting(Slots(requests, slots), metrics.bytes_stored, metrics.part_stored),
        records=AsyncRecords(records, workers, new_nonce),
        blobs=AsyncBlobs(blobs, workers),
        holds=AsyncHolds(holds, workers, snapshots),
        hold_sizes=HoldSizes(holds, workers),
        snapshots=AsyncSnapshots(snapshots, workers),
        retained=AsyncRetained(Retained(store), workers),
        tenants=AsyncTenants(store, Sightings(store, new_nonce), workers),
        paired=AsyncPaired(store, workers),
        fleet_held=AsyncFleetHeld(store, workers),
        request_counts=store.request_counts,
    )


def _counting(metrics: FrontendMetrics) -> Callable[[DataLoss], None]:
    def damaged(error: DataLoss) -> None:
        metrics.hold_damaged()
        log.warning("damaged hold skipped", reason=because(error))

    return damaged
