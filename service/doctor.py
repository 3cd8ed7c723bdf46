"""`holdfast doctor`: checks the store, Redis and the listeners, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from holdfast.checks import Check
from holdfast.coordination.advice import advice, causes_of
from holdfast.coordination.client import Client
from holdfast.coordination.connection import close_client, open_client
from holdfast.coordination.crowding import crowding
from holdfast.coordination.embedded import EmbeddedRedis, socket_url
from holdfast.coordination.probe import probe as probe_redis
from holdfast.coordination.probe import skew
from holdfast.coordination.scripts import Scripts
from holdfast.coordination.target import place
from holdfast.deadlines import within
from holdfast.errors import (
    ConfigurationError,
    HoldfastError,
    PermissionDenied,
    Unavailable,
    because,
)
from holdfast.service.backends import PROBE_DEADLINE, STORE_FOLDER, open_store
from holdfast.service.holdings.bound_checks import bound_checks, fleet_check
from holdfast.service.holdings.nearness import nearness
from holdfast.service.mispaired import PLANS
from holdfast.service.pairing import pairing_of
from holdfast.service.process.workers import Workers
from holdfast.service.reading.disk_cache import look
from holdfast.service.rpc.listener_checks import listener_checks, named
from holdfast.service.settings import Settings
from holdfast.service.store.pairing import AsyncPaired
from holdfast.service.trust.explanation import shown_in
from holdfast.service.trust.identity_checks import identity_of
from holdfast.storage.folder import FolderStore
from holdfast.storage.port import ObjectStore
from holdfast.storage.probe import probe as probe_store
from holdfast.tasks import begin

PLAIN: Final = (
    "that port speaks no TLS, or its certificate isn't trusted: use http:// in "
    "HOLDFAST_S3_ENDPOINT, or name the CA with AWS_CA_BUNDLE"
)
S3_ADVICE: Final = {
    "NoSuchBucket": "make the bucket, or correct HOLDFAST_S3_BUCKET",
    "AuthorizationHeaderMalformed": "correct HOLDFAST_S3_REGION: the answer says which it is",
    "HTTP request to an HTTPS server": "that port speaks TLS: use https:// in HOLDFAST_S3_ENDPOINT",
}
"""What to do, by a text in S3's answer."""
S3_OTHERWISE: Final = "correct HOLDFAST_S3_ENDPOINT, HOLDFAST_S3_REGION and HOLDFAST_S3_BUCKET"


async def examine(
    settings: Settings, say: Callable[[str], None] = lambda _: None, *, running: bool = False
) -> list[Check]:
    """Checks everything that `settings` name; a check that can't be made is a finding, too.

    All checks run concurrently, and each within its deadline.

    Args:
        settings: the settings that `serve` would run with.
        say: called with the name of each check as it begins.
        running: whether `serve` runs with them already.
    """
    store = begin(_store(settings, say))
    redis = begin(_redis(settings, say))
    say("the disk cache and the listeners")
    listeners = listener_checks(settings, running=running)
    near = [*look(settings)], [*bound_checks(settings), *listeners]
    return [*await store, *near[0], *await redis, *near[1]]


async def _store(settings: Settings, say: Callable[[str], None]) -> list[Check]:
    where = _store_name(settings)
    say(where)
    checks: list[Check] = []
    try:
        with _opened(settings) as store:
            with within(settings.call_deadline):
                await asyncio.to_thread(store.check_access)
            found = f"it is there: {_store_place(settings)}"
            checks.append(Check(f"{where}: access", ok=True, essential=True, found=found))
            with within(PROBE_DEADLINE):
                report = await asyncio.to_thread(probe_store, store, essential_only=False)
            checks += report.checks
            with within(settings.call_deadline):
                checks += await asyncio.to_thread(lambda: [*fleet_check(settings, store)])
    except HoldfastError as error:
        found = f"{_store_place(settings)}: {because(error)}"
        checks.append(_failed(f"{where}: access", found, _store_advice(settings, error)))
    return checks


def _store_name(settings: Settings) -> str:
    return f"bucket {settings.s3_bucket}" if settings.s3_bucket else "data folder"


def _store_place(settings: Settings) -> str:
    if not settings.s3_bucket:
        return str(settings.data_dir)
    endpoint = settings.s3_endpoint or f"AWS, region {settings.s3_region}"
    return f"{endpoint}, {f'prefix {settings.s3_prefix}' if settings.s3_prefix else 'no prefix'}"


