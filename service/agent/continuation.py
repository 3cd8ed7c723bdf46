"""How a write stream continues at another frontend: what is known of its ref, what that allows.

Known are the last reply (`started_at`, `offset`, `digest`), and the bytes that are kept, from
`start` to `end`. The new frontend is asked for the ref's Status, which makes no ingest, and then
by STAT.

| it answers | what follows |
| --- | --- |
| Status: NOT_FOUND; or STAT: another `started_at` | ABORTED: the ref was aborted, or committed |
| STAT: an offset before `start` or after `end` | ABORTED: these aren't the bytes of this stream |
| STAT, and the client's last message replaces all bytes | all bytes are sent, from 0 |
| STAT, and the bytes are kept from 0 | its digest is that of the kept bytes, or ABORTED |
| STAT: an offset up to the last reply's | once the bytes up to there were sent, the digest is that of the last reply, or ABORTED |
| STAT: a later offset, since a reply was lost; or there is no digest to compare | the stream continues, uncertain |
| STAT: no bytes, and the outcome of a COMMIT isn't known | the COMMIT is repeated: that says whether it took effect. If it didn't, the bytes are sent again, into a new ingest if need be |

A stream that is uncertain may have another writer's bytes before its own. So a COMMIT of it must
name the digest, which the frontend checks; without one it is ABORTED.
"""  # noqa: E501 -- a table's rows

from __future__ import annotations

import asyncio
from typing import Final

from holdfast.errors import shorten
from holdfast.protos import content_pb2 as pb
from holdfast.service.agent.outcomes import FrontendLost
from holdfast.service.agent.relay_stream import RelayStream
from holdfast.service.agent.replay import Replay
from holdfast.service.ingest.write_messages import Action, Message
from holdfast.transport.status import Code, Metadata, Status

STATUS: Final = "/containerd.services.content.v1.Content/Status"
STATUS_SILENCE: Final = 10.0
"""Seconds that the answer to a Status may take."""


