"""Where a bucket is, and the timeouts and retries of requests to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Where the bucket is, and the timeouts and retries of requests to it.

    Attributes:
        bucket: its name; it must exist.
        endpoint: URL of the server; None: AWS, by region.
        region: what requests are signed for.
        prefix: put before every key, with a slash after it.
        path_style: whether the bucket is in the path of the URL, not in its host name.
        max_connections: how many each of the two clients keeps open; as many as threads use
            the store, or they wait for each other.
        connect_timeout: seconds.
        read_timeout: seconds without a byte; a completion of many parts can be
            silent for long.
        attempts: how often boto3 sends a request that is safe to repeat; a small one was sent
            once before that.
        longest_pause: seconds between our own attempts, at most.
        checksums: whether bytes are sent with their CRC32C; some servers refuse it.
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
    checksums: bool = True
