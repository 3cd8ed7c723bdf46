"""boto3 straight to the backend, with threads: what the backend bears.

A program of its own, so that its interpreter isn't shared: `python -m
bench.compare.straight write|read|…` prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

PART = 8 * 2**20
PUTS = 50
SMALL = 300


def connect(endpoint: str, threads: int) -> S3Client:
    """A client with credentials from the environment."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        config=Config(max_pool_connections=threads, s3={"addressing_style": "path"}),
    )


def write(s3: S3Client, bucket: str, key: str, size: int, threads: int) -> float:
    """Seconds that an upload in parts of 8 MiB takes."""
    part = bytearray(random.Random(os.urandom(8)).randbytes(PART))  # noqa: S311 -- content
    begun = time.perf_counter()
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]

    def one(number: int) -> str:
        body = number.to_bytes(8, "big") + bytes(part[8:])
        reply = s3.upload_part(
            Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body
        )
        return str(reply["ETag"])

    numbers = range(1, size // PART + 1)
    with ThreadPoolExecutor(threads) as pool:
        etags = list(pool.map(one, numbers))
    s3.complete_multipart_upload(
        Bucket=bucket,
        Key=key,
        UploadId=upload,
        MultipartUpload={
            "Parts": [{"PartNumber": n, "ETag": e} for n, e in zip(numbers, etags, strict=True)]
        },
    )
    return time.perf_counter() - begun


def read(s3: S3Client, bucket: str, key: str, size: int, threads: int) -> float:
    """Seconds that ranges of 8 MiB take, several at once."""
    begun = time.perf_counter()

    def one(start: int) -> int:
        end = min(start + PART, size) - 1
        reply = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{end}")
        return len(reply["Body"].read())

    with ThreadPoolExecutor(threads) as pool:
        found = sum(pool.map(one, range(0, size, PART)))
    if found != size:
        raise SystemExit(f"read {found} bytes, expected {size}")
    return time.perf_counter() - begun


def put(s3: S3Client, bucket: str, size: int) -> float:
    """Seconds of one PUT, the median of many."""
    body, took = os.urandom(size), []
    for number in range(PUTS):
        begun = time.perf_counter()
        s3.put_object(Bucket=bucket, Key=f"straight/put-{number % 4}", Body=body)
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def main() -> None:
    """Does one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("act", choices=("write", "read", "small-put", "part-put"))
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--key", default="straight/blob")
    parser.add_argument("--size", type=int, default=256 * 2**20)
    parser.add_argument("--threads", type=int, default=4)
    chosen = parser.parse_args()
    s3 = connect(chosen.endpoint, chosen.threads)
    s3.list_objects_v2(Bucket=chosen.bucket, MaxKeys=1)  # the connection, and boto3's models
    if chosen.act == "write":
        seconds = write(s3, chosen.bucket, chosen.key, chosen.size, chosen.threads)
    elif chosen.act == "read":
        seconds = read(s3, chosen.bucket, chosen.key, chosen.size, chosen.threads)
    else:
        seconds = put(s3, chosen.bucket, PART if chosen.act == "part-put" else SMALL)
    sys.stdout.write(json.dumps({"seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
