"""Targets: what buckets and Redis keep, as other programs may have written it."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from typing import Any, Final

import crc32c

from holdfast.coordination.ingest import Ingest, StoredPart
from holdfast.digests import Digest
from holdfast.errors import DataLoss, UnsupportedFormat
from holdfast.service.collector.census import Census
from holdfast.service.collector.doomed import Doom
from holdfast.service.collector.known import Known
from holdfast.service.collector.lines import sealed
from holdfast.service.ingest.frozen import FrozenCommit
from holdfast.service.ingest.hashing import load_hash, new_hash
from holdfast.service.rpc import messages
from holdfast.service.scrub.cursor import Cursor
from holdfast.storage import documents, pairing, sightings, snapshots
from holdfast.storage.held import FleetHeld
from holdfast.storage.holds import Hold
from holdfast.storage.keys import hold_prefix, record_key
from holdfast.storage.records import Record, State
from holdfast.values import Info
from tests.fuzz.target import Target
from tests.fuzz.texts import of_text

DIGEST: Final = Digest.of(b"hello world")
INLINE: Final = b"hello world"
RECORD: Final = Record(
    DIGEST, State.LIVE, 11, 1, "data/name", b"\xc9\x94\x65\x96", "0" * 32, INLINE
)
LARGE: Final = Record(DIGEST, State.CONDEMNED, 9 * 2**20, 1, "data/name", bytes(12), "1" * 32)
LABELS: Final = {"containerd.io/gc.root": "2026", "ü": "\U0001f600"}
HOLD: Final = Hold(DIGEST, 11, 1, 2, LABELS, 2, "2" * 32)
HOLD_KEY: Final = hold_prefix("a", DIGEST) + "name"
Check = Callable[[bytes], None]


def resealed(data: bytes) -> bytes:
    """A document with the right sum."""
    head = re.sub(rb',"sum":"[^"]*"\}$', b"", data)
    return head + documents._seal(head)


def of_documents(name: str, corpus: list[bytes], check: Check) -> Target:
    """A target that reads documents."""
    words = (b'"format":2', b'"size":-1', b'"labels":{}', b'"inline":""', b'"state":"live"', b"1.5")
    return Target(name, tuple(corpus), check, words, resealed)


def decoded(read: Callable[[], Any]) -> Any:
    """What is read; None if it is refused as documents are."""
    try:
        return read()
    except (DataLoss, UnsupportedFormat):
        return None


def read_record(data: bytes) -> None:
    """A record is written and read as the same record."""
    found = decoded(lambda: Record.decode(record_key(DIGEST), data))
    if found is not None:
        assert Record.decode(record_key(DIGEST), found.encode()) == found
        assert found.readable in {True, False}


def read_hold(data: bytes) -> None:
    """A hold is written and read as the same hold, and can be shown to a client."""
    found = decoded(lambda: Hold.decode(HOLD_KEY, data))
    if found is not None:
        assert Hold.decode(HOLD_KEY, found.encode()) == found
        shown = Info(
            found.digest, found.size, found.created_at_ns, found.updated_at_ns, found.labels
        )
        messages.info(shown).SerializeToString()


def read_others(data: bytes) -> None:
    """The other documents are read, or refused."""
    cursor = decoded(lambda: Cursor.decode("scrub/cursor", data))
    if cursor is not None:
        assert Cursor.decode("scrub/cursor", cursor.encode()) == cursor
    decoded(lambda: Census._decode("collector/census", data))
    decoded(lambda: pairing._decode("fleet/redis", data))
    decoded(lambda: FleetHeld.decode("fleet/held", data))
    decoded(lambda: sightings._seen("tenants/a/missing", data))
    decoded(lambda: snapshots._begins("snapshots/a/b/complete", data))


def read_chunk(data: bytes) -> None:
    """A chunk of a snapshot has lines, or is damaged."""
    decoded(lambda: snapshots.unpacked("snapshots/a/b/000000", data))


def rechunked(data: bytes) -> bytes:
    """A chunk of these lines, with the right sum; now and then the stream itself is changed."""
    body = zlib.compress(data, 1) if len(data) % 7 else data
    return b"%08x" % crc32c.crc32c(body) + body


def read_line(data: bytes) -> None:
    """A line that one run leaves to the next is read, or counts as damaged."""
    known = Known.decode(data)
    if known is not None:
        assert Known.decode(known.encode()) == known
    doom = Doom.of_line(data.partition(b" ")[2], 1.0)
    if doom is not None:
        assert Doom.decode(doom.encode()) == doom


def resealed_line(data: bytes) -> bytes:
    """A line with the right sum."""
    runs, _, line = data.partition(b" ")
    text = line.rpartition(b" ")[0]
    return runs + b" " + b"%s %08x" % (text, crc32c.crc32c(text))


STORED: Final = {
    "data_key": "data/name",
    "offset": "11",
    "live": "12",
    "total": "20",
    "started_at": "1",
    "updated_at": "2",
    "crc": "3",
    "begun": "1.5",
    "tail_sums": "00ff",
    "hash": new_hash("sha256").save(),
    "frozen": FrozenCommit(RECORD, {"a": "b"}, 1, "3" * 32, begun=1.5).encode(),
}
PARTS: Final = [StoredPart("etag", 8 * 2**20, bytes(8)).encode()]


def read_ingest(data: bytes) -> None:
    """What Redis has of an ingest is read, or damaged; a commit in it can be written again."""
    try:
        stored = json.loads(data)
        fields = {str(name): str(value) for name, value in stored[0].items()}
        parts = [str(part) for part in stored[1]]
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
        return  # it isn't a reply of Redis
    ingest = decoded(lambda: Ingest.decode("ref", fields, parts))
    if ingest is None:
        return
    messages.status(ingest.status(ingest.offset)).SerializeToString()
    if ingest.hash:
        loaded = decoded(lambda: load_hash(ingest.hash))
        if loaded is not None:
            assert loaded.save() == load_hash(loaded.save()).save()  # type: ignore[union-attr]
    commit = decoded(lambda: FrozenCommit.decode(ingest))
    if commit is not None:
        commit.encode()
        commit.hold().encode()
        assert commit.begun is None or commit.begun + 1.0
        [part.number for part in commit.parts]


def read_frozen(text: str) -> None:
    """A commit in Redis is read, or damaged."""
    ingest = Ingest("ref", "data/name", frozen=text)
    commit = decoded(lambda: FrozenCommit.decode(ingest))
    if commit is not None:
        again = FrozenCommit.decode(Ingest("ref", "data/name", frozen=commit.encode()))
        assert again == commit
        assert decoded(lambda: Hold.decode(HOLD_KEY, commit.hold().encode())) == commit.hold()


CURSOR: Final = Cursor(1.5, DIGEST, counts={"records": 3}, found={"digest": 1}, marks=[1, 2])
OTHERS: Final[list[dict[str, Any]]] = [
    {"format": 2, "holds": 1, "records": 2, "data": 3, "data_bytes": 4, "nonce": "0"},
    {"format": 2, "store": "s", "redis": "r", "place": "p", "by": "b", "nonce": "0"},
    {"format": 2, "seen": "etag", "nonce": "0"},
    {"format": 2, "begins": ["sha256/0/a", "sha256/1/b"], "holds": 2, "nonce": "0"},
]
LINE: Final = b"2 " + sealed(f"sha256-{DIGEST.hex} etag live 11 data/name")
DOOM: Final = b"1 " + sealed(Doom("data/name", 11, 1.5).encode())

STORED_VALUES: Final = [
    of_documents("record", [RECORD.encode(), LARGE.encode()], read_record),
    of_documents("hold", [HOLD.encode()], read_hold),
    of_documents("document", [CURSOR.encode(), *map(documents.encode, OTHERS)], read_others),
    Target("snapshot", (b"sha256/00/a etag {}\nsha256/11/b etag {}",), read_chunk, seal=rechunked),
    Target("line", (LINE, DOOM), read_line, (b"new", b"live"), seal=resealed_line),
    Target("ingest", (json.dumps([STORED, PARTS]).encode(),), read_ingest),
    of_text("frozen", [STORED["frozen"]], read_frozen),
]
