"""Retains a blob anew, for nodes that will want it: "warm" for a launch tomorrow.

    adopted by a tenant of its own → its record is written anew → its marker is renewed
    → given up again

Adopting looks whether the blob is there, as for any tenant. A collection that was under way has
perhaps found no hold and an old marker: it condemns nothing but the record that it has seen, which
isn't there any more. Later collections find a young record and a young marker. If one of them meets
the hold and removes the marker, the next one makes a younger one.

The tenant's name is new each time, so that nobody's hold can be mistaken for this one. If the
process dies in between, the hold stays until `holdfast tenants expire` drops the tenant.
"""

from __future__ import annotations

from typing import Final

from holdfast.digests import Digest
from holdfast.errors import NotFound
from holdfast.service.holdings.catalogue import Catalogue
from holdfast.service.store.blobs import AsyncBlobs
from holdfast.service.store.retained import AsyncRetained
from holdfast.storage.keys import NewName

TENANT: Final = "warming."
"""How the names of the tenants begin that hold a blob while it is warmed."""


class Warming:
    """Warms blobs of one store."""

    def __init__(
        self,
        catalogue: Catalogue,
        blobs: AsyncBlobs,
        retained: AsyncRetained,
        new_nonce: NewName,
    ) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._retained = retained
        self._new_nonce = new_nonce

    async def warm(self, digest: Digest) -> int:
        """Retains a blob from now on; returns its bytes.

        Raises:
            NotFound: the fleet doesn't have it, or shares nothing; or its bytes were found damaged
                meanwhile.
            Unavailable: Redis or the store can't be reached; if it was adopted already, the hold
                may stay.
        """
        tenant = f"{TENANT}{self._new_nonce()}"
        found = await self._catalogue.info(tenant, digest)
        try:
            if await self._blobs.renewed(digest) is None:
                raise NotFound(f"content {digest} not found: its bytes are damaged, or gone")
            await self._retained.renew(digest, found.size)
        finally:
            await self._catalogue.delete(tenant, digest)
        return found.size
