"""Ingests: bytes on their way in, as Redis knows them, and who may write them.

Every change names the nonce of the lease it is made under and the data key it is
about; a nonce that isn't in force, or an ingest that isn't that one, changes
nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from coordination.connection import Client, Subscription, translated
from coordination.keys import LOST, TENANTS, Keys
from coordination.leases import Lease, lost
from coordination.scripts import Argument, Scripts, pairs, text
from holdfast.errors import Unavailable, shorten
from holdfast.values import Status

DONE_TTL_MS: Final = 10 * 60 * 1000
"""How long a repeated COMMIT is recognised, in ms."""
REFS: Final = 10_000
"""Names of refs read at once: 10 MB, if they are as long as can be."""
STATUS_BATCH: Final = 200
"""Refs asked for at once when all are listed."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part of an upload, in the order of the list: size in bytes, sums of its blocks."""

    etag: str
    size: int
    block_sums: bytes

    def encode(self) -> str:
        """`<size>|<sums in hex>|<etag>`; an ETag may hold anything."""
        return f"{self.size}|{self.block_sums.hex()}|{self.etag}"

    @classmethod
    def decode(cls, stored: str) -> StoredPart:
        """Reads what `encode` wrote."""
        size, sums, etag = stored.split("|", 2)
        return cls(etag, int(size), bytes.fromhex(sums))


@dataclass(frozen=True, slots=True)
class Ingest:
    """An ingest as it stands in Redis.

    Attributes:
        ref: its name inside the tenant.
        data_key: where its bytes go in the store; never used by another ingest.
        offset: bytes that are durable: parts, and the tail.
        live: bytes that its writer has received; at least `offset`.
        total: bytes announced, 0 if unknown.
        expected: digest announced, "" if unknown.
        started_at_ns: when it was first opened.
        updated_at_ns: when it last moved.
        hash: state of the hash at `offset`, encoded; "" if it can't be saved.
        crc: checksum of the last, unfinished block before `offset` …
        crc_filled: … and how many bytes it covers.
        boundary_hash: state of the hash at the end of the last full part.
        part_size: bytes of a full part, 0 before the first.
        upload_id: of the multipart upload, "" before the first full part.
        begun: when `data_key` was first used, in s by the store's clock.
        tail_key: object that holds what follows the last full part, "" if none.
        tail_size: bytes in it.
        tail_sums: checksums of its full blocks, in hexadecimal.
        frozen: the commit that is being carried out, "" if none.
        sealed: the object is complete, but no commit of it has succeeded.
        parts: what has been stored, in order.
    """

    ref: str
    data_key: str
    offset: int = 0
    live: int = 0
    total: int = 0
    expected: str = ""
    started_at_ns: int = 0
    updated_at_ns: int = 0
    hash: str = ""
    crc: int = 0
    crc_filled: int = 0
    boundary_hash: str = ""
    part_size: int = 0
    upload_id: str = ""
    begun: float | None = None
    tail_key: str = ""
    tail_size: int = 0
    tail_sums: str = ""
    frozen: str = ""
    sealed: bool = False
    parts: tuple[StoredPart, ...] = ()

    @classmethod
    def decode(cls, ref: str, stored: Mapping[str, str], parts: Sequence[str] = ()) -> Ingest:
        """Reads the hash and the list of one ingest."""

        def number(name: str) -> int:
            return int(stored.get(name) or 0)

        return cls(
            ref=ref,
            data_key=stored["data_key"],
            offset=number("offset"),
            live=max(number("live"), number("offset")),
            total=number("total"),
            expected=stored.get("expected", ""),
            started_at_ns=number("started_at"),
            updated_at_ns=number("updated_at"),
            hash=stored.get("hash", ""),
            crc=number("crc"),
            crc_filled=number("crc_filled"),
            boundary_hash=stored.get("boundary_hash", ""),
            part_size=number("part_size"),
            upload_id=stored.get("upload_id", ""),
            begun=float(stored["begun"]) if stored.get("begun") else None,
            tail_key=stored.get("tail_key", ""),
            tail_size=number("tail_size"),
            tail_sums=stored.get("tail_sums", ""),
            frozen=stored.get("frozen", ""),
            sealed=stored.get("sealed") == "1",
            parts=tuple(StoredPart.decode(part) for part in parts),
        )

    def status(self, offset: int) -> Status:
        """What a client is told of it."""
        return Status(
            ref=self.ref,
            offset=offset,
            total=self.total,
            expected=self.expected,
            started_at_ns=self.started_at_ns,
            updated_at_ns=self.updated_at_ns,
        )


@dataclass(frozen=True, slots=True)
class Done:
    """The mark of a commit just made."""

    digest: str
    size: int

    def encode(self) -> str:
        """`<size> <digest>`."""
        return f"{self.size} {self.digest}"

    @classmethod
    def decode(cls, stored: str) -> Done:
        """Reads what `encode` wrote."""
        size, _, digest = stored.partition(" ")
        return cls(digest, int(size))


