"""Ingests as Redis knows them: bytes that are being written, and which stream may write them.

Every change names the nonce of its lease and the data key of its ingest. If that lease
isn't in force, or the ref already has another ingest, the change does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.coordination.changes import Checkpoint, Progress, SavedTail, Sealed
from holdfast.coordination.client import Client
from holdfast.coordination.connection import is_cluster, translated
from holdfast.coordination.ingest import LAYOUT, Done, Dropped, Ingest, Opened, StoredPart, Turn
from holdfast.coordination.keys import LOST, TENANTS, Keys
from holdfast.coordination.leases import Lease, lost
from holdfast.coordination.lost_nonces import LostNonces
from holdfast.coordination.read_ingests import ReadIngests
from holdfast.coordination.scripts import Scripts, pairs, text, understood
from holdfast.coordination.subscription import Subscription
from holdfast.digests import Digest
from holdfast.errors import Locked, Overloaded, UnsupportedFormat, shorten
from holdfast.origins import step

DONE_TTL_MS: Final = 10 * 60 * 1000
"""How long a repeated COMMIT is recognised, in ms."""
TURN_TTL_MS: Final = 2 * 60 * 1000
"""How long a turn lasts if nobody ends it, in ms: longer than most commits take."""
ENDED_TTL_MS: Final = 60 * 60 * 1000
"""How long later commits learn of one that has ended, in ms: twice as long as an answer that the
tenant doesn't hold a digest counts as recent."""
FULL_PAUSE: Final = 5.0
"""Seconds after which a tenant with too many ingests should try again."""


class TooManyIngests(Overloaded):
    """A tenant has as many ingests, or as many bytes in them, as it may.

    Attributes:
        bound: which of both.
    """

    def __init__(self, message: str, *, bound: str) -> None:
        """Refuses a stream for now.

        Args:
            message: what the tenant has, and may have.
            bound: `ingests` or `ingest_bytes`.
        """
        super().__init__(message, FULL_PAUSE)
        self.bound = bound


def crowded(tenant: str, has: int, most: int) -> TooManyIngests:
    """The error of a tenant whose ingests have as many bytes as they may."""
    return TooManyIngests(
        f"tenant {tenant} has {has} bytes in ingests that aren't committed, of {most} that it may; "
        "try again when some are committed, or abort those that it doesn't need",
        bound="ingest_bytes",
    )


