"""Secrets that were planted everywhere, and everything that a process writes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from holdfast.protos import content_pb2 as pb
from holdfast.service.rpc.grpcio import OPTIONS
from tests.servers.redis import RedisServer
from tests.servers.s3 import S3Server
from tests.service.fleet import HEADER, Tenant, sha256
from tests.service.processes import Served, run, serving
from tests.service.trusting import caller
from tests.trust.issuing import AUDIENCE, ISSUER, Signer, jwks

ROOT = "containerd.io/gc.root"
PASSWORD = "planted-password-of-redis"
KEY = "planted-bearer-for-keys"
LABEL = "planted-value-of-a-label"
BASIC = "cGxhbnRlZDpiYXNpYw"


def everything(served: Served, folder: Path, replies: list[str]) -> str:
    """All that a frontend has written: log, audit log, metrics, and its replies."""
    return "\n".join([
        served.log.read_text("utf-8", "replace"),
        (folder / "audit").read_text("utf-8", "replace"),
        served.http("/metrics")[1],
        *replies,
    ])  # fmt: skip


def calls(client: Tenant, data: bytes) -> Iterator[Awaitable[object]]:
    """Calls that succeed for a tenant, and calls that nobody should make."""
    yield client.commit("r", data, labels={ROOT: LABEL})
    yield client.update(sha256(data), {ROOT: ""}, f"labels.{ROOT}")
    yield client.info("sha256:no")
    yield client.delete(sha256(data))
    yield client.list("labels.x~=(")
    yield client.write("r").send(pb.ABORT)


async def provoke(port: int, tokens: dict[str, str]) -> list[str]:
    """Calls in every way that is answered, and in those that are refused; returns the errors."""
    said: list[str] = []
    data = b"content"
    forms: list[tuple[tuple[str, str], ...]] = [
        (("authorization", f"Bearer {tokens['good']}"),),
        (("authorization", f"Bearer {tokens['ended']}"),),
        (("authorization", f"Bearer {tokens['forged']}"),),
        (("authorization", f"Bearer {tokens['good']}"),) * 2,
        (("authorization", f"Basic {BASIC}"),),
        ((HEADER, tokens["good"]),),
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        for form in forms:
            client = caller(channel, *form)
            for call in calls(client, data):
                try:
                    await call
                except grpc.aio.AioRpcError as error:
                    said += [error.details() or "", str(error.trailing_metadata())]
    return said


async def test_nothing_that_is_written_has_a_secret(
    tmp_path: Path, moto: S3Server, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No log, audit log, metric or reply has a token, a password, a key or a label's value."""
    signer, ended = Signer(), {"exp": 1_000_000_000, "iat": 1}
    now = time.time()
    tokens = {
        "good": signer.token(sub=unique, exp=now + 600, iat=now),
        "ended": signer.token(sub=unique, **ended),
        "forged": Signer(signer.kid).token(sub=unique, exp=now + 600, iat=now),
    }
    (tmp_path / "bearer").write_text(KEY)
    (tmp_path / "keys").write_bytes(jwks(signer))
    (tmp_path / "rules").write_text(
        f'[issuers.a]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\nkeys = "{tmp_path}/keys"\n'
        'algorithms = ["ES256"]\n'
        '[issuers.b]\nissuer = "b"\naudience = "b"\nkeys = "https://127.0.0.1:1/jwks"\n'
        f'bearer = "{tmp_path}/bearer"\n'
        '[[rules]]\nname = "r"\ntoken = "(.+)"\nissuer = "a"\nclaim = ["sub"]\n'
    )
    secret = f"planted-secret-of-s3-{unique}"
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer(folder, 0, "--requirepass", PASSWORD) as redis:
        settings: dict[str, Any] = {
            "redis_url": redis.url.replace("redis://", f"redis://:{PASSWORD}@"),
            "identities": tmp_path / "rules",
            "audit": tmp_path / "audit",
            "listen": "tcp://127.0.0.1:0?identities=1",
            "log_level": "debug",
            "data_dir": tmp_path,
            "s3_bucket": moto.bucket,
            "s3_endpoint": moto.endpoint,
            "s3_path_style": "true",
            "s3_prefix": f"{unique}/",
        }
        with serving(tmp_path / "log", **settings) as served:
            replies = await provoke(served.port, tokens)
            redis.stop()
            replies += await provoke(served.port, tokens)
            found = everything(served, tmp_path, replies)
        found += (tmp_path / "log").read_text("utf-8", "replace")
    done = run("doctor", **settings)
    found += done.stdout + done.stderr
    assert "Redis" in found
    assert '"action": "refuse"' in found
    assert '"action": "delete"' in found
    planted = [*tokens.values(), PASSWORD, KEY, LABEL, BASIC, secret]
    signatures = [token.rpartition(".")[2] for token in tokens.values()]
    assert [one for one in (*planted, *signatures) if one in found] == []
