"""What each kind of program may do in the bucket: the one table from which policies are made.

Only collectors may delete data and records, and of those that serve nobody may ask not to retain
a blob. Whoever may write an object may also overwrite it:
a bucket with versions keeps what was there, see docs/security.md.

Source: "Actions, resources, and condition keys for Amazon S3", Service Authorization Reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from holdfast.programs import Program
from holdfast.storage.fleet import LIFETIME
from holdfast.storage.held import KEY as HELD
from holdfast.storage.keys import (
    COLLECTOR,
    DATA,
    HOLDS,
    RECORDS,
    REPORTS,
    RETAINED,
    SNAPSHOTS,
    TAILS,
    TENANTS,
)
from holdfast.storage.pairing import PAIRED
from holdfast.storage.probe import PREFIX as PROBE
from holdfast.storage.reserve import PREFIX as RESERVE
from holdfast.storage.retained import DROPPED
from holdfast.storage.run_reports import Reporter, key_of


class S3Action(StrEnum):
    """What a policy allows, by its name in S3."""

    GET = "s3:GetObject"
    """GET, HEAD and ranges."""
    PUT = "s3:PutObject"
    """PUT; creating, filling and completing uploads."""
    DELETE = "s3:DeleteObject"
    ABORT = "s3:AbortMultipartUpload"
    PARTS = "s3:ListMultipartUploadParts"
    LIST = "s3:ListBucket"
    LIST_UPLOADS = "s3:ListBucketMultipartUploads"


Actions = tuple[S3Action, ...]
READ: Final[Actions] = (S3Action.GET,)
WRITE: Final[Actions] = (S3Action.GET, S3Action.PUT)
CHANGE: Final[Actions] = (S3Action.GET, S3Action.PUT, S3Action.DELETE)
UPLOAD: Final[Actions] = (S3Action.GET, S3Action.PUT, S3Action.ABORT, S3Action.PARTS)
SEEN: Final = f"{TENANTS}*/seen"
MISSING: Final = f"{TENANTS}*/missing"
CURSOR: Final = "scrub/cursor"
FLEET: Final = "fleet/*"
"""What the fleet says of itself; where all of it may be read, one pattern is shorter."""

OBJECTS: Final[Mapping[Program, Mapping[str, Actions]]] = {
    Program.FRONTEND: {
        f"{DATA}*": UPLOAD,
        f"{RECORDS}*": WRITE,
        f"{HOLDS}*": CHANGE,
        f"{TAILS}*": CHANGE,
        f"{SNAPSHOTS}*": CHANGE,
        SEEN: WRITE,
        MISSING: READ,
        f"{RETAINED}*": (S3Action.PUT,),
        f"{RETAINED}*{DROPPED}": (S3Action.DELETE,),
        LIFETIME: WRITE,
        HELD: READ,
        PAIRED: WRITE,
        f"{REPORTS}*": READ,
        f"{RESERVE}*": (S3Action.PUT, S3Action.DELETE),
        f"{PROBE}*": CHANGE,
    },
    Program.COLLECTOR: {
        f"{DATA}*": (*UPLOAD, S3Action.DELETE),
        f"{RECORDS}*": CHANGE,
        f"{HOLDS}*": CHANGE,
        f"{TAILS}*": (S3Action.DELETE,),
        f"{SNAPSHOTS}*": (S3Action.DELETE,),
        SEEN: READ,
        f"{RETAINED}*": (S3Action.PUT, S3Action.DELETE),
        f"{COLLECTOR}*": CHANGE,
        key_of(Reporter.COLLECTOR): WRITE,
        LIFETIME: READ,
        HELD: (S3Action.PUT,),
        PAIRED: READ,
        f"{RESERVE}*": (S3Action.PUT, S3Action.DELETE),
        f"{PROBE}*": CHANGE,
    },
    Program.SCRUB: {
        f"{DATA}*": READ,
        f"{RECORDS}*": WRITE,
        f"{HOLDS}*": READ,
        LIFETIME: READ,
        CURSOR: CHANGE,
        key_of(Reporter.SCRUB): WRITE,
    },
    Program.ADMIN: {
        f"{DATA}*": UPLOAD,
        f"{RECORDS}*": WRITE,
        f"{HOLDS}*": CHANGE,
        f"{TAILS}*": (S3Action.DELETE,),
        f"{SNAPSHOTS}*": (S3Action.DELETE,),
        SEEN: READ,
        MISSING: CHANGE,
        f"{RETAINED}*{DROPPED}": (S3Action.PUT,),
        f"{COLLECTOR}*": READ,
        key_of(Reporter.EXPIRY): WRITE,
        FLEET: READ,
        f"{RESERVE}*": (S3Action.PUT, S3Action.DELETE),
        f"{PROBE}*": (*CHANGE, S3Action.ABORT, S3Action.PARTS),
    },
}
"""By pattern of keys, what each program may do with the objects."""

DENIED: Final[Mapping[Program, Mapping[str, Actions]]] = {
    Program.FRONTEND: {f"{RETAINED}*{DROPPED}": (S3Action.PUT,)},
}
"""What is refused although a wider pattern of OBJECTS allows it. A frontend has blobs retained
anew, and may not ask for the opposite, which would void RETAIN_FOR."""

BUCKET: Final[Mapping[Program, Actions]] = {
    Program.FRONTEND: (S3Action.LIST,),
    Program.COLLECTOR: (S3Action.LIST, S3Action.LIST_UPLOADS),
    Program.SCRUB: (S3Action.LIST,),
    Program.ADMIN: (S3Action.LIST, S3Action.LIST_UPLOADS),
}
"""What each program may do with the bucket as a whole."""


def policy(program: Program, bucket: str, prefix: str = "", *, if_exists: bool) -> dict[str, Any]:
    """The policy of a program, as a JSON document.

    Args:
        program: whose policy it is.
        bucket: the bucket's name.
        prefix: what is put before every key, as in the setting S3_PREFIX.
        if_exists: how a prefix restricts listings. True, for AWS: a request that names no prefix
            isn't restricted. AWS asks for the right to list before it says of an object that it
            is absent, and that question names no prefix. MinIO knows no such condition, and
            needs none.
    """
    below = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    where = f"arn:aws:s3:::{bucket}"
    statements = [
        _statement(effect, actions, [f"{where}/{below}{pattern}" for pattern in patterns])
        for effect, rights in (("Allow", OBJECTS[program]), ("Deny", DENIED.get(program, {})))
        for actions, patterns in _grouped(rights).items()
    ]
    for action in BUCKET[program]:
        statement = _statement("Allow", (action,), [where])
        # Of uploads, MinIO only lists those of the whole bucket.
        if below and action is S3Action.LIST:
            like = "StringLikeIfExists" if if_exists else "StringLike"
            statement["Condition"] = {like: {"s3:prefix": [f"{below}*"]}}
        statements.append(statement)
    return {"Version": "2012-10-17", "Statement": statements}


def _grouped(rights: Mapping[str, Actions]) -> dict[Actions, list[str]]:
    """The patterns by what is allowed on them: an inline policy has 2,048 characters at most."""
    grouped: dict[Actions, list[str]] = {}
    for pattern, actions in rights.items():
        grouped.setdefault(actions, []).append(pattern)
    return grouped


def _statement(effect: str, actions: Actions, resources: list[str]) -> dict[str, Any]:
    return {
        "Effect": effect,
        "Action": _shortest([str(action) for action in actions]),
        "Resource": _shortest(resources),
    }


def _shortest(values: list[str]) -> str | list[str]:
    """A list, or its only value: both are allowed, and space is scarce."""
    return values[0] if len(values) == 1 else values