@dataclass(frozen=True, slots=True)
class Opened:
    """An ingest whose lease is ours."""

    ingest: Ingest
    done: Done | None


@dataclass(frozen=True, slots=True)
class Change:
    """Fields of an ingest to set and to remove."""

    values: Mapping[str, Argument] = field(default_factory=dict)
    remove: Sequence[str] = ()

    def arguments(self) -> list[Argument]:
        """As the scripts take them."""
        flat = [word for pair in self.values.items() for word in pair]
        return [len(self.values), *flat, *self.remove]


@dataclass(frozen=True, slots=True)
class Dropped:
    """What an abort found: an ingest that it dropped, a frozen one, or none."""

    ingest: Ingest | None
    frozen: bool


class Ingests:
    """The ingests and leases of all tenants in one Redis."""

    def __init__(self, client: Client, scripts: Scripts, owner: str) -> None:
        self._client = client
        self._scripts = scripts
        self._owner = owner

    async def open(
        self, tenant: str, ref: str, nonce: str, data_key: str, *, ttl_ms: int, now_ns: int
    ) -> Opened:
        """Takes the lease on a ref and returns its ingest, made if there is none.

        Args:
            tenant: whose ref it is.
            ref: the ingest's name.
            nonce: of the new lease.
            data_key: for a new ingest; an existing one keeps its own.
            ttl_ms: how long the lease lasts without renewal.
            now_ns: the time, in ns since 1970.

        Raises:
            Unavailable: another stream holds the lease; or Redis can't be reached.
            Aborted: the ingest ended before the reply came.
        """
        await self._announce(tenant, now_ns)
        keys = Keys(tenant)
        reply = await self._scripts.run(
            "open",
            [keys.lease(ref), keys.ingest(ref), keys.parts(ref), keys.index, keys.done(ref)],
            [nonce, self._owner, ttl_ms, now_ns, data_key, ref],
        )
        if reply[0] == b"held":
            since = (now_ns - int(reply[2] or now_ns)) / 1e9
            raise Unavailable(
                f"ref {shorten(ref)} is being written by another stream on {text(reply[1])}, "
                f"for {since:.0f} s now; try again later"
            )
        stored, done = pairs(reply[1]), text(reply[3])
        if not stored:
            raise lost(ref)
        ingest = Ingest.decode(ref, stored, [text(part) for part in reply[2]])
        return Opened(ingest, Done.decode(done) if done else None)

    async def _announce(self, tenant: str, now_ns: int) -> None:
        """Puts a tenant into the index before it can have an ingest.

        Each time: a Redis that came back without it must not keep an ingest that
        no collector can find.
        """
        async with translated():
            await self._client.zadd(TENANTS, {tenant: now_ns // 10**6})

    async def release(self, tenant: str, ref: str, nonce: str) -> bool:
        """Gives a lease back; False if it wasn't ours any more."""
        return bool(await self._scripts.run("release", [Keys(tenant).lease(ref)], [nonce]))

    async def save(self, lease: Lease, data_key: str, change: Change, now_ns: int) -> None:
        """Changes fields of an ingest.

        Raises:
            Aborted: the lease or the ingest is lost.
        """
        if await self._save(lease, data_key, change, now_ns) != 1:
            raise lost(lease.ref)

    async def progress(self, lease: Lease, data_key: str, change: Change, now_ns: int) -> bool:
        """Tells how far a writer is, beside its other work; False if its lease is lost.

        An ingest that has just been restarted or committed is passed over.
        """
        return await self._save(lease, data_key, change, now_ns) != 0

    async def _save(self, lease: Lease, data_key: str, change: Change, now_ns: int) -> int:
        keys, ref = Keys(lease.tenant), lease.ref
        return int(
            await self._scripts.run(
                "save",
                [keys.lease(ref), keys.ingest(ref), keys.index],
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
        change: Change,
        now_ns: int,
    ) -> None:
        """Records that part `number` (from 1) and all before it are stored.

        Args:
            lease: the right to.
            data_key: of the ingest.
            number: of the part.
            part: what was stored.
            change: what is true at its end: `offset`, and other fields.
            now_ns: the time, in ns since 1970.

        Raises:
            Aborted: the lease or the ingest is lost.
        """
        keys, ref = Keys(lease.tenant), lease.ref
        offset = change.values["offset"]
        done = await self._scripts.run(
            "checkpoint",
            [keys.lease(ref), keys.ingest(ref), keys.parts(ref), keys.index],
            [
                *(lease.nonce, data_key, ref, now_ns, number, part.encode(), offset),
                *change.arguments(),
            ],
        )
        if done != 1:
            raise lost(ref)

    async def restart(self, lease: Lease, old_key: str, new_key: str, now_ns: int) -> None:
        """Begins an ingest anew at offset 0, under a new data key.

        Raises:
            Aborted: the lease or the ingest is lost.
        """
        keys, ref = Keys(lease.tenant), lease.ref
        if not await self._scripts.run(
            "restart",
            [keys.lease(ref), keys.ingest(ref), keys.parts(ref), keys.index],
            [lease.nonce, old_key, new_key, ref, now_ns],
        ):
            raise lost(ref)

    async def rekey(self, lease: Lease, old_key: str, new_key: str) -> None:
        """Gives an ingest that has no parts a data key that nothing was written to.

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
        """Takes an ingest back to the end of its first `parts` parts, at `offset`.

        Raises:
            Aborted: the lease or the ingest is lost.
        """
        keys, ref = Keys(lease.tenant), lease.ref
        if not await self._scripts.run(
            "rewind",
            [keys.lease(ref), keys.ingest(ref), keys.parts(ref)],
            [lease.nonce, data_key, parts, offset],
        ):
            raise lost(ref)

    async def freeze(self, lease: Lease, data_key: str, frozen: str) -> None:
        """Stores what a commit will write, before it writes it.

        Raises:
            Aborted: the lease or the ingest is lost.
        """
        keys, ref = Keys(lease.tenant), lease.ref
        if not await self._scripts.run(
            "freeze", [keys.lease(ref), keys.ingest(ref)], [lease.nonce, data_key, frozen]
        ):
            raise lost(ref)

    async def forget(self, tenant: str, ref: str, data_key: str, done: Done | None) -> bool:
        """Ends the ingest that writes `data_key`; False if the ref has another, or none."""
        keys = Keys(tenant)
        return bool(
            await self._scripts.run(
                "forget",
                [keys.ingest(ref), keys.parts(ref), keys.index, keys.done(ref)],
                [data_key, ref, done.encode() if done else "", DONE_TTL_MS],
            )
        )

    async def abort(self, tenant: str, ref: str) -> Dropped:
        """Takes a ref from its writer and drops its ingest, unless it is frozen.

        The mark of an earlier commit goes too: nothing is remembered of the ref.
        """
        keys = Keys(tenant)
        reply = await self._scripts.run(
            "abort",
            [keys.lease(ref), keys.ingest(ref), keys.parts(ref), keys.index, keys.done(ref)],
            [ref, LOST],
        )
        stored = pairs(reply[1])
        if not stored:
            return Dropped(None, frozen=False)
        parts = [text(part) for part in reply[2]] if len(reply) > 2 else []  # noqa: PLR2004
        return Dropped(Ingest.decode(ref, stored, parts), frozen=reply[0] == b"frozen")

    async def find(self, tenant: str, ref: str) -> Ingest | None:
        """An ingest as it stands, or None; `live` is the writer's, if there is one."""
        found = await self._read(tenant, [ref])
        return found[0] if found else None

    async def find_all(self, tenant: str) -> list[Ingest]:
        """All ingests of a tenant, those that moved longest ago first."""
        return [ingest async for batch in self.each(tenant) for ingest in batch]

    async def each(self, tenant: str) -> AsyncIterator[list[Ingest]]:
        """All ingests of a tenant, some at a time, those that moved longest ago first.

        Beyond the first 10,000 one that moves meanwhile may be passed over, or come twice.

        Raises:
            Unavailable: Redis can't be reached.
        """
        rank = 0
        while True:
            async with translated():
                index = self._client.zrange(Keys(tenant).index, rank, rank + REFS - 1)
                refs = [text(ref) for ref in await index]
            for start in range(0, len(refs), STATUS_BATCH):
                yield await self._read(tenant, refs[start : start + STATUS_BATCH])
            if len(refs) < REFS:
                return
            rank += REFS

    async def _read(self, tenant: str, refs: Sequence[str]) -> list[Ingest]:
        keys = Keys(tenant)
        names = [name for ref in refs for name in (keys.ingest(ref), keys.lease(ref))]
        replies = await self._scripts.run("find", names, [])
        return [
            _leased(Ingest.decode(ref, pairs(stored)), bool(leased))
            for ref, stored, leased in zip(refs, replies[::2], replies[1::2], strict=True)
            if stored
        ]

    async def watch_lost(self) -> LostNonces:
        """Subscribes to the nonces of leases that are taken away.

        Raises:
            Unavailable: Redis can't be reached.
        """
        return LostNonces(await Subscription.open(self._client, LOST))


class LostNonces:
    """A subscription to the nonces of leases that were taken away."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def next(self, wait: float) -> str | None:
        """The next nonce, or None if none came within `wait` seconds.

        Raises:
            Unavailable: the subscription broke; nonces may have been missed.
        """
        message = await self._subscription.next(wait)
        return text(message) if message else None

    async def close(self) -> None:
        """Ends the subscription."""
        await self._subscription.close()


def _leased(ingest: Ingest, leased: bool) -> Ingest:
    """What a writer that is gone had received but not made durable doesn't count."""
    if leased or ingest.live == ingest.offset:
        return ingest
    return replace(ingest, live=ingest.offset)
