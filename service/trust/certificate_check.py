"""What `holdfast doctor` says of a listener's certificate."""

from __future__ import annotations

import datetime as dt
from typing import Final

from holdfast.checks import Check
from holdfast.errors import ConfigurationError, because
from holdfast.service.trust.tls_files import TlsFiles

SOON: Final = 3 * 24 * 3600.0
"""Seconds before its end from which on a certificate should have been renewed."""


def certificate_check(listener: str, files: TlsFiles, now: float) -> Check:
    """Checks what a listener shows its clients.

    Args:
        listener: its address.
        files: where the certificate is.
        now: Unix seconds.
    """
    from holdfast.service.trust.certificates import load  # noqa: PLC0415 -- 10 MiB for TLS alone

    name = f"certificate of {listener}"
    try:
        loaded = load(files, now)
    except ConfigurationError as error:
        advice = "correct that file; `serve` would refuse it, too"
        return Check(name, ok=False, essential=True, found=because(error), advice=advice)
    found = f"valid until {dt.datetime.fromtimestamp(loaded.not_after, dt.UTC):%FT%TZ}"
    if loaded.exposed_key:
        found = f"{found}; everybody may read its key, {files.key}"
        return Check(
            name, ok=False, essential=False, found=found, advice="let only this user read it"
        )
    fresh = loaded.not_after > now + SOON
    return Check(name, ok=fresh, essential=False, found=found, advice="renew it")