class Ingests(ReadIngests):
    """The ingests and leases of all tenants in one Redis."""

    def __init__(self, client: Client, scripts: Scripts, owner: str) -> None:
        super().__init__(client, scripts)
        self._owner = owner

    async def open(
        self,
        tenant: str,
        ref: str,
        nonce: str,
        data_key: str,
        *,
        ttl_ms: int,
        now_ns: int,
        most: int | None = None,
        most_bytes: int | None = None,
    ) -> Opened:
        """Acquires the lease on a ref and returns its ingest, which is created if there is none.

        Args:
            tenant: whose ref it is.
            ref: the ingest's name.
            nonce: of the new lease.
            data_key: for a new ingest; one that has parts, or is frozen, keeps its own.
            ttl_ms: how long the lease lasts without renewal.
            now_ns: the time, in ns since 1970.
            most: ingests that the tenant may have; None: any number.
            most_bytes: bytes that all of them may have; None: any number.

        Raises:
            Locked: another stream holds the lease.
            TooManyIngests: the ref has no ingest, and the tenant has as many, or as many bytes in
                them, as it may.
            Unavailable: Redis can't be reached.
            Aborted: the ingest ended before the reply came.
            UnsupportedFormat: a newer version has begun the ingest.
        """
        keys = Keys(tenant)
        names = [*_ingest(keys, ref), keys.index, keys.done(ref), keys.open_bytes]
        # A tenant is in the index of tenants before it can have an ingest.
        if is_cluster(self._client):  # a script may not name keys of two slots
            with self._scripts.recorded("ingest"), step("Redis", "ZADD"):
                async with translated():
                    await self._client.zadd(TENANTS, {tenant: now_ns // 10**6})
        else:
            names.append(TENANTS)
        reply = await self._scripts.run(
            "open",
            names,
            [
                *(nonce, self._owner, ttl_ms, now_ns, data_key, ref, tenant),
                "" if most is None else most,
                "" if most_bytes is None else most_bytes,
                LAYOUT,
            ],
        )
        with understood():
            if reply[0] == b"full":
                raise TooManyIngests(
                    f"tenant {tenant} has {reply[1]} ingests, of {most} that it may; try again "
                    "when some are committed, or abort those that it doesn't need",
                    bound="ingests",
                )
            if reply[0] == b"newer":
                raise UnsupportedFormat(
                    f"ref {shorten(ref)} has an ingest of layout {text(reply[1])}; this frontend "
                    f"knows up to {LAYOUT}: write through a newer one, or Abort it"
                )
            if reply[0] == b"crowded":
                raise crowded(tenant, int(reply[1]), most_bytes or 0)
            if reply[0] == b"held":
                since = (now_ns - int(reply[2] or now_ns)) / 1e9
                raise Locked(
                    f"ref {shorten(ref)} is being written by another stream on {text(reply[1])}, "
                    f"for {since:.0f} s now; try again later",
                    ending=bool(reply[3]),
                )
            stored, done = pairs(reply[1]), text(reply[3])
            if not stored:
                raise lost(ref)
            ingest = Ingest.decode(ref, stored, [text(part) for part in reply[2]])
            return Opened(ingest, Done.decode(done) if done else None, int(reply[4]))

    async def ending(self, tenant: str, ref: str, nonce: str) -> bool:
        """Says that a lease is about to be released; False if it isn't ours any more.

        Whoever finds the ref locked learns it: see `Locked.ending`.
        """
        return bool(await self._scripts.run("ending", [Keys(tenant).lease(ref)], [nonce]))

    async def release(self, tenant: str, ref: str, nonce: str) -> bool:
        """Releases a lease; False if it wasn't ours any more."""
        return bool(await self._scripts.run("release", [Keys(tenant).lease(ref)], [nonce]))

    async def save(
        self, lease: Lease, data_key: str, change: SavedTail | Sealed, now_ns: int
    ) -> None:
        """Records a tail that a writer has made durable, or that its object is complete.

        Raises:
            Aborted: the lease or the ingest is lost.
        """
        if await self._save(lease, data_key, change, now_ns) != 1:
            raise lost(lease.ref)

    async def progress(self, lease: Lease, data_key: str, progress: Progress, now_ns: int) -> bool:
        """Records a writer's progress while it does other work; False if its lease is lost.

        Nothing changes if the ingest has just been restarted or committed.
        """
        return await self._save(lease, data_key, progress, now_ns) != 0

    async def _save(
        self, lease: Lease, data_key: str, change: SavedTail | Sealed | Progress, now_ns: int
    ) -> int:
        keys, ref = Keys(lease.tenant), lease.ref
        return int(
            await self._scripts.run(
                "save",
                [keys.lease(ref), keys.ingest(ref), keys.index, keys.open_bytes],
                [lease.nonce, data_key, ref, now_ns, *change.arguments()],
            )
        )

    async def checkpoint(
        self,
        lease: Lease,
        data_key: str,
        number: int,
        part: StoredPart,
        *,
        checkpoint: Checkpoint,
        now_ns: int,
    ) -> int:
        """Records that part `number` (from 1) and all before it are stored.

        Args:
            lease: the right to write.
            data_key: of the ingest.
            number: of the part.
            part: the part as it was stored.
            checkpoint: the state of the ingest at the part's end.
            now_ns: the time, in ns since 1970.

        Returns:
            The durable bytes of all ingests of the tenant.

        Raises:
            Aborted: the lease or the ingest is lost.
        """
        keys, ref = Keys(lease.tenant), lease.ref
        reply = await self._scripts.run(
            "checkpoint",
            [*_ingest(keys, ref), keys.index, keys.open_bytes],
            [
                *(lease.nonce, data_key, ref, now_ns, number, part.encode(), checkpoint.offset),
                *checkpoint.arguments(),
            ],
        )
        with understood():
            counted = int(reply)
        if counted < 0:
            raise lost(ref)
        return counted

    async def restart(self, lease: Lease, old_key: str, new_key: str, now_ns: int) -> None:
        """Begins an ingest anew at offset 0, under a new data key.

        Raises:
            Aborted: the lease or the ingest is lost.
        """
        keys, ref = Keys(lease.tenant), lease.ref
        if not await self._scripts.run(
            "restart",
            [*_ingest(keys, ref), keys.index, keys.open_bytes],
            [lease.nonce, old_key, new_key, ref, now_ns],
        ):
            raise lost(ref)

    async def rekey(self, lease: Lease, old_key: str, new_key: str) -> None:
        """Gives an ingest without parts a data key under which nothing was written.

        Raises:
            Aborted: the lease or the ingest is lost.
        """
        keys = Keys(lease.tenant)
        if not await self._scripts.run(
            "rekey",
            [keys.lease(lease.ref), keys.ingest(lease.ref)],
            [lease.nonce, old_key, new_key],
        ):
            raise lost(lease.ref)

    async def rewind(self, lease: Lease, data_key: str, parts: int, offset: int) -> None:
        """Returns an ingest to the end of its first `parts` parts, at `offset`.

        Raises:
            Aborted: the lease or the ingest is lost.
        """
        keys, ref = Keys(lease.tenant), lease.ref
        if not await self._scripts.run(
            "rewind",
            [*_ingest(keys, ref), keys.open_bytes],
            [lease.nonce, data_key, parts, offset],
        ):
            raise lost(ref)

    async def freeze(
        self,
        lease: Lease,
        data_key: str,
        frozen: str,
        digest: Digest | None = None,
        seen: Turn | None = None,
    ) -> Turn | None:
        """Stores what a commit will write before it writes, and acquires its digest's turn.

        Args:
            lease: the right to write.
            data_key: of the ingest.
            frozen: what the commit will write.
            digest: of the blob; None to commit without a turn.
            seen: a commit that the caller knows to have ended, and after which it has looked.

        Returns:
            None; or another commit that must end first, or be seen: then nothing was stored.

        Raises:
            Aborted: the lease or the ingest is lost.
        """
        keys, ref = Keys(lease.tenant), lease.ref
        reply = await self._scripts.run(
            "freeze",
            [keys.lease(ref), keys.ingest(ref), *([keys.turn(digest)] if digest else [])],
            [lease.nonce, data_key, frozen, seen.text if seen else "", TURN_TTL_MS],
        )
        if reply == 0:
            raise lost(ref)
        return _turn(reply)

    async def take_turn(
        self, tenant: str, digest: Digest, data_key: str, seen: Turn | None
    ) -> Turn | None:
        """Acquires a digest's turn for a commit that isn't frozen; see `freeze`."""
        reply = await self._scripts.run(
            "take_turn",
            [Keys(tenant).turn(digest)],
            [data_key, seen.text if seen else "", TURN_TTL_MS],
        )
        return _turn(reply)

    async def forget(
        self,
        tenant: str,
        ref: str,
        data_key: str,
        done: Done | None,
        digest: Digest | None = None,
        *,
        lease: Lease | None = None,
    ) -> bool:
        """Ends a frozen ingest whose commit was carried out by any process, or can't be.

        Args:
            tenant: whose ref it is.
            ref: the ingest's name.
            data_key: of the ingest.
            done: the mark of a commit that was carried out.
            digest: its turn ends too, if this commit has it.
            lease: it ends, and the ref is released: its stream has nothing more to do.

        Returns:
            False if the ref has another ingest, one that isn't frozen, or none.
        """
        turn = [Keys(tenant).turn(digest)] if digest else []
        nonce = lease.nonce if lease else ""
        reply = await self._forget(Keys(tenant), ref, ["", data_key], done, turn, released=nonce)
        if lease:
            lease.end()
        return reply == 1

    async def drop(
        self,
        lease: Lease,
        data_key: str,
        done: Done | None = None,
        digest: Digest | None = None,
    ) -> None:
        """Ends the ingest that the lease's stream writes, and with `digest` its turn, too.

        Raises:
            Aborted: the lease is lost; another stream may be writing the ingest under the
                same data key.
        """
        keys, ref = Keys(lease.tenant), lease.ref
        turn = [keys.turn(digest)] if digest else []
        if await self._forget(keys, ref, [lease.nonce, data_key], done, turn) < 0:
            raise lost(ref)

    async def _forget(
        self,
        keys: Keys,
        ref: str,
        own: Sequence[str],
        done: Done | None,
        turn: Sequence[str],
        *,
        released: str = "",
    ) -> int:
        ingest = [*_ingest(keys, ref), keys.index, keys.done(ref), keys.open_bytes]
        mark = done.encode() if done else ""
        return int(
            await self._scripts.run(
                "forget", [*ingest, *turn], [*own, ref, mark, DONE_TTL_MS, ENDED_TTL_MS, released]
            )
        )

    async def abort(self, tenant: str, ref: str) -> Dropped:
        """Revokes a ref's lease and drops its ingest, unless the ingest is frozen.

        The mark of an earlier commit is deleted too: Redis keeps nothing about the ref.
        """
        keys = Keys(tenant)
        reply = await self._scripts.run(
            "abort",
            [*_ingest(keys, ref), keys.index, keys.done(ref), keys.open_bytes],
            [ref, LOST],
        )
        with understood():
            stored = pairs(reply[1])
            if not stored:
                return Dropped(None, frozen=False)
            parts = [text(part) for part in reply[2]] if len(reply) > 2 else []  # noqa: PLR2004
        return Dropped(Ingest.decode(ref, stored, parts), frozen=reply[0] == b"frozen")

    async def watch_lost(self) -> LostNonces:
        """Subscribes to the nonces of leases that are revoked.

        Raises:
            Unavailable: Redis can't be reached.
        """
        return LostNonces(await Subscription.open(self._client, LOST))


def _ingest(keys: Keys, ref: str) -> list[str]:
    return [keys.lease(ref), keys.ingest(ref), keys.parts(ref)]


def _turn(reply: bytes | int) -> Turn | None:
    return None if isinstance(reply, int) else Turn(text(reply))
