"""The names of everything that Holdfast keeps in the object store.

data/<uuid7>                                the bytes of one ingest
blobs/<algorithm>/<hex>                     the record of a digest
holds/<tenant>/<algorithm>/<hex>/<uuid7>    a hold; `….deleting` marks it as being deleted
tails/<uuid7>                               less than a part, of an interrupted stream
snapshots/<tenant>/<uuid7>/<n>, …/complete  what a List has read of a tenant's holds
                                            (storage.snapshots)
tenants/<tenant>/seen, …/missing            when it made a request, since when it is missing
                                            (storage.sightings)
retained/<algorithm>/<hex>/<size>           since when nobody holds the digest (storage.retained)
fleet/ingest-lifetime                       what all frontends agree on (storage.fleet)
fleet/held                                  what all tenants together hold (storage.held)
fleet/reserve-<n>                           room for Delete and gc in a full store (storage.reserve)
scrub/cursor                                how far a scrub has got (service.scrub)
reports/collector, …/scrub, …/expiry        what the last run of each did (storage.run_reports)
collector/census, …/clock, …/known, …/doomed   what one collection passes on to the next
                                            (service.collector)
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Final

from holdfast.digests import Digest
from holdfast.errors import DataLoss, InvalidArgument

DATA: Final = "data/"
RECORDS: Final = "blobs/"
HOLDS: Final = "holds/"
TAILS: Final = "tails/"
SNAPSHOTS: Final = "snapshots/"
TENANTS: Final = "tenants/"
RETAINED: Final = "retained/"
COLLECTOR: Final = "collector/"
FLEET: Final = "fleet/"
REPORTS: Final = "reports/"
DELETING: Final = ".deleting"

_PROPER: Final = re.compile(r"[A-Za-z0-9._=/-]+")
_UUID: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COLLECTED: Final = re.compile(
    f"(?:{DATA}|{TAILS}){_UUID.pattern}|probe/{_UUID.pattern}/{_PROPER.pattern}"
    f"|{SNAPSHOTS}[^/]+/{_UUID.pattern}/[^/]+"
)

NewName = Callable[[], str]


def uuid7(now_ms: int | None = None) -> str:
    """A unique name that sorts by time.

    Source: RFC 9562, section 5.7. `now_ms` is the time in ms since 1970. 74 of the 128 bits
    are random, so names are unique even if clocks disagree.
    """
    moment = time.time_ns() // 10**6 if now_ms is None else now_ms
    bits = secrets.randbits(74)
    value = (moment & (1 << 48) - 1) << 80 | 0x7 << 76 | (bits >> 62) << 64
    value |= 0b10 << 62 | bits & (1 << 62) - 1
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def name_after(name: str) -> str:
    """A name in the form of `uuid7` that sorts after `name`, whichever clock made that one."""
    try:
        moment = int(name[:8] + name[9:13], 16) + 1
    except ValueError:
        moment = 0
    return uuid7(max(moment, time.time_ns() // 10**6))


def proper(key: str) -> bool:
    """Whether a listed key has only characters that we use; other programs may use any."""
    return _PROPER.fullmatch(key) is not None


def collected(key: str) -> bool:
    """Whether a key of data, a tail, a snapshot or a probe has the form that we give to it.

    What has another one isn't ours, even below our prefixes, and collections leave it alone.
    """
    return _COLLECTED.fullmatch(key) is not None


def data_key(name: str) -> str:
    """Where the bytes of one ingest are stored."""
    return DATA + name


def tail_key(name: str) -> str:
    """Where the unfinished part of an interrupted stream is stored."""
    return TAILS + name


def record_key(digest: Digest) -> str:
    """Where the record of a digest is."""
    return f"{RECORDS}{digest.algorithm}/{digest.hex}"


def record_digest(key: str) -> Digest:
    """The digest that a record's key names.

    Raises:
        DataLoss: it isn't the key of a record.
    """
    try:
        algorithm, digits = key.removeprefix(RECORDS).split("/")
        return Digest(algorithm, digits)
    except (ValueError, InvalidArgument) as error:
        raise DataLoss(
            f"object {key} has a name that no record of this version has: a newer version or "
            "another program wrote it"
        ) from error


def seen_key(tenant: str) -> str:
    """The object that frontends write while a tenant makes requests."""
    return f"{TENANTS}{tenant}/seen"


def missing_key(tenant: str) -> str:
    """The object that is written when a tenant is first found to be missing."""
    return f"{TENANTS}{tenant}/missing"


def tenant_prefix(tenant: str) -> str:
    """The prefix of all holds of one tenant."""
    return f"{HOLDS}{tenant}/"


def snapshot_prefix(tenant: str) -> str:
    """The prefix of all snapshots of one tenant's holds."""
    return f"{SNAPSHOTS}{tenant}/"


def hold_prefix(tenant: str, digest: Digest) -> str:
    """The prefix of one tenant's holds on one digest."""
    return f"{HOLDS}{tenant}/{digest.algorithm}/{digest.hex}/"


def hold_digest(key: str) -> Digest:
    """The digest that the key of a hold or of its mark names.

    Raises:
        DataLoss: it isn't the key of a hold.
    """
    try:
        _, _, algorithm, digits, _ = key.split("/")
        return Digest(algorithm, digits)
    except (ValueError, InvalidArgument) as error:
        raise DataLoss(f"object {key} has a name that no hold has; remove it") from error
