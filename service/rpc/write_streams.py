"""Write: one stream writes one ref, message by message, each when there is room for it."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from functools import partial
from typing import Final

from holdfast.errors import CONTINUED, KEPT, InvalidArgument, Overloaded
from holdfast.service.ingest.intake import Admission
from holdfast.service.ingest.session import Session
from holdfast.service.ingest.write_messages import Action, Message, Reply
from holdfast.service.process.rpc_figures import RpcWatch
from holdfast.service.rpc import messages, wire
from holdfast.service.rpc.authority import Authority
from holdfast.service.rpc.call import UNTOLD, Call, heard
from holdfast.service.rpc.first_messages import promptly
from holdfast.service.rpc.parts import Frontend
from holdfast.service.rpc.refusals import refusal
from holdfast.service.trust.identity import ClientIdentity

ENDING: Final = frozenset({Action.COMMIT, Action.ABORT})
"""What a client may do only if it could open its stream now: it may have expired since."""


class WriteStreams:
    """The RPC Write of one listener."""

    def __init__(self, frontend: Frontend, authority: Authority) -> None:
        self._frontend = frontend
        self._authority = authority

    async def write(self, call: Call) -> None:
        """Writes one ref, message by message."""
        with self._frontend.metrics.watch("Write", call) as watch:
            await self._write(call, watch)

    async def _write(self, call: Call, watch: RpcWatch) -> None:
        session, admitted = None, False
        kept = any(name == KEPT for name, _ in call.metadata)
        admission = self._frontend.intake.stream(call)
        try:
            who = self._authority.recall("Write", call)
            who = who or await self._authority.identify("Write", call)
            watch.role = who.role
            with self._frontend.overload.admit("Write"):
                admitted = True
                # No message may be kept in memory here while the next one is awaited.
                while True:
                    message = await self._next(call, admission, session)
                    if message is None:
                        break
                    promised = session.promised if session else 0
                    admission.came(message.size, promised=promised)
                    if session is None:
                        self._frontend.traffic.called(who.tenant)
                        self._frontend.rates.call(who.tenant)
                        continues = (KEPT, CONTINUED) in call.metadata
                        session = await self._begin(who.tenant, message, continues=continues)
                        call.on_message = partial(self._answer_at_once, session, who.tenant, kept)
                    reply = session.handle_at_once(message)
                    if reply is None:
                        reply = await self._carry_out(session, who, message, call)
                    elif message.action is Action.STAT:
                        self._frontend.presence.mention(who.tenant)
                    self._frontend.metrics.bytes_written(message.size)
                    self._frontend.rates.wrote(who.tenant, message.size)
                    self._frontend.traffic.wrote(who.tenant, message.size)
                    del message
                    admission.handled()
                    if reply.last:
                        await self._close(session)
                    response = messages.write_response(reply, kept=kept)
                    await call.send(response.SerializeToString())
                    if reply.last:
                        return
        except Exception as error:
            if not admitted:
                await self._hear(call, error)
            await self._close(session)
            raise refusal("Write", error) from error
        finally:
            admission.handled()
            await self._close(session)

    async def _hear(self, call: Call, error: Exception) -> None:
        """Waits for a message of a stream that is refused, so that its status can answer it."""
        overload = self._frontend.overload
        hear = overload.hear if isinstance(error, Overloaded) else overload.hear_denied
        await hear(partial(heard, call))

    def _answer_at_once(
        self, session: Session, tenant: str, kept: bool, raw: bytes | bytearray
    ) -> tuple[bytes] | None:
        """Answers a message of a few bytes while `_next` waits for it; None: `write` has to.

        Raises:
            HoldfastError: as `Session.handle`.
        """
        if len(raw) > wire.FEW:
            return None
        message = wire.read_write_request(raw)
        if message.size and self._frontend.rates.owes(tenant):
            return None
        reply = session.answer_at_once(message)
        if reply is None:
            return None
        if message.action is Action.STAT:
            self._frontend.presence.mention(tenant)
        self._frontend.metrics.bytes_written(message.size)
        self._frontend.rates.wrote(tenant, message.size)
        self._frontend.traffic.wrote(tenant, message.size)
        return (messages.write_response(reply, kept=kept).SerializeToString(),)

    async def _next(
        self, call: Call, admission: Admission, session: Session | None
    ) -> Message | None:
        """Waits for the next message; None at the stream's end.

        Raises:
            Aborted: the ref is lost.
            Unavailable: the message stands still while others wait, or is the first one.
        """
        if session is None:
            return await _first(call, admission)
        with session.guard:
            length = await call.announced()
            if length is None:
                return None
            few = 0 <= length <= wire.FEW
            if not few:
                await self._frontend.rates.turn(session.name[0])
            while (granted := await session.admit(admission, length)) < length:
                await call.open(granted)
            raw = await call.receive()
            if raw is None:
                return None
            message = wire.read_write_request(raw)
            if few and message.size:
                # Only now is it known not to be a STAT or a COMMIT, for which nobody should wait.
                await self._frontend.rates.turn(session.name[0])
        return message

    async def _begin(self, tenant: str, message: Message, *, continues: bool) -> Session:
        if not message.ref:
            raise InvalidArgument("first message must have a reference")
        message.check()
        flights = self._frontend.flights
        digest = None
        if flights:
            digest = await flights.admit(tenant, message, continues=continues)
        session = await self._open(tenant, message.ref)
        if flights and digest:
            flights.follow(session, digest)
        return session

    async def _open(self, tenant: str, ref: str) -> Session:
        background, wanted = self._frontend.background, True
        opening = background.carry(self._frontend.sessions.open(tenant, ref, lambda: wanted))
        try:
            return await background.wait(opening)
        except asyncio.CancelledError:
            wanted = False
            # Nobody waits for the session any more, but it may have acquired the ref's lease.
            opening.add_done_callback(self._close_opened)
            raise

    def _close_opened(self, opening: asyncio.Task[Session]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._frontend.sessions.close(opening.result())

    async def _carry_out(
        self, session: Session, who: ClientIdentity, message: Message, call: Call
    ) -> Reply:
        tenant, ref = session.name
        if message.action in ENDING:
            await self._authority.confirm("Write", call, who)
        if message.action is not Action.ABORT:
            return await self._handle(session, tenant, message)
        with self._authority.audited("abort", who, call, rpc="Write", ref=ref):
            return await self._handle(session, tenant, message)

    async def _handle(self, session: Session, tenant: str, message: Message) -> Reply:
        """Has a message carried out to its end, even if the client goes away.

        If the work were interrupted, the hash could be left ahead of the offset. Instead,
        what was received is kept.
        """
        background, presence = self._frontend.background, self._frontend.presence
        if session.promises(message):
            async with presence.promising(tenant):
                return await background.wait(background.carry(session.handle(message)))
        presence.mention(tenant)
        return await background.wait(background.carry(session.handle(message)))

    async def _close(self, session: Session | None) -> None:
        if session is not None:
            await self._frontend.background.wait(self._frontend.sessions.close(session))


async def _first(call: Call, admission: Admission) -> Message | None:
    """Waits for a stream's first message; None if there is none.

    Raises:
        Unavailable: it doesn't come, or stands still.
    """
    with promptly(call):
        length = await call.announced()
    if length is None:
        return None
    while (granted := await admission.ask(None, announced=length)) < length:
        with promptly(call):
            await call.open(granted)
    # A transport that doesn't tell of lengths doesn't tell either what has arrived.
    with nullcontext() if length == UNTOLD else promptly(call):
        raw = await call.receive()
    if raw is None:
        return None
    message = wire.read_write_request(raw)
    if call.attachment is not None:
        call.attachment.ref = message.ref
    return message
