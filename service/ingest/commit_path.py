"""What carrying out commits takes: of a frontend, or of a collector that ends what others began."""

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
