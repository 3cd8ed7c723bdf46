"""`holdfast doctor`: looks at the store, Redis and the listeners, changes nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from coordination.connection import open_client
from coordination.embedded import EmbeddedRedis, socket_url
from coordination.probe import probe as probe_redis
from holdfast.checks import Check
from holdfast.deadlines import within
from holdfast.errors import ConfigurationError, HoldfastError, because
from holdfast.tasks import begin
from service.backends import PROBE_DEADLINE, open_store
from service.disk_cache import look
from service.listeners import Listener, parse
from service.server import free_socket
from service.settings import Settings
from storage.probe import probe as probe_store


async def examine(settings: Settings, say: Callable[[str], None] = lambda _: None) -> list[Check]:
    """Looks at everything that `settings` name; a look that fails is a finding.

    All of it is looked at side by side, and nothing for longer than its deadline.

    Args:
        settings: as `serve` would run with.
        say: told of each look as it begins.
    """
    store = begin(_store(settings, say))
    redis = begin(_redis(settings, say))
    say("the disk cache and the listeners")
    near = [*look(settings)], [*_listeners(settings)]
    return [*await store, *near[0], *await redis, *near[1]]


async def _store(settings: Settings, say: Callable[[str], None]) -> list[Check]:
    where = f"bucket {settings.s3_bucket}" if settings.s3_bucket else "data folder"
    say(where)
    store = open_store(settings)
    checks: list[Check] = []
    try:
        with within(settings.call_deadline):
            await asyncio.to_thread(store.check_access)
        checks.append(Check(f"{where}: access", ok=True, essential=True, found="it is there"))
        with within(PROBE_DEADLINE):
            report = await asyncio.to_thread(probe_store, store, essential_only=False)
        checks += report.checks
    except HoldfastError as error:
        checks.append(_failed(f"{where}: access", error, "mend it, then run the doctor again"))
    finally:
        store.close()
    return checks


async def _redis(settings: Settings, say: Callable[[str], None]) -> list[Check]:
    say("Redis" if settings.redis_url else "a Redis of its own")
    with ExitStack() as stack:
        try:
            url = settings.redis_url or _embedded_url(settings, stack)
            client = open_client(url)
            try:
                return list(await probe_redis(client))
            finally:
                await client.aclose()
        except HoldfastError as error:
            return [_failed("Redis", error, "set HOLDFAST_REDIS_URL to a Redis 6.2 or newer")]


def _embedded_url(settings: Settings, stack: ExitStack) -> str:
    """The URL of the folder's own Redis: a running frontend's, or one for the occasion."""
    url = socket_url(settings.data_dir)
    server = EmbeddedRedis(settings.data_dir)
    if server.in_use():
        return url
    return stack.enter_context(server).url


def _listeners(settings: Settings) -> Iterator[Check]:
    for url in settings.listen:
        listener = parse(url)
        try:
            _bind(listener)
        except (ConfigurationError, OSError) as error:
            advice = "end the other server, or listen elsewhere"
            yield _failed(f"listener {url}", error, advice)
        else:
            yield Check(f"listener {url}", ok=True, essential=True, found="free")


def _bind(listener: Listener) -> None:
    if listener.scheme == "unix":
        free_socket(listener)
        return
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((listener.host, listener.port))


def _failed(name: str, error: Exception, advice: str) -> Check:
    return Check(name, ok=False, essential=True, found=because(error), advice=advice)
