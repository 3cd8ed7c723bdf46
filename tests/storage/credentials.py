"""Temporary credentials of S3, from a program of the test's."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import pytest


def issued_by(
    program: str, lifetime: dt.timedelta, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Makes boto3 ask a Python program for credentials, and find no others.

    Args:
        program: sets `token`, or exits; `given` is the path of a file of its own.
        lifetime: after which what it gives is over.
        folder: where it is written to.
        monkeypatch: for the environment.
    """
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    issuer, config = folder / "issuer.py", folder / "config"
    ends = (dt.datetime.now(dt.UTC) + lifetime).isoformat()
    issuer.write_text(
        "import json, pathlib, sys\n"
        "given = pathlib.Path(sys.argv[0] + '.given')\n"
        f"{program}\n"
        "print(json.dumps(dict(Version=1, AccessKeyId='a', SecretAccessKey='s',"
        f" SessionToken=token, Expiration='{ends}')))\n"
    )
    config.write_text(f"[default]\ncredential_process = {sys.executable} {issuer}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "none"))
