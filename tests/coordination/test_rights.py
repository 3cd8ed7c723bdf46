"""The ACLs of `holdfast policy` allow what a program asks of Redis, and nothing else."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis import exceptions as redis_errors

from holdfast.coordination.connection import close_client, open_client
from holdfast.coordination.probe import probe
from holdfast.coordination.rights import RIGHTS
from holdfast.coordination.scripts import NAMES, source
from holdfast.programs import Program
from tests.servers.redis_topologies import Cluster, admin, port_of

PASSWORD: Final = "secret"
OURS: Final = "holdfast:{victim}:ingest:ref"
REFUSED: Final = (
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "dir", "/"),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "other", "on"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("SCRIPT", "FLUSH"),
    ("SHUTDOWN",),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("MONITOR",),
    ("SAVE",),
    ("MIGRATE", "127.0.0.1", "1", OURS, "0", "1"),
    ("DUMP", OURS),
    ("GET", "somebody-elses"),
    ("SET", "somebody-elses", "1"),
    ("PUBLISH", "somebody-elses", "1"),
    ("EVAL", "return redis.call('FLUSHALL')", "0"),
    ("EVAL", "return redis.call('KEYS', '*')", "0"),
    ("EVAL", "return redis.call('GET', KEYS[1])", "1", "somebody-elses"),
    ("EVAL", "return redis.call('GET', 'somebody-elses')", "0"),
)
"""What no program may do, in a script of its own either."""
REFUSED_TO_SCRUBS: Final = (
    ("HGETALL", OURS),
    ("DEL", OURS),
    ("SET", OURS, "1"),
    ("PUBLISH", "holdfast:lost", "nonce"),
    ("SUBSCRIBE", "holdfast:lost"),
    ("EVAL", "return redis.call('HGETALL', KEYS[1])", "1", OURS),
)
DENIED: Final = re.compile(
    "no permissions|NOPERM|ACL failure|can't (run|access|execute)|can't access"
)


def give(port: int, program: Program) -> str:
    """Makes a program's user on a server; its name."""
    name = f"holdfast-{program}"
    rules = RIGHTS[program].rules().split()
    with admin(port) as owner:
        owner.execute_command("ACL", "SETUSER", name, "reset", "on", f">{PASSWORD}", *rules)
    return name


def user_of(redis_url: str, program: Program) -> Any:
    """A plain client with a program's rights."""
    port = port_of(redis_url)
    return Redis(port=port, username=give(port, program), password=PASSWORD)


@pytest.mark.parametrize("program", Program)
@pytest.mark.parametrize("command", REFUSED, ids=" ".join)
def test_refused(redis_url: str, program: Program, command: tuple[str, ...]) -> None:
    """Redis refuses a program whatever isn't its own business."""
    denied = pytest.raises(redis_errors.ResponseError, match=DENIED)
    with user_of(redis_url, program) as client, denied:
        client.execute_command(*command)


@pytest.mark.parametrize("command", REFUSED_TO_SCRUBS, ids=" ".join)
def test_refused_to_scrubs(redis_url: str, command: tuple[str, ...]) -> None:
    """A scrub can make frontends forget what tenants hold, and touches no ingest."""
    denied = pytest.raises(redis_errors.ResponseError, match=DENIED)
    with user_of(redis_url, Program.SCRUB) as client, denied:
        client.execute_command(*command)


@pytest.fixture(params=["standalone", "cluster"])
def frontends_url(request: pytest.FixtureRequest) -> str:
    """The URL of a Redis, with a frontend's rights."""
    if request.param == "standalone":
        url = str(request.getfixturevalue("redis_url"))
        ports: tuple[int, ...] = (port_of(url),)
    else:
        cluster: Cluster = request.getfixturevalue("cluster")
        url, ports = cluster.url, cluster.ports
    [name] = {give(port, Program.FRONTEND) for port in ports}
    return urlsplit(url)._replace(netloc=f"{name}:{PASSWORD}@{urlsplit(url).netloc}").geturl()


async def test_allowed(frontends_url: str) -> None:
    """A frontend's own check of Redis, which tries most scripts, passes with its rights."""
    client = open_client(frontends_url)
    try:
        checks = await probe(client)
    finally:
        await close_client(client)
    assert [check.found for check in checks if check.essential and not check.ok] == []


def test_each_script_has_a_program() -> None:
    """Each script may be run by some program, and none is allowed that isn't there."""
    allowed = [set(rights.scripts) for rights in RIGHTS.values()]
    assert set().union(*allowed) == set(NAMES)
    assert all(re.search(r"redis\.call\('", source(name)) for name in NAMES)


def test_commands_are_read_off() -> None:
    """No script calls a command in a way that the table of rights wouldn't see."""
    scripts = "\n".join(map(source, NAMES))
    calls = len(re.findall(r"redis\s*\.\s*p?call", scripts))
    assert calls == len(re.findall(r"redis\.call\('\w+'", scripts))
