"""Checks, before an operator gives up all that a tenant holds, that it is known and is meant."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import typer

from holdfast.errors import InvalidArgument, NotFound
from holdfast.service.backends import tended_store
from holdfast.service.settings import Settings
from holdfast.storage.keys import seen_key, tenant_prefix
from holdfast.storage.port import NoSuchKey, ObjectStore


def refuse_unknown(settings: Settings, tenants: Iterable[str]) -> None:
    """Refuses names of tenants that were never seen and hold nothing, which must be misspelt.

    Raises:
        NotFound: there is such a name.
        ConfigurationError: the store isn't there.
        Unavailable: the store can't be reached.
    """
    with tended_store(settings, dry_run=True) as store:
        for tenant in tenants:
            if not _known(store, tenant):
                raise NotFound(
                    f"tenant {tenant} was never seen and holds nothing; "
                    "`holdfast tenants list` shows those that hold something"
                )


def consent(tenants: Iterable[str], *, yes: bool) -> None:
    """Asks for confirmation at the terminal; without a terminal, `yes` must be given.

    Raises:
        InvalidArgument: there is no terminal, and `yes` isn't given.
        typer.Abort: the answer is no.
    """
    names = ", ".join(tenants)
    confirm(
        f"Give up all that {names} holds? If its node is still there, it loses its images",
        f"all that {names} holds would be given up",
        yes=yes,
    )


def confirm(question: str, what: str, *, yes: bool) -> None:
    """Asks a question at the terminal; without a terminal, `yes` must be given.

    Args:
        question: to be answered with yes or no.
        what: would be done, for the error.
        yes: whether the answer is known.

    Raises:
        InvalidArgument: there is no terminal, and `yes` isn't given.
        typer.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidArgument(
            f"{what}, and there is no terminal to confirm it; give --yes to confirm"
        )
    typer.confirm(question, abort=True, err=True)


def _known(store: ObjectStore, tenant: str) -> bool:
    try:
        store.head(seen_key(tenant))
    except NoSuchKey:
        return next(iter(store.list(tenant_prefix(tenant))), None) is not None
    return True
