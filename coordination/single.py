"""A client of one Redis server: a line for calls, and one for what may take long.

Only subscriptions use connections of redis-py's pool, each its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import uniform
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio import ConnectionPool, Redis

from holdfast.coordination.line import Bounds, Line
from holdfast.request_counts import Outcome, uncounted

WALKS: Final = frozenset({"ZRANGE", "ZRANGEBYSCORE", "SCAN", "KEYS", "INFO", "WAIT", "CLIENT LIST"})
"""Commands whose replies may be large or late: they have a line of their own, so that no other
request waits behind them."""
PAUSE: Final = (0.02, 0.1)
"""Seconds before a request is repeated: at least, at most."""


class SharedClient(Redis):
    """redis-py's client, with all requests on lines.

    A request without an answer is repeated once: Redis may then carry it out twice.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        bounds: Bounds,
        name: str,
        ends: Callable[[Exception], bool] = lambda _: False,
        retried: Callable[[Outcome], None] = uncounted,
    ) -> None:
        """Connects to nothing yet.

        Args:
            pool: makes the connections.
            bounds: of each line.
            name: by which CLIENT LIST shows the connections.
            ends: see `Line`.
            retried: called for each request that is repeated.
        """
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._retried = retried
        self.calls = Line(pool.make_connection, bounds, name, ends)
        self.walks = Line(pool.make_connection, bounds, name, ends)

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 -- redis-py's own
        """Sends a command and returns its reply, as redis-py's client does."""
        line = self.walks if args[0] in WALKS else self.calls
        words = words_of(args)
        try:
            reply = await line.ask(words)
        except (redis_errors.ConnectionError, redis_errors.TimeoutError) as error:
            if isinstance(error, redis_errors.AuthenticationError):
                raise
            self._retried(Outcome.UNANSWERED)
            await asyncio.sleep(uniform(*PAUSE))  # noqa: S311 -- no secret
            reply = await line.ask(words)
        return decoded(self.response_callbacks, args[0], reply, options)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Closes all connections; whoever waits for a reply gets an error."""
        await self.calls.close()
        await self.walks.close()
        await super().aclose(close_connection_pool)


def words_of(command: tuple[Any, ...]) -> tuple[Any, ...]:
    """The words of a command: redis-py names some commands by two words in one string."""
    name = command[0]
    return (*name.split(), *command[1:]) if " " in name else command


def decoded(
    callbacks: Mapping[Any, Callable[..., Any]],
    command: str,
    reply: Any,  # noqa: ANN401 -- whatever Redis replies
    options: Mapping[str, Any],
) -> Any:  # noqa: ANN401
    """A reply as redis-py's method for the command returns it."""
    if callback := callbacks.get(command):
        return callback(reply, **{name: options[name] for name in options if name != "keys"})
    return reply
