"""Options that all commands share: the store's address, the tenant, and TLS."""

from __future__ import annotations

import functools
import inspect
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Final

import typer

from holdfast.client import ClientOptions, ContentStore, Tls
from holdfast.client.store import TENANT_HEADER
from holdfast.environment import CLIENT, advice, misspelt_of_client
from holdfast.errors import (
    BeingWritten,
    ConfigurationError,
    InvalidArgument,
    because,
    request_of,
    shorten,
)

DEFAULT_ADDRESS: Final = "127.0.0.1:9000"
DEFAULT_TENANT: Final = "default"
QUICK: Final = 5.0
"""Seconds for which a command with one short answer retries."""
PATIENT: Final = 60.0
"""Seconds for which a transfer retries without progress."""

_PANEL: Final = "Store"
_ADDRESS: Final[dict[str, Any]] = {
    "help": "Address of a frontend, host:port or unix:///path.sock; of several, separated by "
    f"commas, one that answers is used. By default {DEFAULT_ADDRESS}.",
    "rich_help_panel": _PANEL,
    "show_default": False,
}
_TENANT: Final[dict[str, Any]] = {
    "help": f"The tenant, where the listener doesn't determine it; by default {DEFAULT_TENANT!r}.",
    "rich_help_panel": _PANEL,
    "show_default": False,
}
_RETRY_FOR: Final[dict[str, Any]] = {
    "help": f"Seconds to retry without progress; by default {PATIENT:g} for transfers, "
    f"else {QUICK:g}.",
    "rich_help_panel": _PANEL,
    "show_default": False,
    "min": 0,
}
_TLS_PANEL: Final = "TLS"


def _tls_option(text: str) -> dict[str, Any]:
    return {"help": text, "rich_help_panel": _TLS_PANEL, "show_default": False}


_TLS: Final = _tls_option(
    "Whether the frontends are reached over TLS; any of these options means yes."
)
_CA: Final = _tls_option(
    "File with the issuers of frontends' certificates; else public ones count."
)
_CERT: Final = _tls_option("File with the certificate that frontends are shown.")
_KEY: Final = _tls_option("File with its key.")
_TOKEN_FILE: Final[dict[str, Any]] = {
    "help": "File with a bearer token, which is sent over TLS or within this machine alone.",
    "rich_help_panel": _PANEL,
    "show_default": False,
}
_TENANT_HEADER: Final[dict[str, Any]] = {
    "help": f"The header that names the tenant; by default {TENANT_HEADER!r}.",
    "rich_help_panel": _PANEL,
    "show_default": False,
    "metavar": "NAME",
}
_SERVER_NAME: Final = _tls_option("The frontends' name, if it isn't the address's host.")
# These options come before the command and also read the environment. An option after the
# command doesn't read it, so that the environment can't override one before the command.
Address = Annotated[
    str | None, typer.Option("--address", "-a", envvar="HOLDFAST_ADDRESS", **_ADDRESS)
]
Tenant = Annotated[str | None, typer.Option("--tenant", "-t", envvar="HOLDFAST_TENANT", **_TENANT)]
RetryFor = Annotated[float | None, typer.Option("--retry-for", **_RETRY_FOR)]
UseTls = Annotated[bool | None, typer.Option("--tls/--no-tls", envvar="HOLDFAST_TLS", **_TLS)]
Ca = Annotated[str | None, typer.Option("--ca", envvar="HOLDFAST_CA", metavar="FILE", **_CA)]
Cert = Annotated[
    str | None, typer.Option("--cert", envvar="HOLDFAST_CERT", metavar="FILE", **_CERT)
]
Key = Annotated[str | None, typer.Option("--key", envvar="HOLDFAST_KEY", metavar="FILE", **_KEY)]
ServerName = Annotated[
    str | None,
    typer.Option("--server-name", envvar="HOLDFAST_SERVER_NAME", metavar="NAME", **_SERVER_NAME),
]
TokenPath = Annotated[
    str | None,
    typer.Option("--token-file", envvar="HOLDFAST_TOKEN_FILE", metavar="FILE", **_TOKEN_FILE),
]
TenantHeader = Annotated[
    str | None,
    typer.Option("--tenant-header", envvar="HOLDFAST_TENANT_HEADER", **_TENANT_HEADER),
]
_AFTER: Final = {
    "address": Annotated[str | None, typer.Option("--address", "-a", **_ADDRESS)],
    "tenant": Annotated[str | None, typer.Option("--tenant", "-t", **_TENANT)],
    "retry_for": RetryFor,
    "tls": Annotated[bool | None, typer.Option("--tls/--no-tls", **_TLS)],
    "ca": Annotated[str | None, typer.Option("--ca", metavar="FILE", **_CA)],
    "cert": Annotated[str | None, typer.Option("--cert", metavar="FILE", **_CERT)],
    "key": Annotated[str | None, typer.Option("--key", metavar="FILE", **_KEY)],
    "server_name": Annotated[
        str | None, typer.Option("--server-name", metavar="NAME", **_SERVER_NAME)
    ],
    "token_file": Annotated[
        str | None, typer.Option("--token-file", metavar="FILE", **_TOKEN_FILE)
    ],
    "tenant_header": Annotated[str | None, typer.Option("--tenant-header", **_TENANT_HEADER)],
}
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Target:
    """A store, a tenant, and how the store is reached, as far as they were given."""

    address: str | None = None
    tenant: str | None = None
    retry_for: float | None = None
    tls: bool | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    token_file: str | None = None
    tenant_header: str | None = None

    def over(self, later: Target) -> Target:
        """Returns what `later` says and, where it says nothing, what this does."""
        said = {one.name: getattr(later, one.name) for one in fields(later)}
        return replace(self, **{name: value for name, value in said.items() if value is not None})

    def elsewhere(self, address: str, tenant: str | None) -> Target:
        """Returns another store that is reached in the same way."""
        return replace(self, address=address, tenant=tenant)

    def store(self, retry_for: float, tenant: str = DEFAULT_TENANT) -> ContentStore:
        """Opens the store, by default for `tenant`; reports on standard error what it waits for.

        Raises:
            InvalidArgument: the address or the tenant is malformed, a file of TLS or a token is no
                good, or the name of the variable that should set one of them is misspelt.
        """
        for name in misspelt_of_client(os.environ):
            raise InvalidArgument(advice(name, CLIENT))
        options = ClientOptions(retry_for=retry_for if self.retry_for is None else self.retry_for)
        try:
            return ContentStore(
                self.address or DEFAULT_ADDRESS,
                tenant=self.tenant or tenant,
                tenant_header=self.tenant_header or TENANT_HEADER,
                tls=self._tls(),
                token_file=self.token_file or None,
                options=options,
                waiting=Notices(options.retry_for),
            )
        except ConfigurationError as error:
            raise InvalidArgument(because(error)) from None

    def _tls(self) -> Tls | None:
        """Returns how the store is reached over TLS; None if it isn't.

        Raises:
            ConfigurationError: there is a certificate without a key, or a key without one.
        """
        given = (self.ca, self.cert, self.key, self.server_name)
        if self.tls is False or (self.tls is None and not any(given)):
            return None
        return Tls(*(one or None for one in given))


