"""`holdfast policy` as operators run it."""

from __future__ import annotations

import json

import pytest

from holdfast.coordination.rights import RIGHTS
from holdfast.programs import Program
from holdfast.storage.rights import policy
from tests.service.processes import run


def printed(*options: str, **settings: object) -> str:
    """What it prints for a frontend."""
    done = run("policy", "--for", "frontend", *options, **settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("form", ["aws", "minio"])
def test_bucket(form: str) -> None:
    """A policy for the bucket and the prefix of the settings, or of the options."""
    expected = policy(Program.FRONTEND, "b", "p", if_exists=form == "aws")
    assert json.loads(printed("--format", form, s3_bucket="b", s3_prefix="p")) == expected
    options = ("--bucket", "b", "--prefix", "p")
    assert json.loads(printed("--format", form, *options)) == expected


def test_redis() -> None:
    """A line for an ACL file, whose password is still to be chosen; it needs no bucket."""
    rules = RIGHTS[Program.FRONTEND].rules()
    assert printed("--format", "redis-acl") == f"user holdfast-frontend on >PASSWORD {rules}\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--bucket is needed"),
        (("--bucket", "b*"), "--bucket 'b*' has characters that would widen a policy"),
        (("--bucket", "b", "--prefix", "p?"), "--prefix 'p?' has characters"),
    ],
    ids=["no bucket", "bucket", "prefix"],
)
def test_refused(options: tuple[str, ...], said: str) -> None:
    """No policy is printed without a bucket, or for names that are patterns."""
    done = run("policy", "--for", "scrub", "--format", "aws", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
