"""What each kind of program may do in Redis: the one table from which ACLs are made.

The commands that scripts call are read off the scripts: Redis checks them, and their keys, as if
the user had sent them. So a user that may run scripts, which frontends send themselves after Redis
has lost them, gets no more by a script of its own than by these commands.

Source: "ACL", Redis documentation; these rules are understood from version 6.2 on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from holdfast.coordination.hold_cache import NOBODYS
from holdfast.coordination.keys import LOST, Keys
from holdfast.coordination.scripts import NAMES, source
from holdfast.programs import Program

CALL: Final = re.compile(r"redis\.call\('(\w+)'")
CONNECTING: Final = ("auth", "client|setname", "command", "cluster|slots", "select")
"""What a connection begins with; the commands of clusters are refused by other servers."""
RUNNING: Final = ("eval", "evalsha")
PROBING: Final = ("del", "info", "zrem")
"""What a program that checks Redis asks besides the scripts that it tries."""


@dataclass(frozen=True, slots=True)
class RedisRights:
    """What a program may do in Redis.

    Attributes:
        scripts: those that it runs.
        commands: those that it sends itself, or that redis-py sends for it.
        keys: patterns of the keys that it may use.
        channels: to which it may publish, or subscribe.
    """

    scripts: tuple[str, ...]
    commands: tuple[str, ...]
    keys: tuple[str, ...] = ("holdfast:*",)
    channels: tuple[str, ...] = (LOST,)

    @property
    def allowed(self) -> list[str]:
        """All commands that it may use, those in its scripts included."""
        called = {command for name in self.scripts for command in called_by(name)}
        return sorted({*CONNECTING, *RUNNING, *self.commands, *called})

    def rules(self) -> str:
        """The rules as `ACL SETUSER` and an ACL file have them, without a password."""
        words = ["resetkeys", *(f"~{pattern}" for pattern in self.keys), "resetchannels"]
        words += [f"&{channel}" for channel in self.channels]
        words += ["-@all", *(f"+{command}" for command in self.allowed)]
        return " ".join(words)


@cache
def called_by(script: str) -> frozenset[str]:
    """The commands that a script calls."""
    return frozenset(name.lower() for name in CALL.findall(source(script)))


COLLECTING: Final = ("collect", "leave")
STREAMING: Final = tuple(
    name
    for name in NAMES
    if name.startswith(("flight_", "count_", "frontend_"))
    or name in {"ending", "grow", "take_turn"}
)
"""What no command of an admin runs: about writers that run at the same time, about frontends, and
counts."""
LOOKING: Final = ("ref_show",)
"""What only those run who explain what there is."""
_ANYONES: Final = Keys("*")

RIGHTS: Final[Mapping[Program, RedisRights]] = {
    Program.FRONTEND: RedisRights(
        scripts=tuple(name for name in NAMES if name not in COLLECTING + LOOKING),
        commands=("get", "ping", "set", "subscribe", "unsubscribe", "zadd", "zrange", *PROBING),
    ),
    Program.COLLECTOR: RedisRights(
        scripts=(
            *COLLECTING,
            "abort",
            "change_alone",
            "change_begin",
            "change_confirm",
            "change_end",
            "charge",
            "charge_end",
            "charge_find",
            "charge_settle",
            "find",
            "forget",
            "grow",
            "identify",
        ),
        commands=("exists", "get", "set", "zrange", "zrangebyscore"),
    ),
    Program.SCRUB: RedisRights(
        scripts=("change_begin", "change_end"),
        commands=(),
        keys=(_ANYONES.gen, _ANYONES.hold(NOBODYS), _ANYONES.guard(NOBODYS)),
        channels=(),
    ),
    Program.ADMIN: RedisRights(
        scripts=(
            *(name for name in NAMES if name not in COLLECTING + STREAMING),
            *("collect", "flight_show", "frontend_list"),
        ),
        commands=(
            *("client|list", "exists", "get", "ping", "set", "subscribe", "time"),
            *("unsubscribe", "zadd", "zrange", "zrangebyscore", *PROBING),
        ),
    ),
}
