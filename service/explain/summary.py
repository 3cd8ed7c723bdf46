"""What becomes of a blob, in one sentence."""

from __future__ import annotations

from holdfast.digests import Digest
from holdfast.service.explain.blob import DAMAGED, UNSUPPORTED, StoredBlob
from holdfast.storage.records import State

STATES = {
    State.LIVE: "is live",
    State.CONDEMNED: "is condemned: it can be read, and goes unless somebody holds it",
    State.TOMBSTONE: "was buried: its bytes are dead, and a commit brings new ones",
    State.CORRUPT: "is corrupt: nobody reads it until its content is committed again",
    DAMAGED: "has a record that is damaged: nobody reads it until its content is committed again",
    UNSUPPORTED: "has a record that a newer version has written",
}
ABSENT = "has no record"


def summary(digest: Digest, stored: StoredBlob, ingests: int, *, some: bool) -> str:
    """Returns the sentence.

    Args:
        digest: of the blob.
        stored: what the store has of it.
        ingests: how many write it.
        some: whether only some tenants were looked at.
    """
    record, data, holders = stored.record, stored.data, stored.holders.facts
    if record is None and not holders.tenants and not ingests:
        who = " of these tenants'" if some else ""
        return f"{digest} isn't known: there is no record of it, and no hold{who}"
    state = ABSENT if record is None else STATES[record.state]
    parts = [f"{digest} {state}"]
    if record is not None and not record.inline and data is not None:
        if not data.there and record.state != State.TOMBSTONE:
            parts.append("but its data is missing")
        elif data.there and data.size != data.expected:
            parts.append(f"but its data has {data.size} bytes instead of {data.expected}")
    count = holders.tenants
    who = "these tenants" if some else "anybody"
    if count:
        parts.append(f"held by {count:,} tenant{'s' if count > 1 else ''}")
        if record is None:
            parts.append("so a commit is under way, or has died before its record")
    else:
        parts.append(f"not held by {who}")
    if stored.markers and not count:
        parts.append("retained")
    if ingests:
        parts.append(f"being written {ingests:,} time{'s' if ingests > 1 else ''}")
    return ", ".join(parts)
