"""Where a bucket is, as boto3 would address it: host, port, path, and whom TLS trusts there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

import boto3
from botocore.config import Config
from botocore.httpsession import where

from holdfast.storage.s3_settings import S3Settings

PORTS: Final = {"http": 80, "https": 443}
_ANY_KEY: Final = "k"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bucket is.

    Attributes:
        scheme: http or https.
        authority: host and port, as in a URL and in the Host header: without the scheme's own port.
        host: the name to connect to, or to its address.
        port: None: that of the scheme.
        path: what precedes a key, with a slash at its end.
        trust: whom to trust there; None: without TLS.
    """

    scheme: str
    authority: str
    host: str
    port: int | None
    path: str
    trust: ssl.SSLContext | None

    @classmethod
    def of(cls, session: boto3.session.Session, settings: S3Settings) -> Self:
        """The place that settings name.

        Raises:
            ValueError, OSError, BotoCoreError: they name none.
        """
        base = urlsplit(_url_of_bucket(session, settings))
        return cls(
            scheme=base.scheme,
            authority=authority(base),
            host=base.hostname or "",
            port=base.port,
            path=base.path,
            trust=_trust(session) if base.scheme == "https" else None,
        )

    @property
    def origin(self) -> str:
        """The URL without a path."""
        return f"{self.scheme}://{self.authority}"


def authority(url: SplitResult) -> str:
    """Host and port of a URL, without a port that is the scheme's own."""
    host = url.hostname or ""
    named = f"[{host}]" if ":" in host else host
    return named if url.port in {None, PORTS[url.scheme]} else f"{named}:{url.port}"


def _url_of_bucket(session: boto3.session.Session, settings: S3Settings) -> str:
    """The URL below which the bucket's objects are, as boto3 would address them."""
    client = session.client(
        "s3",
        endpoint_url=settings.endpoint or None,
        region_name=settings.region,
        # The client only builds a URL: real credentials may be absent, or cost a request.
        aws_access_key_id="none",
        aws_secret_access_key="none",  # noqa: S106
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if settings.path_style else "auto"},
        ),
    )
    parameters = {"Bucket": settings.bucket, "Key": _ANY_KEY}
    url = client.generate_presigned_url("get_object", Params=parameters)
    client.close()
    return url.partition("?")[0].removesuffix(_ANY_KEY)


def _trust(session: boto3.session.Session) -> ssl.SSLContext:
    """The certificates that boto3 would trust."""
    bundle = session._session.get_config_variable("ca_bundle")  # noqa: SLF001 -- the only way
    return ssl.create_default_context(cafile=bundle or where())
