"""The S3 clients: where the bucket is, and how patiently it is talked to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Where the bucket is, and how patiently it is talked to.

    Attributes:
        bucket: its name; it must exist.
        endpoint: URL of the server; None: AWS, by region.
        region: what requests are signed for.
        prefix: put before every key, with a slash after it.
        path_style: the bucket in the path of the URL, not in its host name.
        max_connections: kept open by each of the two clients; as many threads as
            use the store, else they wait for each other.
        connect_timeout: seconds.
        read_timeout: seconds without a byte; a completion of many parts can be
            silent for long.
        attempts: of a request that is safe to repeat, the first included.
        longest_pause: seconds between attempts of our own, at most.
    """

    bucket: str
    endpoint: str | None = None
    region: str = "us-east-1"
    prefix: str = ""
    path_style: bool = False
    max_connections: int = 64
    connect_timeout: float = 5.0
    read_timeout: float = 60.0
    attempts: int = 5
    longest_pause: float = 0.5


def new_client(session: boto3.session.Session, settings: S3Settings, attempts: int) -> S3Client:
    """A client that sends each request at most `attempts` times."""
    return session.client(
        "s3",
        endpoint_url=settings.endpoint or None,
        region_name=settings.region,
        config=Config(
            retries={"total_max_attempts": attempts, "mode": "standard"},
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            max_pool_connections=settings.max_connections,
            tcp_keepalive=True,
            # Checksum trailers are refused by R2, older Ceph and older MinIO; every
            # blob has sums of our own.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={
                "addressing_style": "path" if settings.path_style else "auto",
                # Over plain http every body would be hashed a second time.
                "payload_signing_enabled": False,
            },
        ),
    )
