"""Signatures are those of botocore."""

from __future__ import annotations

import datetime as dt
from urllib.parse import quote, urlencode, urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from holdfast.storage.s3_place import authority
from holdfast.storage.s3_signature import Signer
from holdfast.storage.s3_signing import timed

ORIGINS = st.sampled_from(
    [
        "http://127.0.0.1:9000",
        "https://b.s3.eu-central-1.amazonaws.com",
        "http://[::1]:9000",
        "https://S3.example:443",
        "http://s3.example:80",
        "https://s3.example:80",
    ]
)
KEYS = st.text(st.sampled_from("az09._=-~/ +%é:@"), min_size=1, max_size=12)
VALUES = st.text(st.sampled_from('aZ0"*/= '), min_size=1, max_size=12)
HEADERS = st.dictionaries(
    st.sampled_from(["If-Match", "If-None-Match", "Range", "x-amz-checksum-crc32c"]), VALUES
)
QUERIES = st.dictionaries(st.sampled_from(["uploadId", "partNumber", "prefix", "a"]), KEYS)
SECRETS = st.builds(
    ReadOnlyCredentials,
    st.sampled_from(["AKIA", "minio"]),
    st.text(st.sampled_from("ab/+"), min_size=1, max_size=40),
    st.sampled_from([None, "", "token//=="]),
)
TIMES = st.integers(0, 4 * 10**9).flatmap(lambda at: st.sampled_from([at, at + 0.25, at + 0.75]))
"""Botocore's clock is a `datetime`, which rounds to microseconds: 1.9999996 s are two seconds."""


@given(
    ORIGINS, st.sampled_from(["GET", "PUT", "HEAD"]), KEYS, QUERIES, HEADERS, SECRETS, TIMES,
    st.sampled_from(["us-east-1", "eu-central-1"]),
)  # fmt: skip
def test_the_same_as_botocore(
    origin: str,
    method: str,
    key: str,
    query: dict[str, str],
    headers: dict[str, str],
    credentials: ReadOnlyCredentials,
    at: float,
    region: str,
) -> None:
    """Whatever is signed, the headers are those that botocore would send."""
    target = "/bucket/" + quote(key, safe="/~")
    if query:
        target += f"?{urlencode(query, quote_via=quote, safe='~')}"
    request = AWSRequest(method=method, url=origin + target, headers=dict(headers))
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    timed(S3SigV4Auth(credentials, "s3", region), lambda: at).add_auth(request)
    signed = Signer(authority(urlsplit(origin)), region).signed(
        method, target, headers, credentials, at
    )
    assert {name.lower(): value for name, value in signed.items()} == {
        name.lower(): value for name, value in request.headers.items()
    }


@pytest.mark.parametrize("day", [1, 2])
@pytest.mark.parametrize("secret", ["one", "other"])
def test_one_signer_for_all(day: int, secret: str) -> None:
    """A signer that has signed before signs as a new one, on another day and by another secret."""
    used = Signer("host", "us-east-1")
    noon = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC).timestamp()
    used.signed("GET", "/a", {}, ReadOnlyCredentials("id", "one", None), noon)
    credentials, at = ReadOnlyCredentials("id", secret, None), noon + 86400 * (day - 1)
    fresh = Signer("host", "us-east-1").signed("GET", "/a", {}, credentials, at)
    assert used.signed("GET", "/a", {}, credentials, at) == fresh
