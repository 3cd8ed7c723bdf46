"""A frozen commit: all that a commit will write, as its ingest in Redis has it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.coordination.ingest import Ingest, StoredPart
from holdfast.digests import Digest
from holdfast.errors import DataLoss, InvalidArgument, UnsupportedFormat, shorten
from holdfast.storage.documents import LARGEST, is_text
from holdfast.storage.holds import Hold
from holdfast.storage.keys import record_key
from holdfast.storage.own_data import NEVER_SEEN, Sight
from holdfast.storage.port import Part
from holdfast.storage.records import Record

FORMAT: Final = 1
BROKEN: Final = (
    *(KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError),
    InvalidArgument,
)
"""What reading a damaged commit raises."""


@dataclass(frozen=True, slots=True)
class FrozenCommit:
    """All that a commit will write.

    Attributes:
        record: the live record, which names the bytes and has the commit's nonce.
        labels: of the hold.
        now_ns: the hold's times, in ns since 1970.
        hold_nonce: of the hold; a process that carries the commit out again knows the hold by it.
        sure: whether no other commit of the digest by this tenant was under way.
        upload_id: of the upload to complete; "" if the bytes are one object, or inline.
        parts: the parts from which to complete it.
        complete: whether the bytes are known to be complete already.
        begun: when the data key was first used, in s by the store's clock.
        sight: when this process saw the bytes complete, and their ETag.
    """

    record: Record
    labels: Mapping[str, str]
    now_ns: int
    hold_nonce: str
    sure: bool = True
    upload_id: str = ""
    parts: tuple[Part, ...] = ()
    complete: bool = False
    begun: float | None = None
    sight: Sight = NEVER_SEEN

    def hold(self) -> Hold:
        """The hold that it makes; that of an unsure commit has no labels yet."""
        labels = self.labels if self.sure else {}
        return Hold(
            digest=self.record.digest,
            size=self.record.size,
            created_at_ns=self.now_ns,
            updated_at_ns=self.now_ns,
            labels=labels,
            labelled_at_ns=self.now_ns if labels else 0,
            nonce=self.hold_nonce,
        )

    def encode(self) -> str:
        """The text that the ingest stores; the ingest has the parts and the upload already."""
        document = {
            "format": FORMAT,
            "record": self.record.encode().decode(),
            "labels": dict(self.labels),
            "now": self.now_ns,
            "hold": self.hold_nonce,
            "sure": self.sure,
            "begun": self.begun,
            "etag": self.sight.etag,
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def decode(cls, ingest: Ingest) -> FrozenCommit:
        """The commit of a frozen ingest.

        Raises:
            UnsupportedFormat: a newer version has frozen it.
            DataLoss: it is damaged.
        """
        try:
            document = json.loads(ingest.frozen)
            if document["format"] > FORMAT:
                raise UnsupportedFormat(
                    f"ref {shorten(ingest.ref)} has a commit of format {document['format']} under "
                    f"way; this frontend knows up to {FORMAT}: write through a frontend of a newer "
                    "version"
                )
            body = document["record"].encode()
            digest_key = record_key(_digest(json.loads(body)))
            return cls(
                record=Record.decode(digest_key, body),
                labels=_labels(document["labels"]),
                now_ns=_whole(document["now"]),
                hold_nonce=str(document["hold"]),
                sure=bool(document["sure"]),
                upload_id=ingest.upload_id,
                parts=tuple(stored_parts(ingest)),
                complete=ingest.sealed,
                begun=None if document["begun"] is None else _finite(document["begun"]),
                sight=Sight(etag=str(document.get("etag", ""))),
            )
        except BROKEN as error:
            raise DataLoss(
                f"ref {shorten(ingest.ref)} has a commit under way that can't be read "
                f"({shorten(repr(error))})"
            ) from error


def _digest(document: Mapping[str, str]) -> Digest:
    return Digest.parse(document["digest"])


def _labels(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(map(is_text, [*value, *value.values()])):
        raise ValueError("its labels aren't texts")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise ValueError(f"{shorten(value)} isn't a time in ns")
    return value


def _finite(value: float) -> float:
    seconds = float(value)
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} isn't a time")
    return seconds


def stored_parts(ingest: Ingest) -> list[Part]:
    """An ingest's parts, in the form that a completion needs."""
    return as_stored(ingest.parts)


def as_stored(parts: Sequence[StoredPart]) -> list[Part]:
    """Checkpointed parts, in the form that a completion needs."""
    return [Part(n, p.etag, p.size, p.block_sums) for n, p in enumerate(parts, start=1)]