class Continuation:
    """What is known of one stream's ref.

    Attributes:
        declared: what its messages have declared, as a STAT.
        last: a frontend's last reply; None before the first.
        commit_lost: whether a COMMIT was sent whose outcome isn't known.
    """

    def __init__(self, replay: Replay) -> None:
        """Knows nothing yet.

        Args:
            replay: the bytes that are kept.
        """
        self.declared = pb.WriteContentRequest(action=pb.STAT)
        self.last: pb.WriteContentResponse | None = None
        self.commit_lost = False
        self._certain = True
        self._may_be_new = False  # a COMMIT may have dropped the ref
        self._replay = replay

    def declare(self, message: Message) -> None:
        """Keeps what a message says about the whole blob."""
        declared = self.declared
        declared.ref = declared.ref or message.ref
        if message.action in {Action.STAT, Action.WRITE}:
            declared.total = message.total or declared.total
            declared.expected = message.expected or declared.expected

    def note(self, reply: pb.WriteContentResponse) -> None:
        """Keeps a reply to a message of the client, and drops bytes that are durable."""
        if self._replay.replaces:
            self._replay.replaces, self._certain = False, True
        self._replay.place(reply.offset)
        self._replay.drop(reply.kept)
        self._may_be_new = False
        self.last = reply

    def check_commit(self, message: Message) -> None:
        """Refuses a COMMIT that could be of other bytes without anybody's noticing.

        Raises:
            Status: ABORTED.
        """
        expected = message.expected or self.declared.expected
        if message.action is Action.COMMIT and not self._certain and not expected:
            raise self._aborted(
                "continued after a frontend was lost together with its reply, so that its bytes "
                "can't be compared with those sent: name the expected digest, or send them again"
            )

    async def resume(self, stream: RelayStream, metadata: Metadata) -> pb.WriteContentResponse:
        """Asks where the ingest is, and sends what it lacks; returns the last reply.

        Args:
            stream: to the frontend that continues it; nothing was sent through it yet.
            metadata: for the frontend.

        Raises:
            FrontendLost: it gave no answer, or the bytes must be sent once more.
            Status: its error, or that the ref has other bytes than were sent.
        """
        await self._look(stream, metadata)
        found = await stream.ask(self.declared.SerializeToString())
        replay = self._replay
        replay.place(found.offset)
        if self.commit_lost and not found.offset and replay.end:
            return await self._look_for_commit(stream)
        self._check_ingest(found)
        seam = await self._check_bytes(found)
        reply, offset = found, 0 if replay.replaces else found.offset
        while data := replay.read(offset):
            if offset < seam:
                data = data[: seam - offset]
            request = pb.WriteContentRequest(action=pb.WRITE, offset=offset, data=data)
            reply = await stream.ask(request.SerializeToString())
            offset += len(data)
            if offset == seam and self.last is not None:
                self._compare(reply, self.last.digest)
        durable = 0 if replay.replaces else found.offset
        self.note(reply)
        replay.drop(durable)  # older frontends don't say what they have kept
        return reply

    async def _look(self, stream: RelayStream, metadata: Metadata) -> None:
        """Makes sure that the ref is still there: a STAT would make it anew."""
        if self.last is None or self.commit_lost:
            return
        request = pb.StatusRequest(ref=self.declared.ref).SerializeToString()
        try:
            await stream.upstream.unary(STATUS, request, metadata, STATUS_SILENCE)
        except Status as status:
            if status.code is not Code.NOT_FOUND:
                raise
            raise self._aborted("is gone: it was aborted or committed by somebody else") from status

    def _check_ingest(self, found: pb.WriteContentResponse) -> None:
        last, replay = self.last, self._replay
        committed = self.commit_lost and not replay.end  # a COMMIT of no bytes, perhaps
        may_be_new = committed or (self._may_be_new and not found.offset)
        if last is not None and last.started_at != found.started_at and not may_be_new:
            raise self._aborted("was begun anew by another stream after a frontend was lost")
        offset = 0 if replay.replaces else found.offset
        if not replay.start <= offset <= replay.end:
            raise self._aborted(
                f"is at offset {offset} after a frontend was lost, and this agent has its bytes "
                f"from {replay.start} to {replay.end}"
            )

    async def _check_bytes(self, found: pb.WriteContentResponse) -> int:
        """Compares the bytes that a frontend has; returns the offset at which to do that later.

        It returns 0 if there is nothing left to compare.
        """
        replay, last = self._replay, self.last
        if replay.replaces:
            return 0
        if not replay.start:
            algorithm = found.digest.partition(":")[0]
            if found.offset and algorithm:
                ours = await asyncio.to_thread(replay.digest, algorithm, found.offset)
                self._compare(found, ours)
            elif found.offset:
                self._certain = False
            return 0
        known = replay.start if last is None else last.offset
        if found.offset > known:
            self._certain = False
        elif found.offset == known and last is not None:
            self._compare(found, last.digest)
        elif found.offset < known:
            return known
        return 0

    def _compare(self, reply: pb.WriteContentResponse, digest: str) -> None:
        """Compares what a frontend has, up to the reply's offset, with what was sent.

        Raises:
            Status: ABORTED: they differ.
        """
        if reply.digest == digest and digest:
            return
        if reply.digest.partition(":")[0] == digest.partition(":")[0] and digest:
            raise self._aborted(
                f"has other bytes before offset {reply.offset} than this stream has sent: another "
                "one has written to it after a frontend was lost"
            )
        self._certain = False

    def _aborted(self, reason: str) -> Status:
        return Status(
            Code.ABORTED,
            f"ref {shorten(self.declared.ref)} {reason}; open a new stream and ask STAT",
        )

    async def _look_for_commit(self, stream: RelayStream) -> pb.WriteContentResponse:
        """Repeats a COMMIT on a ref without bytes: it says whether the first one took effect.

        Raises:
            Status: ALREADY_EXISTS, since it did.
            FrontendLost: it didn't, and the bytes must be sent again.
        """
        request = pb.WriteContentRequest(action=pb.COMMIT, offset=self._replay.end)
        try:
            return await stream.ask(request.SerializeToString(), commits=True)
        except Status as status:
            if status.code is not Code.OUT_OF_RANGE:
                raise
        self.commit_lost, self._may_be_new = False, True
        ref = shorten(self.declared.ref)
        raise FrontendLost(f"the commit of ref {ref} was lost with its frontend")