def _store_advice(settings: Settings, error: HoldfastError) -> str:
    if not settings.s3_bucket:
        return "let this user write there, or name another folder with HOLDFAST_DATA_DIR"
    if isinstance(error, PermissionDenied):
        return "correct the credentials (AWS_ACCESS_KEY_ID …), or allow them this bucket and prefix"
    if isinstance(error, Unavailable):
        if any("SSL" in type(cause).__name__ for cause in causes_of(error)):
            return PLAIN
        return "start the store, or correct HOLDFAST_S3_ENDPOINT (host, port, http or https)"
    said = because(error)
    return next((do for code, do in S3_ADVICE.items() if code in said), S3_OTHERWISE)


@contextmanager
def _opened(settings: Settings) -> Iterator[ObjectStore]:
    """Opens the store; if there is no data folder yet, a temporary folder next to its place.

    Raises:
        ConfigurationError: the folder can't be created.
    """
    with ExitStack() as stack:
        folder = settings.data_dir / STORE_FOLDER
        if settings.s3_bucket or folder.exists():
            yield stack.enter_context(closing(open_store(settings)))
            return
        there = next(parent for parent in folder.absolute().parents if parent.exists())
        try:
            made = stack.enter_context(TemporaryDirectory(prefix=".holdfast-doctor-", dir=there))
        except OSError as error:
            raise ConfigurationError(
                f"{settings.data_dir} can't be created in {there}: {because(error)}"
            ) from error
        yield FolderStore(Path(made) / STORE_FOLDER)


async def _redis(settings: Settings, say: Callable[[str], None]) -> list[Check]:
    say("Redis" if settings.redis_url else "a Redis of its own")
    with ExitStack() as stack:
        try:
            url = settings.redis_url or _embedded_url(settings, stack)
            client = open_client(url)
        except HoldfastError as error:
            return [
                _failed("Redis", because(error), "correct HOLDFAST_REDIS_URL, or HOLDFAST_DATA_DIR")
            ]
        try:
            checks = [*await probe_redis(client), await skew(client), *await crowding(client)]
            named = Check("Redis", ok=True, essential=True, found=f"it is there: {place(url)}")
            near = await nearness(settings, client)
            return [named, *checks, *await _pairing(settings, client, url), *near]
        except HoldfastError as error:
            return [
                _failed(f"Redis {place(url)}", because(error), await advice(client, url, error))
            ]
        finally:
            await close_client(client)


async def _pairing(settings: Settings, client: Client, url: str) -> list[Check]:
    """Checks whether the store is used with this Redis, without changing that."""
    if settings.embedded:
        return []
    workers = Workers(1, 1, settings.call_deadline)
    with closing(open_store(settings)) as store:
        try:
            pairing = pairing_of(AsyncPaired(store, workers), client, Scripts(client), url)
            now = await pairing.check()
        except ConfigurationError as error:
            return [_failed("Redis of this store", because(error), PLANS)]
        except Unavailable:
            return []  # the checks of the store and of Redis report it
        except HoldfastError as error:
            return [_failed("Redis of this store", because(error), "`serve` would refuse it, too")]
        finally:
            await workers.close(0.0)
    found = f"used with it, last by {now.by}" if now else "no frontend has used the store yet"
    return [Check("Redis of this store", ok=True, essential=True, found=found)]


def _embedded_url(settings: Settings, stack: ExitStack) -> str:
    """Returns the URL of the folder's own Redis: a running frontend's, or a temporary one.

    A temporary Redis has a temporary folder, which is removed with it.
    """
    if EmbeddedRedis(settings.data_dir).in_use():
        return socket_url(settings.data_dir)
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="holdfast-doctor-")))
    return stack.enter_context(EmbeddedRedis(folder)).url


async def explain(settings: Settings, text: bytes) -> Sequence[Check]:
    """Says which rule of each listener matches a client, and why the others don't.

    Args:
        settings: the settings that `serve` would run with.
        text: the client's certificate in PEM, its token, or `uid:NUMBER`.

    Raises:
        InvalidArgument: the text is none of these.
        ConfigurationError: the rules can't be used.
    """
    return await identity_of(named(settings), settings.identities, shown_in(text))


def _failed(name: str, found: str, advice: str) -> Check:
    return Check(name, ok=False, essential=True, found=found, advice=advice)
