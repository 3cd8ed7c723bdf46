"""The S3 policies name what the code asks of S3, where it asks it, and fit where they are put."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

import pytest

from holdfast.programs import Program
from holdfast.storage import keys
from holdfast.storage.rights import BUCKET, DENIED, OBJECTS, Actions, S3Action, policy
from tests.project.repository import ROOT

INLINE_POLICY: Final = 2048
"""Most characters of an inline policy of a user on AWS, and of a session policy there and on MinIO:
the shortest of such limits."""
ASKED_FOR: Final = {
    "abort_multipart_upload": S3Action.ABORT,
    "complete_multipart_upload": S3Action.PUT,
    "create_multipart_upload": S3Action.PUT,
    "delete_object": S3Action.DELETE,
    "get_object": S3Action.GET,
    "head_object": S3Action.GET,
    "list_multipart_uploads": S3Action.LIST_UPLOADS,
    "list_objects_v2": S3Action.LIST,
    "list_parts": S3Action.PARTS,
    "put_object": S3Action.PUT,
    "upload_part": S3Action.PUT,
}
"""By boto3's operations, what S3 requires for them."""


def may(program: Program, action: S3Action, key: str) -> bool:
    """Whether a program may do something with an object."""

    def has(rights: Mapping[str, Actions]) -> bool:
        return any(action in some and fnmatchcase(key, pattern) for pattern, some in rights.items())

    return has(OBJECTS[program]) and not has(DENIED.get(program, {}))


@pytest.mark.parametrize("if_exists", [True, False])
@pytest.mark.parametrize("program", Program)
def test_a_policy_is_short(program: Program, if_exists: bool) -> None:
    """A policy fits into an inline policy, with names of usual length."""
    document = policy(program, "b" * 24, "p" * 24, if_exists=if_exists)
    assert len(json.dumps(document, separators=(",", ":"))) <= INLINE_POLICY


def test_the_code_asks_for_no_more() -> None:
    """Each operation that the code calls is in some program's rights, and no other action is."""
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "storage").glob("s3*.py"))
    called = set(re.findall(r"_(?:client|once)\.(\w+)[(,]", sources)) - {"close"}
    granted = {action for rights in OBJECTS.values() for some in rights.values() for action in some}
    granted |= {action for some in BUCKET.values() for action in some}
    assert granted == {ASKED_FOR[name] for name in called} == set(S3Action)


def test_only_collectors_delete_content() -> None:
    """No other program may delete data or records, nor anything that a pattern of its covers."""
    for program in set(Program) - {Program.COLLECTOR}:
        for prefix in (keys.DATA, keys.RECORDS):
            assert not may(program, S3Action.DELETE, f"{prefix}x")


def test_no_frontend_ends_retention() -> None:
    """A frontend has blobs retained anew; only people and collectors may ask for the opposite."""
    marker = f"{keys.RETAINED}sha256/{'0' * 64}/1"
    assert may(Program.FRONTEND, S3Action.PUT, marker)
    assert may(Program.FRONTEND, S3Action.DELETE, f"{marker}.dropped")
    assert may(Program.ADMIN, S3Action.PUT, f"{marker}.dropped")
    for program in (Program.FRONTEND, Program.SCRUB):
        assert not may(program, S3Action.PUT, f"{marker}.dropped")


def test_each_kind_of_object_has_a_writer() -> None:
    """Some program may write below each prefix that the store has; none writes elsewhere."""
    named = [value for name, value in vars(keys).items() if name.isupper()]
    prefixes = [value for value in named if isinstance(value, str) and value.endswith("/")]
    patterns = [pattern for rights in OBJECTS.values() for pattern in rights]
    assert prefixes
    for prefix in prefixes:
        assert any(pattern.startswith(prefix) for pattern in patterns), prefix
    assert not any(may(program, S3Action.PUT, "other/x") for program in Program)


def test_a_prefix_restricts_listings() -> None:
    """Only names below the prefix are listed; for AWS, requests without a prefix pass."""
    for if_exists, like in ((True, "StringLikeIfExists"), (False, "StringLike")):
        document = policy(Program.SCRUB, "b", "/p/", if_exists=if_exists)
        [listing] = [s for s in document["Statement"] if s["Action"] == "s3:ListBucket"]
        assert listing["Condition"] == {like: {"s3:prefix": ["p/*"]}}
        assert "arn:aws:s3:::b/p/data/*" in document["Statement"][0]["Resource"]
    plain = policy(Program.SCRUB, "b", if_exists=True)
    assert not any("Condition" in statement for statement in plain["Statement"])
