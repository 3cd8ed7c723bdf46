"""Redis URLs: what each form names, and what a malformed one is told."""

from __future__ import annotations

import pytest

from holdfast.coordination.connection import open_client
from holdfast.coordination.target import Target, place
from holdfast.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "hosts", "service", "db"),
    [
        ("redis+sentinel://a/fleet", (("a", 26379),), "fleet", 0),
        ("redis+sentinel://a:1,b:2/fleet/3", (("a", 1), ("b", 2)), "fleet", 3),
        ("redis+sentinel://[::1]:7,[fe80::2]/fleet", (("::1", 7), ("fe80::2", 26379)), "fleet", 0),
        ("redis+cluster://a,b:2", (("a", 6379), ("b", 2)), "", 0),
        ("redis+cluster://a/", (("a", 6379),), "", 0),
    ],
)
def test_many_hosts(url: str, hosts: tuple[tuple[str, int], ...], service: str, db: int) -> None:
    """Sentinel and cluster URLs name several hosts, with ports or the default one."""
    target = Target.parse(url)
    assert (target.hosts, target.service, target.db) == (hosts, service, db)
    assert (target.username, target.password, target.tls) == (None, None, False)


def test_credentials() -> None:
    """A user and a password may be percent-encoded; TLS is asked for with tls=1."""
    target = Target.parse("redis+cluster://us%40er:p%3A%2Fw@a?tls=1")
    assert (target.username, target.password, target.tls) == ("us@er", "p:/w", True)
    assert Target.parse("redis+cluster://:pw@a").password == "pw"


@pytest.mark.parametrize("url", ["redis://h:1/2", "rediss://h", "unix:///a/b.sock?db=0"])
def test_one_host(url: str) -> None:
    """URLs of one server are left to redis-py."""
    assert Target.parse(url) == Target(url.partition(":")[0], url)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("", "use redis, rediss, unix"),
        ("http://h", "scheme 'http'"),
        ("localhost:6379", "use redis, rediss, unix"),
        ("redis://h:port", "percent-encoded"),
        ("redis://:s3cr/et@h:1", "percent-encoded"),
        ("redis://:1/s3cret@h", "percent-encoded"),
        ("redis://h/s3cr", "a number, follows the host"),
        ("redis+sentinel://:1/s3cret@h", "slash before its @"),
        ("redis+sentinel://h:70000/fleet", "host:port,host:port"),
        ("redis+sentinel://h:" + "1" * 5000 + "/fleet", "host:port,host:port"),
        ("redis+sentinel://h/fleet/" + "1" * 5000, "database is a number"),
        ("redis://h:1/0?max_connections=many", "percent-encoded"),
        ("redis://[::1/0", "host can't be read"),
        ("redis+sentinel://h", "names its service"),
        ("redis+sentinel://h/", "names its service"),
        ("redis+sentinel://h/fleet/x", "database is a number"),
        ("redis+sentinel://h:x/fleet", "host:port,host:port"),
        ("redis+sentinel://,h/fleet", "host:port,host:port"),
        ("redis+cluster://", "host:port,host:port"),
        ("redis+cluster://:s3cr:et@h:", "host:port,host:port"),
        ("redis+cluster://:s3cr/et@h", "slash before its @"),
        ("redis+cluster://h/3", "no path"),
    ],
)
def test_malformed(url: str, advice: str) -> None:
    """A malformed URL is refused, says what to do, and quotes nothing of a password."""
    with pytest.raises(ConfigurationError, match=advice) as refused:
        open_client(url)
    assert "HOLDFAST_REDIS_URL" in str(refused.value)
    assert "s3cr" not in str(refused.value)
    assert "et@" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://user:secret@redis-1:6380/2", "redis-1:6380/2"),
        ("rediss://:secret@redis-1", "redis-1:6379"),
        ("unix:///run/redis.sock?db=1&password=secret", "unix:///run/redis.sock"),
        ("redis+sentinel://u:secret@a,b:1/main/3", "redis+sentinel://a:26379,b:1/main"),
        ("redis+cluster://:secret@a:1,b:2?tls=1", "redis+cluster://a:1,b:2"),
    ],
)
def test_place(url: str, found: str) -> None:
    """Where a URL points is told without user and password."""
    assert place(url) == found


def test_no_place() -> None:
    """A password with a slash that isn't encoded isn't mistaken for a database, and told."""
    with pytest.raises(ConfigurationError, match="percent-encoded") as refused:
        place("redis://:1/s3cret@h")
    assert "s3cret" not in str(refused.value)
