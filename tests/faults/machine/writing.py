"""Steps of clients that write."""

from __future__ import annotations

from grpc import StatusCode
from hypothesis import strategies as st
from hypothesis.stateful import rule

from holdfast.protos import content_pb2 as pb
from tests.faults.machine.base import Base, blobs, frontends, refs, spoilt, tenants
from tests.faults.machine.oracle import BLOBS, DIGESTS, Writer

numbers = st.integers(0, 11)


class Writing(Base):
    """Streams are opened, written, committed, left; blobs are pushed; refs are aborted."""

    @rule(frontend=frontends, tenant=tenants, ref=refs, blob=blobs)
    def open(self, frontend: int, tenant: str, ref: str, blob: int) -> None:
        """A client opens a ref and asks how many bytes are stored."""
        if (tenant, ref) in self.writers or ref == "push":
            return
        stream = self.tenant(frontend, tenant).write(ref)
        # A frozen commit that is found is completed.
        for digest in DIGESTS:
            self.model.labels_maybe.add((tenant, digest))
        reply, _ = self.attempt(stream.send(pb.STAT))
        if reply is not None:
            self.writers[tenant, ref] = Writer(stream, frontend, blob)

    def lost(self, tenant: str, ref: str) -> None:
        """Notes that a stream has ended."""
        del self.writers[tenant, ref]

    def writer(self, number: int) -> list[tuple[tuple[str, str], Writer]]:
        """One of the open streams; none if there is none.

        The choice of what may be drawn never depends on open streams: how a call ended depends on
        timing too, and replaying the same draws must be possible.
        """
        streams = sorted(self.writers.items(), key=lambda item: item[0])
        return [streams[number % len(streams)]] if streams else []

    @rule(number=numbers, share=st.sampled_from([2, 1]))
    def write(self, number: int, share: int) -> None:
        """A client writes from the start, half of the bytes or all."""
        for key, writer in self.writer(number):
            self._write(key, writer, share)

    def _write(self, key: tuple[str, str], writer: Writer, share: int) -> None:
        body = BLOBS[writer.blob][: len(BLOBS[writer.blob]) // share]
        reply, _ = self.attempt(writer.stream.send(pb.WRITE, offset=0, data=body))
        if reply is None:
            self.lost(*key)
        else:
            assert reply.offset == len(body)
            writer.offset = len(body)

    @rule(number=numbers, label=st.sampled_from(["x", "y"]))
    def commit(self, number: int, label: str) -> None:
        """A client writes what is missing and commits."""
        for key, writer in self.writer(number):
            self._commit(key, writer, label)

    def _commit(self, key: tuple[str, str], writer: Writer, label: str) -> None:
        tenant, body, digest = key[0], BLOBS[writer.blob], DIGESTS[writer.blob]
        labels = {"l": label}

        async def work() -> str:
            await writer.stream.send(pb.WRITE, offset=writer.offset, data=body[writer.offset :])
            reply = await writer.stream.send(pb.COMMIT, expected=digest, labels=labels)
            return reply.digest

        made, code = self.attempt(work(), StatusCode.ALREADY_EXISTS)
        self.lost(*key)
        if made:
            assert made == digest
            assert (
                digest not in self.model.held[tenant] or (tenant, digest) in self.model.labels_maybe
            )
        if made or code is StatusCode.ALREADY_EXISTS:
            self.model.labels_maybe.add((tenant, digest))
            self.model.sure(tenant, digest, labels)
        else:
            self.model.unsure(tenant, digest)

    @rule(frontend=frontends, tenant=tenants, blob=blobs, faults=spoilt)
    def push(self, frontend: int, tenant: str, blob: int, faults: list[str]) -> None:
        """A client pushes a blob in one call, while the store fails."""
        digest = DIGESTS[blob]
        plan = self.members[frontend].store
        plan.coming = faults
        client = self.tenant(frontend, tenant)
        made, code = self.attempt(client.commit("push", BLOBS[blob]), StatusCode.ALREADY_EXISTS)
        plan.coming = []
        self.model.labels_maybe.add((tenant, digest))
        if made is not None or code is StatusCode.ALREADY_EXISTS:
            self.model.sure(tenant, digest, {})
        else:
            self.model.unsure(tenant, digest)

    @rule(number=numbers, how=st.sampled_from(["half-close", "cancel"]))
    def leave(self, number: int, how: str) -> None:
        """A client leaves, orderly or abruptly."""
        for key, writer in self.writer(number):
            self.lost(*key)
            if how == "cancel":
                writer.stream.cancel()
            else:
                self.attempt(writer.stream.half_close())

    @rule(frontend=frontends, tenant=tenants, ref=refs)
    def abort(self, frontend: int, tenant: str, ref: str) -> None:
        """A tenant aborts a ref, even while a stream writes it."""
        self.attempt(self.tenant(frontend, tenant).abort(ref))
        if writer := self.writers.pop((tenant, ref), None):
            writer.stream.cancel()
