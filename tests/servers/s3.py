"""S3 servers: moto for function, MinIO for concurrency, faults and speed."""

from __future__ import annotations

import io
import json
import os
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from tests.servers.process import free_port, listens, started, wait_until

ACCESS_KEY = "holdfast-test"
SECRET_KEY = "holdfast-test-secret"
BUCKET = "holdfast"


@dataclass(frozen=True)
class S3Server:
    """An S3 server with a bucket, on loopback."""

    endpoint: str
    bucket: str = BUCKET

    def environment(self) -> dict[str, str]:
        """Credentials for the ordinary AWS chain."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    def make_bucket(self) -> None:
        """Creates the bucket that tests share; each test has its own prefix in it."""
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
        client.create_bucket(Bucket=self.bucket)
        client.close()


def set_quota(s3: S3Server, size: int) -> None:
    """Gives a MinIO's bucket a quota of `size` bytes, as `mc quota set` does."""
    url = f"{s3.endpoint}/minio/admin/v3/set-bucket-quota?bucket={s3.bucket}"
    body = json.dumps({"quota": size, "quotatype": "hard"}).encode()
    asked = AWSRequest("PUT", url, {"X-Amz-Content-Sha256": sha256(body).hexdigest()}, body)
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", "us-east-1").add_auth(asked)
    request = urllib.request.Request(url, body, dict(asked.headers), method="PUT")  # noqa: S310 -- loopback
    urllib.request.urlopen(request).close()  # noqa: S310


class OneAtATime:
    """A WSGI application that answers one request at a time.

    Moto checks and writes without a lock: of several concurrent conditional puts two may win, and
    a listing concurrent with a delete fails. A body is read before the lock, however slowly it
    arrives.
    """

    def __init__(self, application: Any) -> None:
        self._application = application
        self._turn = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        """Answers a request."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        with self._turn:
            return list(self._application(environ, start))


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """Moto's S3, in a thread of this process."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    served = server._server
    assert served is not None
    served.app = OneAtATime(served.app)
    try:
        host, port = server.get_host_and_port()
        s3 = S3Server(f"http://{host}:{port}")
        s3.make_bucket()
        yield s3
    finally:
        server.stop()


def minio_binary() -> str | None:
    """The path of MinIO: in HOLDFAST_TEST_BIN, on PATH, or in the cache that `make tools` fills."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "holdfast" / "bin"
    folders = [os.environ.get("HOLDFAST_TEST_BIN", ""), os.environ.get("PATH", ""), str(cache)]
    return shutil.which("minio", path=os.pathsep.join(folder for folder in folders if folder))


@contextmanager
def minio_server(folder: Path, port: int = 0, **settings: str) -> Iterator[S3Server]:
    """A separate MinIO on one folder; if it is started there again, it has the same content.

    Of this process's environment it inherits only PATH; `settings` are added.
    """
    program = minio_binary()
    assert program, "minio isn't built; `make tools` does it"
    port = port or free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MINIO_ROOT_USER": ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": SECRET_KEY,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "CI": "on",
        **settings,
    }
    command = [program, "server", "--quiet", "--address", f"127.0.0.1:{port}", str(folder / "data")]
    with started(command, folder / "minio.log", lambda: listens(port), environment):
        s3 = S3Server(f"http://127.0.0.1:{port}")
        _when_ready(s3)
        yield s3


def _when_ready(s3: S3Server) -> None:
    def made() -> bool:
        try:
            s3.make_bucket()
        except ClientError as error:
            return error.response["Error"]["Code"] == "BucketAlreadyOwnedByYou"
        return True

    wait_until(made, "MinIO's first bucket")
