"""The parts that commits need, in a frontend or in a collector that ends what others began."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from holdfast.coordination.ingests import Ingests
from holdfast.service.holdings.absences import Absences
from holdfast.service.ingest.upload_slots import UploadSlots
from holdfast.service.process.background import Background
from holdfast.service.process.workers import Workers
from holdfast.storage.blobs import Blobs
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import Records


@dataclass(frozen=True, slots=True)
class CommitPath:
    """The parts from which commits are put together.

    Attributes:
        store: has the data objects.
        records: the records of digests.
        blobs: writes records and holds in the order that commits need.
        ingests: the ingests in Redis.
        absences: learns which digests are live now.
        workers: run calls that block.
        background: runs work that no client waits for.
        upload_slots: limit the bodies that are sent to the store at once.
        ingest_lifetime: seconds from the first use of a data key to the record (L).
        clock: in s; it is never set back, and also runs while the machine is suspended.
        stored: counts bytes that were sent to the store.
    """

    store: ObjectStore
    records: Records
    blobs: Blobs
    ingests: Ingests
    absences: Absences
    workers: Workers
    background: Background
    upload_slots: UploadSlots
    ingest_lifetime: float
    clock: Callable[[], float]
    stored: Callable[[int], None]
