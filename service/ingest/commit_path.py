"""What carrying out commits takes: of a frontend, or of a collector that ends what others began."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coordination.ingests import Ingests
from service.holdings.absences import Absences
from service.ingest.upload_slots import UploadSlots
from service.process.background import Background
from service.process.workers import Workers
from storage.blobs import Blobs
from storage.port import ObjectStore
from storage.records import Records


@dataclass(frozen=True, slots=True)
class CommitPath:
    """The parts that commits are put together from.

    Attributes:
        store: where data objects are.
        records: of digests.
        blobs: records and holds, in the order that commits need.
        ingests: in Redis.
        absences: told of what there is now.
        workers: for what blocks.
        background: for what nobody waits for.
        upload_slots: for bodies on their way to the store.
        ingest_lifetime: seconds from the first use of a data key to the record (L).
        clock: never set back, in s, those of a suspended machine included.
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
