"""`holdfast doctor` with an agent's settings: checks what the agent needs, and changes nothing.

Each frontend is asked for two things that aren't there, once as a reader and once as a writer asks:
"not found" says that it knows the tenant, and lets it do both.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc

from holdfast.checks import Check
from holdfast.client.protocol import parse_targets
from holdfast.errors import ConfigurationError, because
from holdfast.protos import content_pb2 as content
from holdfast.protos import fleet_pb2 as pb
from holdfast.service.agent.agent import check
from holdfast.service.agent.channels import Channels, channels_of
from holdfast.service.agent.outcomes import FrontendLost, outcome_of
from holdfast.service.listeners import parse
from holdfast.service.reading.disk_cache import look
from holdfast.service.rpc import fleet
from holdfast.service.rpc.content import SERVICE
from holdfast.service.rpc.listener_checks import listener_checks
from holdfast.service.settings import Settings
from holdfast.service.trust.certificate_check import SOON
from holdfast.transport.status import Code, Metadata, Status

PATIENCE: Final = 5.0
"""Seconds that a frontend may take: as long as an agent waits before it gives up on all of them."""
ABSENT: Final = f"sha256:{'0' * 64}"
"""A digest that nobody can find content for."""
REF: Final = "holdfast-doctor"
"""A ref that nobody writes to; frontends' audit logs name it."""
ASKED: Final = (
    (f"/{fleet.SERVICE}/Blocks", pb.BlocksRequest(digest=ABSENT).SerializeToString()),
    (f"/{SERVICE}/Abort", content.AbortRequest(ref=REF).SerializeToString()),
)
"""A call of a reader, and one of a writer."""
UNREACHED: Final = (
    "start it, or correct HOLDFAST_AGENT_FRONTENDS; if it runs, see that both sides use TLS, and "
    "that each trusts the issuer of the other's certificate"
)
UNKNOWN: Final = (
    "correct the frontend's rules, or give this node another certificate: `holdfast doctor "
    "--identity-of CERTIFICATE` beside the frontend says which rule matches"
)
WELL: Final = frozenset({Code.NOT_FOUND, Code.OK})
REFUSED: Final = frozenset({Code.PERMISSION_DENIED, Code.UNAUTHENTICATED, Code.INVALID_ARGUMENT})


async def examine(
    settings: Settings, say: Callable[[str], None] = lambda _: None, *, running: bool = False
) -> list[Check]:
    """Checks everything that an agent's settings name; what can't be checked is a finding, too.

    Args:
        settings: the settings that `agent` would run with.
        say: called with the name of each check as it begins.
        running: whether `agent` runs with them already.
    """
    try:
        check(settings)
    except ConfigurationError as error:
        todo = "correct it; `agent` would refuse it, too"
        return [_failed("settings", because(error), todo)]
    say("the node's certificate, the disk cache and the listeners")
    listeners = listener_checks(settings, running=running)
    near = [*_certificate(settings), *look(settings), *listeners]
    try:
        channels = channels_of(settings)
    except ConfigurationError:
        return near  # the check of the certificate has reported it
    return [*await _frontends(settings, channels, say), *near]


async def _frontends(
    settings: Settings, channels: Channels, say: Callable[[str], None]
) -> list[Check]:
    """Asks all frontends at once; one that is away matters only if all others are, too."""
    targets = parse_targets(settings.agent_frontends)
    say(f"{len(targets)} frontend{'s' if len(targets) > 1 else ''}")
    found = await asyncio.gather(*(_frontend(settings, channels, target) for target in targets))
    reached = any(isinstance(one, Check) for one in found)
    return [
        one
        if isinstance(one, Check)
        else _failed(f"frontend {target}", because(one), UNREACHED, essential=not reached)
        for target, one in zip(targets, found, strict=True)
    ]


async def _frontend(settings: Settings, channels: Channels, target: str) -> Check | FrontendLost:
    name, tenants = f"frontend {target}", _tenants(settings)
    channel = channels.open(target)
    try:
        for tenant in tenants:
            for path, raw in ASKED:
                status = await _ask(channel, target, path, raw, _metadata(settings, tenant))
                if isinstance(status, FrontendLost):
                    return status
                if status.code not in WELL:
                    return _refusal(name, path, status)
    finally:
        await channel.close()
    who = f"tenant {', '.join(tenants)}" if any(tenants) else "this node"
    return Check(name, ok=True, essential=True, found=f"it answers, and lets {who} read and write")


async def _ask(
    channel: grpc.aio.Channel, target: str, path: str, raw: bytes, metadata: Metadata
) -> Status | FrontendLost:
    call: Any = channel.unary_unary(path)
    try:
        await call(raw, metadata=metadata, timeout=PATIENCE)
    except grpc.aio.AioRpcError as error:
        return outcome_of(error, target)
    return Status(Code.OK, "")


def _refusal(name: str, path: str, status: Status) -> Check:
    if status.code is Code.UNIMPLEMENTED:
        found = f"it is older than this agent: it has no {path.rpartition('/')[2]}"
        return _failed(name, found, "upgrade the frontends first")
    found = f"it answers {status.code.name}: {status.message}"
    if status.code in REFUSED:
        return _failed(name, found, UNKNOWN)
    return _failed(name, found, "run `holdfast doctor` beside that frontend", essential=False)


def _tenants(settings: Settings) -> list[str]:
    """The tenants in whose names the agent asks; "" where the frontends know who asks."""
    if not settings.agent_tenant_header:
        return [""]
    named = dict.fromkeys(parse(url).tenant for url in settings.listen)
    return [tenant for tenant in named if tenant] or [""]


def _metadata(settings: Settings, tenant: str) -> Metadata:
    return ((settings.agent_tenant_header, tenant),) if tenant else ()


def _certificate(settings: Settings) -> Iterator[Check]:
    """Checks what the node shows its frontends, and whom it trusts."""
    name, todo = "certificate of this node", "correct that file; `agent` would refuse it, too"
    try:
        channels_of(settings)
    except ConfigurationError as error:
        yield _failed(name, because(error), todo)
        return
    if not settings.agent_tls_cert:
        return
    from holdfast.service.trust.certificates import certificate_of_pem  # noqa: PLC0415 -- TLS alone

    try:
        found = certificate_of_pem(Path(settings.agent_tls_cert).read_bytes())
    except (OSError, ValueError) as error:
        yield _failed(name, because(error), todo)
        return
    now, until = time.time(), f"{dt.datetime.fromtimestamp(found.not_after, dt.UTC):%FT%TZ}"
    if found.not_after <= now:
        yield _failed(name, f"expired at {until}", "renew it: frontends refuse it")
        return
    fresh = found.not_after > now + SOON
    yield Check(name, ok=fresh, essential=False, found=f"valid until {until}", advice="renew it")


def _failed(name: str, found: str, advice: str, *, essential: bool = True) -> Check:
    return Check(name, ok=False, essential=essential, found=found, advice=advice)
