"""A client of a Redis Cluster: redis-py knows which node has which slot, and lines carry requests.

Each node has lines of its own, so that one that hangs doesn't delay the requests to the others.
redis-py's own connections are used only to ask the nodes for their slots.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio.cluster import ClusterNode, RedisCluster

from holdfast.coordination.line import Bounds, Line
from holdfast.coordination.single import WALKS, decoded, words_of
from holdfast.request_counts import Outcome, RetryCause

ATTEMPTS: Final = 3
"""How often a request is begun if the cluster changes its topology meanwhile."""
REDIRECTS: Final = 16
"""How often nodes may send a request on to another node."""
PAUSE: Final = 0.05
"""Seconds before a request whose keys are just moving is sent again."""
DOWN: Final = 0.25
"""Seconds before the slots are asked for again if the cluster says that it is down."""


class SharedCluster(RedisCluster):
    """redis-py's client of a cluster, with all requests on lines."""

    def __init__(
        self,
        bounds: Bounds,
        name: str,
        retried: Callable[[Outcome | RetryCause], None],
        **options: Any,  # noqa: ANN401 -- redis-py's own
    ) -> None:
        """Connects to nothing yet.

        Args:
            bounds: of each line.
            name: by which CLIENT LIST shows the connections.
            retried: called for each request that is sent again.
            options: of redis-py's client.
        """
        super().__init__(**options)
        self._bounds = bounds
        self._name = name
        self._retried = retried
        self._lines: dict[tuple[str, bool], Line] = {}
        self._start = asyncio.Lock()

    def master_of(self, key: Any) -> str:  # noqa: ANN401 -- whatever redis-py takes
        """The master that has a key, as far as it is known."""
        with suppress(KeyError, redis_errors.RedisError, redis_errors.RedisClusterException):
            return str(self.nodes_manager.get_node_from_slot(self.keyslot(key)).name)
        return ""

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 -- redis-py's own
        """Sends a command to the node that has its keys, and returns its reply."""
        # If several requests found the client not started, each would start it again.
        async with self._start:
            await self.initialize()
        for _ in range(ATTEMPTS):
            # When slots or masters change, redis-py closes its own connections, those in
            # use included; what asks for the slots on them then fails with AttributeError.
            with suppress(AttributeError):
                return await super().execute_command(*args, **options)
        raise redis_errors.ConnectionError("the cluster's topology changes")

    async def _execute_command(self, target_node: ClusterNode, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """Sends a command to a node, and to those that this one names; redis-py calls it."""
        node, asking = target_node, False
        for _ in range(REDIRECTS):
            key = node.name, args[0] in WALKS
            line = self._lines.get(key) or await self._new_line(node, key)
            try:
                reply = await line.ask(words_of(args), asking=asking)
            except redis_errors.MovedError as error:
                self._retried(RetryCause.MOVED)
                node, asking = await self._moved_to(error), False
            except redis_errors.AskError as error:
                self._retried(RetryCause.MOVED)
                node, asking = await self._known(error), True
            except redis_errors.TryAgainError:
                self._retried(RetryCause.MOVED)
                await asyncio.sleep(PAUSE)
            except redis_errors.ClusterDownError:
                await super().aclose()  # redis-py begins again by asking for the slots
                await asyncio.sleep(DOWN)
                raise
            except (redis_errors.ConnectionError, redis_errors.TimeoutError) as error:
                self._retried(Outcome.UNANSWERED)  # redis-py repeats it
                if not isinstance(error, redis_errors.BusyLoadingError):
                    error.last_failed_node_name = node.name  # type: ignore[union-attr]
                    self._initialize = True
                raise
            else:
                return decoded(node.response_callbacks, args[0], reply, options)
        raise redis_errors.ConnectionError("the cluster's nodes send the request back and forth")

    async def _moved_to(self, error: redis_errors.MovedError) -> ClusterNode:
        """The node to which a slot has moved; the slots are asked for again if that is news."""
        known = self.nodes_manager.get_node_from_slot(error.slot_id)
        if (known.host, known.port) != (error.host, error.port):
            self._initialize = True
            await self.initialize()
        return await self._known(error)

    async def _known(self, error: redis_errors.AskError) -> ClusterNode:
        """The node that an error names."""
        node: ClusterNode | None = self.get_node(host=error.host, port=error.port)
        if node is None:
            self._initialize = True
            await self.initialize()
            node = self.get_node(host=error.host, port=error.port)
        if node is None:
            raise redis_errors.ConnectionError(
                f"the cluster names a node {error.host}:{error.port} that isn't in it"
            )
        return node

    async def _new_line(self, node: ClusterNode, key: tuple[str, bool]) -> Line:
        """A line to a node; the lines to nodes that have left the cluster are closed."""
        line = self._lines[key] = Line(_connection_to(node), self._bounds, self._name)
        known = {node.name, *self.nodes_manager.nodes_cache}
        for gone in [key for key in self._lines if key[0] not in known]:
            await self._lines.pop(gone).close()
        return line

    async def aclose(self) -> None:
        """Closes all connections; whoever waits for a reply gets an error."""
        lines, self._lines = self._lines, {}
        for line in lines.values():
            await line.close()
        await super().aclose()


def _connection_to(node: ClusterNode) -> Callable[[], Any]:
    return lambda: node.connection_class(**node.connection_kwargs)
