"""What a cluster's pods need outside of it: Redis, S3 and names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Final

from tests.servers.kubernetes.control_plane import ADDRESS, ControlPlane
from tests.servers.kubernetes.machine import Machine
from tests.servers.redis import binary
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, minio_binary

REDIS_URL: Final = f"redis://{ADDRESS}:6379/0"
S3_ENDPOINT: Final = f"http://{ADDRESS}:9100"
BUCKET: Final = "content"
_MAKE_BUCKET: Final = f"""
import boto3
s3 = boto3.client(
    "s3", endpoint_url="{S3_ENDPOINT}", region_name="us-east-1",
    aws_access_key_id="{ACCESS_KEY}", aws_secret_access_key="{SECRET_KEY}",
)
if not s3.list_buckets()["Buckets"]:
    s3.create_bucket(Bucket="{BUCKET}")
"""


class Outside:
    """A server beside the control plane, which can be killed and comes back with its data."""

    def __init__(self, start: Callable[[], AbstractContextManager[object]]) -> None:
        """Knows how to start it."""
        self._start = start
        self._running = ExitStack()

    def start(self) -> None:
        """Starts it, and waits until it serves."""
        self._running.enter_context(self._start())

    def kill(self) -> None:
        """Kills it with SIGKILL."""
        self._running.close()


def redis(host: Machine) -> Outside:
    """A Redis that keeps nothing on disk."""
    command = [
        binary(), "--bind", ADDRESS, "--protected-mode", "no", "--save", "", "--databases", "1000",
    ]  # fmt: skip
    return Outside(lambda: host.serving(*command, ready=lambda: _listens(host, 6379)))


def minio(host: Machine) -> Outside:
    """A MinIO with a bucket."""
    program = minio_binary()
    assert program, "minio isn't built; `make tools` does it"
    command = [program, "server", "--quiet", f"--address={ADDRESS}:9100"]
    data = str(host.folder / "disk" / "minio")
    environment = {
        "MINIO_ROOT_USER": ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": SECRET_KEY,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "CI": "on",
    }

    def ready() -> bool:
        return _listens(host, 9100) and _succeeds(host, sys.executable, "-c", _MAKE_BUCKET)

    return Outside(lambda: host.serving(*command, data, ready=ready, **environment))


def names(plane: ControlPlane) -> Outside:
    """A DNS server that knows the cluster's Services, and nothing else."""
    command = [
        plane.programs / "cluster-names", f"-kubeconfig={plane.kubeconfig()}",
        f"-address={ADDRESS}:53",
    ]  # fmt: skip
    return Outside(lambda: plane.host.serving(*command, ready=lambda: _listens(plane.host, 53)))


def _listens(host: Machine, port: int) -> bool:
    return _succeeds(host, "bash", "-c", f"exec 3<>/dev/tcp/{ADDRESS}/{port}")


def _succeeds(host: Machine, *command: str) -> bool:
    asked: Sequence[str] = host.on_network(*command)
    return subprocess.run(asked, check=False, capture_output=True).returncode == 0
