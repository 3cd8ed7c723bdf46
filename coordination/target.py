"""Redis URLs, parsed.

    redis://[user:pass@]host:port/db      rediss:// the same over TLS
    unix:///path/to.sock?db=0
    redis+sentinel://[user:pass@]host:port,host:port/service/db
    redis+cluster://[user:pass@]host:port,host:port

Sentinel and cluster URLs accept `?tls=1`. All accept `password-file=PATH` in place of a password:
the file is read for each new connection. Special characters in a user or a password
(`/ @ : ? # %`) are percent-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlencode, urlsplit

from holdfast.errors import ConfigurationError

DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
LAST_PORT: Final = 2**16 - 1
PORT: Final = re.compile("[0-9]{1,5}", re.ASCII)
PASSWORD_FILE: Final = "password-file"  # noqa: S105 -- an option's name
DATABASE: Final = re.compile("/?[0-9]{0,9}", re.ASCII)
PLAIN: Final = frozenset({"redis", "rediss", "unix"})
MANY: Final = frozenset({"redis+sentinel", "redis+cluster"})


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed URL; those of one server fill `scheme` and `url` alone, unless they name a file.

    Attributes:
        scheme: the kind of Redis.
        url: for redis-py; without the user if the password is in a file.
        hosts: of sentinels or of a cluster.
        service: that sentinels watch.
        db: the number of the database.
        username: of the user.
        password: of the user.
        tls: whether servers speak TLS.
        password_file: the file that has the password.
    """

    scheme: str
    url: str
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False
    password_file: str = ""

    @classmethod
    def parse(cls, url: str) -> Target:
        """Reads a URL of one of the forms above.

        Raises:
            ConfigurationError: it has none of these forms. The message quotes nothing
                that may be part of a password.
        """
        try:
            parts = urlsplit(url)
            _ = parts.port if parts.scheme in {"redis", "rediss"} else None
        except ValueError:
            raise _malformed(
                "its host can't be read, or its port; what is special in the password must be "
                "percent-encoded"
            ) from None
        if parts.scheme in PLAIN:
            if parts.scheme != "unix" and not DATABASE.fullmatch(parts.path):
                # Behind a slash in a password that isn't encoded is the rest of it.
                raise _malformed(
                    "only /db, a number, follows the host; what is special in the password, such "
                    "as a slash, must be percent-encoded"
                )
            return _single(parts, url)
        if parts.scheme not in MANY:
            raise ConfigurationError(
                f"HOLDFAST_REDIS_URL has the scheme {parts.scheme!r}; use redis, rediss, unix, "
                "redis+sentinel or redis+cluster"
            )
        if "@" in parts.path:
            raise _malformed("it has a slash before its @; it must be percent-encoded")
        service, db = _path(parts)
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        port = SENTINEL_PORT if parts.scheme == "redis+sentinel" else DEFAULT_PORT
        options = parse_qs(parts.query)
        return cls(
            scheme=parts.scheme,
            url=url,
            hosts=tuple(_host(text, port) for text in hosts.split(",")),
            service=service,
            db=db,
            username=unquote(username) or None,
            password=unquote(password) or None,
            tls=options.get("tls") == ["1"],
            password_file=_password_file(options, password),
        )


def _single(parts: SplitResult, url: str) -> Target:
    """The target of a URL of one server, which redis-py reads; but it knows no password files."""
    options = parse_qs(parts.query, keep_blank_values=True)
    file = _password_file(options, parts.password)
    if not file:
        return Target(parts.scheme, url)
    del options[PASSWORD_FILE]
    query = urlencode(options, doseq=True)
    place = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    bare = f"{parts.scheme}://{place}" + (f"?{query}" if query else "")
    username = unquote(parts.username or "") or None
    return Target(parts.scheme, bare, username=username, password_file=file)


def _password_file(options: Mapping[str, list[str]], password: str | None) -> str:
    files = options.get(PASSWORD_FILE, [])
    if len(files) > 1 or files == [""] or (files and password):
        raise _malformed(f"it has one password, or one {PASSWORD_FILE}=PATH")
    return files[0] if files else ""


def place(url: str) -> str:
    """Where a URL points, for messages: without user and password.

    Raises:
        ConfigurationError: it is malformed.
    """
    target = Target.parse(url)
    if target.hosts:
        hosts = ",".join(f"{host}:{port}" for host, port in target.hosts)
        return f"{target.scheme}://{hosts}/{target.service}".rstrip("/")
    parts = urlsplit(url)
    if target.scheme == "unix":
        return f"unix://{parts.path}"
    return f"{parts.hostname}:{parts.port or DEFAULT_PORT}{parts.path}"


def _path(parts: SplitResult) -> tuple[str, int]:
    """The service and the database that a URL's path names."""
    service, _, db = parts.path.lstrip("/").partition("/")
    if parts.scheme == "redis+cluster":
        if service:
            raise _malformed("a cluster URL has no path: a cluster has one database, 0")
    elif not service:
        raise _malformed(
            "a sentinel URL names its service: redis+sentinel://host:port/service[/db]"
        )
    if db and not re.fullmatch("[0-9]{1,9}", db, re.ASCII):
        raise _malformed("the database is a number: redis+sentinel://host:port/service/db")
    return service, int(db or 0)


def _host(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(default_port)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not PORT.fullmatch(port) or not 0 < int(port) <= LAST_PORT:
        raise _malformed(
            "its hosts are host:port,host:port (an IPv6 address in brackets), with what is "
            "special in the password percent-encoded"
        )
    return host, int(port)


def _malformed(why: str) -> ConfigurationError:
    return ConfigurationError(f"HOLDFAST_REDIS_URL is malformed: {why}")
