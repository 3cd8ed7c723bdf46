"""The write streams of an agent, and which frontend each of them is written through."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

from holdfast.errors import InvalidArgument
from holdfast.service.agent.passage import RelayPath
from holdfast.service.agent.relay import WriteRelay
from holdfast.service.agent.upstream import Upstream
from holdfast.service.ingest.write_messages import Action
from holdfast.service.process.background import Background
from holdfast.service.rpc import wire
from holdfast.service.rpc.call import Call
from holdfast.service.rpc.first_messages import promptly

ENDING: Final = {Action.COMMIT, Action.ABORT}
"""Actions after whose reply a stream ends."""


class Writes:
    """All write streams of an agent."""

    def __init__(
        self, path: RelayPath, background: Background, received: Callable[[int], object]
    ) -> None:
        """Begins without streams.

        Args:
            path: what the streams share.
            background: carries messages out to their end, even if a client goes away.
            received: counts bytes.
        """
        self._path = path
        self._background = background
        self._received = received
        self._open: dict[tuple[str, str], WriteRelay] = {}
        self._relays: set[WriteRelay] = set()

    def __len__(self) -> int:
        return len(self._relays)

    def upstream_of(self, tenant: str, ref: str) -> Upstream | None:
        """Returns the frontend through which a ref is being written; None if none is known."""
        relay = self._open.get((tenant, ref))
        return relay.upstream if relay else None

    def listed(self) -> list[tuple[str, str, str]]:
        """Returns tenant and ref of each stream, and the frontend that it goes through."""
        return [
            (tenant, ref, relay.upstream.target if relay.upstream else "")
            for (tenant, ref), relay in self._open.items()
        ]

    async def write(self, call: Call, tenant: str) -> None:
        """Carries one client's stream from its first message to its end.

        Args:
            call: the client's.
            tenant: the client's.

        Raises:
            HoldfastError, Status: what the stream ends with.
        """
        relay: WriteRelay | None = None
        try:
            with promptly(call):
                announced = await call.announced()
            while announced is not None:
                if relay is None:
                    relay = WriteRelay(self._path, tenant, call, self._alone)
                    self._relays.add(relay)
                await relay.admit(announced)
                if await self._answer(call, relay):
                    return
                announced = await call.announced()
        finally:
            if relay is not None:
                self._relays.discard(relay)
                self._forget(relay)
                await self._background.wait(self._background.carry(relay.close()))

    async def _answer(self, call: Call, relay: WriteRelay) -> bool:
        """Receives a message and answers it; returns whether the stream ends with that."""
        with nullcontext() if relay.ref else promptly(call):
            received = await call.receive()
        if received is None:
            return True
        raw = bytes(received)
        del received
        message = wire.read_write_request(raw)
        if not relay.ref:
            if not message.ref:
                raise InvalidArgument("first message must have a reference")
            message.check()
            if call.attachment is not None:
                call.attachment.ref = message.ref
        work = self._background.carry(relay.ask(message, raw))
        self._open.setdefault((relay.tenant, relay.ref or message.ref), relay)
        reply = await self._background.wait(work)
        self._received(message.size)
        await call.send(reply.SerializeToString())
        return message.action in ENDING

    def _alone(self, relay: WriteRelay) -> bool:
        """Whether no other stream of this agent writes a stream's ref."""
        others = self._relays - {relay}
        return all((one.tenant, one.ref) != (relay.tenant, relay.ref) for one in others)

    def _forget(self, relay: WriteRelay) -> None:
        name = relay.tenant, relay.ref
        if self._open.get(name) is relay:
            del self._open[name]
