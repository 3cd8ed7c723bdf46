"""`holdfast policy`: prints what a program needs to be allowed in the bucket and in Redis."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from holdfast.coordination.rights import RIGHTS
from holdfast.errors import InvalidArgument, shorten
from holdfast.programs import Program
from holdfast.storage.keys import proper
from holdfast.storage.rights import policy as s3_policy


class PolicyFormat(StrEnum):
    """For which backend a policy is printed."""

    AWS = "aws"
    MINIO = "minio"
    REDIS = "redis-acl"


def policy(
    *,
    program: Annotated[
        Program, typer.Option("--for", help="The program that is to have these rights.")
    ],
    form: Annotated[
        PolicyFormat,
        typer.Option(
            "--format", help="A policy of AWS or of MinIO, or a line of a Redis ACL file."
        ),
    ],
    bucket: Annotated[
        str, typer.Option(envvar="HOLDFAST_S3_BUCKET", help="Name of the bucket.")
    ] = "",
    prefix: Annotated[
        str, typer.Option(envvar="HOLDFAST_S3_PREFIX", help="Prefix of every key.")
    ] = "",
) -> None:
    """Print the least rights with which a program works."""
    if form is PolicyFormat.REDIS:
        typer.echo(f"user holdfast-{program} on >PASSWORD {RIGHTS[program].rules()}")
        return
    if not bucket:
        raise InvalidArgument("--bucket is needed: a policy names the bucket; set it")
    for option, value in (("--bucket", bucket), ("--prefix", prefix)):
        if value and not proper(value):
            raise InvalidArgument(
                f"{option} {shorten(value)} has characters that would widen a policy; use "
                "letters, digits and . _ = / - only"
            )
    document = s3_policy(program, bucket, prefix, if_exists=form is PolicyFormat.AWS)
    typer.echo(json.dumps(document, indent=2))