class Notices:
    """Reports each reason for a retry once; safe for many threads."""

    def __init__(self, retry_for: float) -> None:
        self._retry_for = retry_for
        self._said: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, error: BaseException) -> None:
        """Notes that something is retried because of `error`."""
        text = because(error)
        if isinstance(error, BeingWritten):
            # Its progress changes from one try to the next; the leader's name doesn't.
            text = f"waiting for {error.leader}, which is writing the same bytes"
        with self._lock:
            if text in self._said:
                return
            self._said.add(text)
        if name := request_of(error):
            text = f"{text} (request {name})"
        typer.echo(f"holdfast: {text} (trying again for {self._retry_for:g} s)", err=True)


def with_store(
    retry_for: float, tenant: str = DEFAULT_TENANT
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command an open `store`, and the options that name it.

    They may be given before the command or after it; the ones after it win. A command that wants to
    know them has a parameter of the type `Target`.

    Args:
        retry_for: seconds for which it retries without progress, unless an option says otherwise.
        tenant: whose store it is, unless an option says otherwise.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        wanted = inspect.signature(command, eval_str=True).parameters
        told = [name for name, one in wanted.items() if one.annotation is Target]
        own = [one for name, one in wanted.items() if name not in {"store", *told}]

        @functools.wraps(command)
        def run(context: typer.Context, **given: Any) -> None:  # noqa: ANN401 -- as typer does
            before = context.find_object(Target) or Target()
            target = before.over(Target(**{name: given.pop(name) for name in _AFTER}))
            given |= dict.fromkeys(told, target)
            with target.store(retry_for, tenant) as store:
                command(store=store, **given)

        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in _AFTER.items()
        ]
        first = inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        )
        parameters = [
            first,
            *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
            *shared,
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def parse_labels(texts: list[str]) -> dict[str, str]:
    """Labels from texts `key=value`; the key may have no `=`.

    Raises:
        InvalidArgument: there is no `=`, or no key.
    """
    labels = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InvalidArgument(
                f"label {shorten(text)} is malformed; use key=value, or key= to remove it"
            )
        labels[key] = value
    return labels
