"""Signatures of requests to S3, without botocore's layers: they cost a third of a small request.

They are byte for byte those of botocore's signer, which a test holds. The body isn't signed: TLS
protects it, and our own sums are checked when it is read; boto3 is told the same here.

Source: "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)",
Amazon S3 API reference.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from botocore.credentials import ReadOnlyCredentials

ALGORITHM: Final = "AWS4-HMAC-SHA256"
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_TIMESTAMP: Final = "%Y%m%dT%H%M%SZ"
_DAY: Final = len("20261126")


class Signer:
    """Signs requests to one host. Safe for many threads."""

    def __init__(self, host: str, region: str) -> None:
        """Has signed nothing yet.

        Args:
            host: with its port, as the Host header has it.
            region: of the bucket.
        """
        self._host = host
        self._region = region
        self._kept: tuple[str | None, str, bytes] = (None, "", b"")

    def signed(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        credentials: ReadOnlyCredentials,
        at: float,
    ) -> dict[str, str]:
        """The headers of a request, and those that sign it.

        Args:
            method: of the request.
            target: path and query, percent-encoded.
            headers: besides Host; all of them are signed.
            credentials: of now.
            at: the time of the signature, in s since 1970.
        """
        moment = time.strftime(_TIMESTAMP, time.gmtime(at))
        scope = f"{moment[:_DAY]}/{self._region}/s3/aws4_request"
        sent = {**headers, "X-Amz-Date": moment, "X-Amz-Content-SHA256": UNSIGNED}
        if credentials.token:
            sent["X-Amz-Security-Token"] = credentials.token
        fields = {name.lower(): " ".join(value.split()) for name, value in sent.items()}
        fields["host"] = self._host
        names = sorted(fields)
        path, _, query = target.partition("?")
        request = "\n".join(
            [
                method,
                path,
                "&".join(sorted(query.split("&"))),
                *(f"{name}:{fields[name]}" for name in names),
                "",
                ";".join(names),
                UNSIGNED,
            ]
        )
        digest = sha256(request.encode()).hexdigest()
        text = f"{ALGORITHM}\n{moment}\n{scope}\n{digest}"
        signature = hmac.digest(self._key(credentials, moment[:_DAY]), text.encode(), sha256).hex()
        sent["Authorization"] = (
            f"{ALGORITHM} Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return sent

    def _key(self, credentials: ReadOnlyCredentials, day: str) -> bytes:
        """The key of a day: the same for all requests until the day or the secret changes."""
        secret, of_day, key = self._kept
        if (secret, of_day) != (credentials.secret_key, day):
            key = f"AWS4{credentials.secret_key}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), sha256)
            self._kept = (credentials.secret_key, day, key)
        return key
