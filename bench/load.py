"""ghz against a frontend, one profile for every RPC: `bench/ghz/*.json`.

It puts one blob and one ingest there, as a tenant of its own, and gives up afterwards all that this
tenant holds: what the profiles have written, too. This is in the image that the chart's Job runs,
and imports nothing of the tests; `load_here` runs it against a frontend of its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.cpu import Cpu
from bench.programs import answer, tool
from bench.tables import table
from bench.tenants import HEADER, check_apart, check_prefix, emptied
from holdfast import ContentStore, Tls, protos
from holdfast.protos import content_pb2_grpc
from holdfast.service.agent.channels import channels_of
from holdfast.service.settings import Settings

PROFILES: Final = Path(__file__).parent / "ghz"
PROTO: Final = Path(protos.__file__).parent / "content.proto"
BLOB: Final = 2**20
TENANT: Final = "holdfast-load-ghz"
AT_ONCE: Final = 16
"""Deletes under way at the end."""


@dataclass(frozen=True)
class Load:
    """What one profile found: calls per second, latencies in ms, codes and how often, CPU."""

    profile: str
    rate: float
    p50: float
    p99: float
    codes: dict[str, int]
    cpu: Mapping[str, Cpu] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    """Texts of the errors that calls ended with, and how often."""

    @property
    def answered(self) -> bool:
        """Whether every call was."""
        return set(self.codes) <= {"OK", "NotFound"}


@dataclass(frozen=True)
class Result:
    """All profiles of one run."""

    loads: Sequence[Load]

    @property
    def within_limits(self) -> bool:
        """Whether every call was answered: how fast is for the reader to judge."""
        return all(load.answered for load in self.loads)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {load.profile: vars_of(load) for load in self.loads}

    def text(self) -> str:
        """For people."""
        rows = [
            (
                load.profile,
                f"{load.rate:.0f}",
                f"{load.p50:.2f}",
                f"{load.p99:.2f}",
                ", ".join(f"{number} {code}" for code, number in load.codes.items()),
            )
            for load in self.loads
        ]
        return table(("profile", "calls/s", "p50, ms", "p99, ms", "ended with"), rows)


def vars_of(load: Load) -> dict[str, Any]:
    """A profile's figures for JSON."""
    return {"rate": load.rate, "p50_ms": load.p50, "p99_ms": load.p99, "codes": load.codes}


def profiles() -> list[str]:
    """The names of all profiles."""
    return sorted(path.stem for path in PROFILES.glob("*.json"))


def run(
    names: Sequence[str],
    address: str,
    tenant: str = TENANT,
    seconds: float = 0,
    header: str = HEADER,
) -> Result:
    """Runs profiles against the frontends at an address, over TLS if the agent's settings say so.

    Args:
        names: of the profiles; none: all.
        address: `host:port`; all addresses of a host take turns.
        tenant: its name must be reserved: all that it holds is given up.
        seconds: how long each profile lasts; 0: as many calls as it says.
        header: names the tenant.

    Raises:
        ConfigurationError: the tenant's name isn't reserved, or the frontend doesn't believe it.
    """
    check_prefix(tenant)
    settings = Settings()
    channels = channels_of(settings)
    asyncio.run(check_apart(channels, [address], tenant, header))
    changes: dict[str, object] = {**options_of(settings), "metadata": {header: tenant}}
    if not _is_numeric(address):
        # Names stand for several frontends, which take turns.
        changes |= {"host": f"dns:///{address}", "lb-strategy": "round_robin"}
    if seconds:
        changes |= {"duration": f"{seconds:g}s", "duration-stop": "wait", "total": None}
    with ExitStack() as stack:
        # At first: what was here before, of a run that was killed.
        asyncio.run(_emptied(settings, address, (header, tenant)))
        stack.callback(lambda: asyncio.run(_emptied(settings, address, (header, tenant))))
        store = stack.enter_context(
            ContentStore(
                address,
                tenant=tenant,
                tenant_header=header,
                tls=_tls(settings) if channels.private else None,
            )
        )
        ref = f"load-{secrets.token_hex(8)}"
        with store.writer(f"{ref}-blob") as writer:
            writer.write(secrets.token_bytes(BLOB))
            digest = writer.commit().digest
        open_ingest = stack.enter_context(store.writer(ref, total=BLOB))
        open_ingest.write(b"load")
        open_ingest.flush()
        filled = {"@DIGEST@": str(digest), "@REF@": ref, "@TENANT@": tenant}
        return Result([ghz(name, address, filled, **changes) for name in names or profiles()])


def _is_numeric(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _emptied(settings: Settings, address: str, named: tuple[str, str]) -> None:
    async with channels_of(settings).open(address) as channel:
        stub = content_pb2_grpc.ContentStub(channel)
        await emptied(stub, (named,), AT_ONCE)


def _tls(settings: Settings) -> Tls:
    return Tls(
        ca=settings.agent_tls_ca or None,
        cert=settings.agent_tls_cert or None,
        key=settings.agent_tls_key or None,
        server_name=settings.agent_tls_server_name or None,
    )


def options_of(settings: Settings) -> dict[str, object]:
    """How ghz reaches frontends: as an agent with these settings does."""
    if not channels_of(settings).private:
        return {}
    return {
        "insecure": None,
        "cacert": settings.agent_tls_ca or None,
        "cert": settings.agent_tls_cert or None,
        "key": settings.agent_tls_key or None,
        "cname": settings.agent_tls_server_name or None,
    }


def ghz(name: str, address: str, filled: Mapping[str, str], **changes: object) -> Load:
    """Runs one profile.

    Args:
        name: of the profile.
        address: of the server.
        filled: what stands for `@DIGEST@` and the other placeholders.
        changes: options of ghz that are other than the profile's; None takes one out.
    """
    text = (PROFILES / f"{name}.json").read_text("utf-8")
    for placeholder, value in filled.items():
        text = text.replace(placeholder, value)
    options = {**json.loads(text), "proto": str(PROTO), "host": address, **changes}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as profile:
        json.dump({key: value for key, value in options.items() if value is not None}, profile)
        profile.flush()
        found = answer([tool("ghz"), "--config", profile.name, "--format", "json"])
    latencies = {
        point["percentage"]: point["latency"] / 1e6
        for point in found.get("latencyDistribution") or []
    }
    return Load(
        profile=name,
        rate=found["rps"],
        p50=latencies.get(50, 0.0),
        p99=latencies.get(99, 0.0),
        codes=dict(found["statusCodeDistribution"]),
        cpu=found["cpu"],
        errors=dict(found.get("errorDistribution") or {}),
    )
