"""The refs that this process writes: each is acquired for one stream, and released once.

    acquire → lease, which is renewed → released
                                      ↘ Redis can't be reached: owed, and released later

Redis may have a lease whose reply was lost, so that one is owed, too.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.coordination.ingest import Opened
from holdfast.coordination.ingests import Ingests, TooManyIngests
from holdfast.coordination.leases import Lease, Leases
from holdfast.coordination.releases import Releases
from holdfast.errors import Locked, UnsupportedFormat
from holdfast.storage.keys import NewName, data_key


class Refs:
    """Acquires refs and releases them.

    Attributes:
        leases: the rights to write, which are renewed.
        releases: of leases that are owed.
    """

    def __init__(
        self,
        ingests: Ingests,
        leases: Leases,
        releases: Releases,
        *,
        now_ns: Callable[[], int],
        new_name: NewName,
        new_nonce: NewName,
    ) -> None:
        """Has no ref yet.

        Args:
            ingests: the ingests in Redis.
            leases: renews the leases.
            releases: releases those that are owed.
            now_ns: returns the time, in ns since 1970.
            new_name: makes names of data objects.
            new_nonce: makes nonces of leases.
        """
        self._ingests = ingests
        self.leases = leases
        self.releases = releases
        self._now_ns = now_ns
        self._new_name = new_name
        self._new_nonce = new_nonce

    async def acquire(
        self, tenant: str, ref: str, most: int | None = None, most_bytes: int | None = None
    ) -> tuple[Lease, Opened]:
        """Acquires a ref; returns the lease, and the ingest and the mark that Redis has of it.

        Args:
            tenant: whose ref it is.
            ref: its name.
            most: ingests that the tenant may have; None: any number.
            most_bytes: bytes that all of them may have; None: any number.

        Raises:
            TooManyIngests: it has that many, or as many bytes, and the ref would be another.
            UnsupportedFormat: a newer version has begun the ingest.
            Unavailable: another stream writes it, or Redis can't be reached.
        """
        leases, nonce = self.leases, self._new_nonce()
        deadline = leases.sent()
        try:
            opened = await self._ingests.open(
                tenant,
                ref,
                nonce,
                data_key(self._new_name()),
                ttl_ms=leases.ttl_ms,
                now_ns=self._now_ns(),
                most=most,
                most_bytes=most_bytes,
            )
        except (Locked, TooManyIngests, UnsupportedFormat):
            raise
        except BaseException:
            # The lease may be ours all the same: perhaps only the reply was lost.
            self.releases.owe(tenant, ref, nonce, opened=False)
            raise
        return leases.add(tenant, ref, nonce, deadline), opened

    async def ending(self, lease: Lease) -> None:
        """Says that a ref is about to be released. Nothing depends on it but others' patience.

        Raises:
            HoldfastError: Redis can't be reached, or refuses.
        """
        await self._ingests.ending(lease.tenant, lease.ref, lease.nonce)

    async def release(self, lease: Lease) -> None:
        """Ends a lease, and releases its ref; an ended one is left alone.

        Raises:
            HoldfastError: Redis can't be reached, or refuses; the ref is released later.
        """
        self.leases.remove(lease)
        if lease.end():
            await self.releases.release(lease.tenant, lease.ref, lease.nonce)

    def abandon(self, lease: Lease) -> None:
        """Ends a lease at once; if Redis may still have it, it is released later."""
        if lease.end():
            self.releases.owe(lease.tenant, lease.ref, lease.nonce, opened=True)
        self.leases.remove(lease)
