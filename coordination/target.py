"""Redis URLs, parsed.

    redis://[user:pass@]host:port/db      rediss:// the same over TLS
    unix:///path/to.sock?db=0
    redis+sentinel://[user:pass@]host:port,host:port/service/db
    redis+cluster://[user:pass@]host:port,host:port

Sentinel and cluster URLs accept `?tls=1`. Special characters in a user or a password
(`/ @ : ? # %`) are percent-encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from holdfast.errors import ConfigurationError

DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
PLAIN: Final = frozenset({"redis", "rediss", "unix"})
MANY: Final = frozenset({"redis+sentinel", "redis+cluster"})


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed URL; only sentinel and cluster URLs fill more than `scheme` and `url`."""

    scheme: str
    url: str
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> Target:
        """Reads a URL of one of the forms above.

        Raises:
            ConfigurationError: it has none of these forms. The message quotes nothing
                that may be part of a password.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            raise _malformed("its host can't be read") from None
        if parts.scheme in PLAIN:
            return cls(parts.scheme, url)
        if parts.scheme not in MANY:
            raise ConfigurationError(
                f"HOLDFAST_REDIS_URL has the scheme {parts.scheme!r}; use redis, rediss, unix, "
                "redis+sentinel or redis+cluster"
            )
        service, db = _path(parts)
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        port = SENTINEL_PORT if parts.scheme == "redis+sentinel" else DEFAULT_PORT
        return cls(
            scheme=parts.scheme,
            url=url,
            hosts=tuple(_host(text, port) for text in hosts.split(",")),
            service=service,
            db=db,
            username=unquote(username) or None,
            password=unquote(password) or None,
            tls=parse_qs(parts.query).get("tls") == ["1"],
        )


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
    if db and not db.isdecimal():
        raise _malformed("the database is a number: redis+sentinel://host:port/service/db")
    return service, int(db or 0)


def _host(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(default_port)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal():
        raise _malformed(
            "its hosts are host:port,host:port (an IPv6 address in brackets), with what is "
            "special in the password percent-encoded"
        )
    return host, int(port)


def _malformed(why: str) -> ConfigurationError:
    return ConfigurationError(f"HOLDFAST_REDIS_URL is malformed: {why}")
