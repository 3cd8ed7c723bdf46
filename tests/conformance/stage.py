"""Two frontends of one store, on each kind of store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.s3 import S3Server
from tests.service.fleet import HEADER
from tests.service.processes import Served, serving


def on_s3(server: S3Server, prefix: str) -> dict[str, object]:
    """Settings for a prefix of a bucket."""
    return {
        "s3_endpoint": server.endpoint,
        "s3_bucket": server.bucket,
        "s3_prefix": f"{prefix}/",
        "s3_path_style": True,
    }


@contextmanager
def two_frontends(
    logs: Path, redis_url: str, store: Mapping[str, object]
) -> Iterator[list[Served]]:
    """Runs two frontends as processes of their own; `store` says of which store."""
    chosen: dict[str, Any] = {"redis_url": redis_url, **store}
    with serving(logs / "one.log", **chosen) as one, serving(logs / "two.log", **chosen) as two:
        yield [one, two]


@contextmanager
def two_agents(logs: Path, frontends: Sequence[Served]) -> Iterator[list[Served]]:
    """Runs two agents, each of which uses all the frontends, for any tenant."""
    chosen: dict[str, Any] = {
        "command": "agent",
        "agent_frontends": " ".join(frontend.address for frontend in frontends),
        "agent_tenant_header": HEADER,
        "data_dir": logs / "agent",
    }
    with (
        serving(logs / "agent-one.log", **chosen) as one,
        serving(logs / "agent-two.log", **chosen) as two,
    ):
        yield [one, two]
