"""What bounded tenants are charged for: each digest that they hold, once, with all of its bytes.

    charge → a hold is made → settle               the tenant gains a hold
    find → its holds are deleted → end             the tenant loses what it holds of a digest
    begin → listed, listed, … → sweep              a count of its holds, as the store lists them

A charge precedes its hold, and ends after it: what happens in between, a crash or a lost reply,
leaves a charge too many, and no hold that isn't charged for. A Delete ends only a charge that was
settled before the Delete looked for holds, since a hold that is being gained may come after that
look. Counts mend what is left over, and what Redis has lost.

An entry of `charges` is `<bytes>:<gains under way>:<charged or settled at, μs>:<counted at, ms>`,
or `gone:<at, μs>` for a digest that was deleted while a count was under way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from holdfast.coordination.keys import Keys
from holdfast.coordination.scripts import Argument, Scripts, text
from holdfast.digests import Digest

TTL_MS: Final = 7 * 24 * 60 * 60 * 1000
"""How long charges last if the tenant gains nothing, in ms. Then it is counted again."""
LANDING_MS: Final = 15 * 60 * 1000
"""How long after its charge a hold may still come, in ms: S3 refuses older signatures."""
STILL_MS: Final = 2 * 60 * 1000
"""How long a count may stand still before another one may begin, in ms: longer than a request."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a tenant is charged for.

    Attributes:
        bytes: of all digests.
        digests: how many.
        counted_ms: when its holds were last counted, by Redis's clock; 0: never, or not since
            another Redis took over.
        now_ms: when this was read, by the same clock.
    """

    bytes: int
    digests: int
    counted_ms: int
    now_ms: int

    @property
    def age(self) -> float:
        """How long ago the holds were counted, in s."""
        return (self.now_ms - self.counted_ms) / 1000 if self.counted_ms else float("inf")


class Ledger:
    """The charges of all tenants in one Redis."""

    def __init__(self, scripts: Scripts, landing_ms: int = LANDING_MS) -> None:
        """Asks for nothing yet.

        Args:
            scripts: on the Redis that has the charges.
            landing_ms: how long after its charge a hold may still come, in ms.
        """
        self._scripts = scripts
        self._landing_ms = landing_ms

    async def charge(
        self,
        tenant: str,
        digest: Digest,
        size: int,
        *,
        most_bytes: int | None,
        most_digests: int | None,
    ) -> tuple[bool, Use]:
        """Charges a tenant for a digest, unless that exceeds a bound; returns whether, and its use.

        Args:
            tenant: who is about to hold it.
            digest: what.
            size: its bytes.
            most_bytes: that the tenant may be charged for; None: any number.
            most_digests: the same.

        Raises:
            Unavailable: Redis can't be reached.
        """
        bounds = ["" if bound is None else bound for bound in (most_bytes, most_digests)]
        charged, *use = await self._scripts.run(
            "charge", self._both(tenant), [str(digest), size, *bounds, TTL_MS]
        )
        return bool(charged), Use(*map(int, use))

    async def settle(self, tenant: str, digest: Digest) -> None:
        """Records that the hold is there for which a tenant was charged.

        Raises:
            Unavailable: Redis can't be reached.
        """
        await self._scripts.run("charge_settle", [Keys(tenant).charges], [str(digest)])

    async def find(self, tenant: str, digest: Digest | None = None) -> tuple[str, Use]:
        """Returns a token of the charge for a digest, "" if there is none, and the tenant's use.

        Raises:
            Unavailable: Redis can't be reached.
        """
        charge, *use = await self._scripts.run(
            "charge_find", self._both(tenant), [str(digest) if digest else ""]
        )
        return text(charge), Use(*map(int, use))

    async def end(self, tenant: str, digest: Digest, charge: str) -> bool:
        """Ends the charge for a digest that was deleted.

        Args:
            tenant: whose holds were deleted.
            digest: on what.
            charge: its token, as `find` returned it before the holds were listed.

        Returns:
            Whether there was one, and it hasn't changed since.

        Raises:
            Unavailable: Redis can't be reached.
        """
        ended = await self._scripts.run("charge_end", self._both(tenant), [str(digest), charge])
        return bool(ended)

    # -- counts

    async def begin(self, tenant: str) -> int | None:
        """Begins a count; returns when (ms), or None if another one is under way.

        Raises:
            Unavailable: Redis can't be reached.
        """
        return (
            int(await self._scripts.run("count_begin", [Keys(tenant).use], [STILL_MS, TTL_MS]))
            or None
        )

    async def listed(self, tenant: str, found: Mapping[Digest, int | None]) -> set[Digest]:
        """Charges for what a count has found held.

        Args:
            tenant: whose holds are counted.
            found: digests and their bytes, None if they weren't read.

        Returns:
            Those among them whose bytes must be read.

        Raises:
            Unavailable: Redis can't be reached.
        """
        pairs: list[Argument] = []
        for digest, size in found.items():
            pairs += (str(digest), "" if size is None else size)
        unknown = await self._scripts.run(
            "count_listed", self._both(tenant), [STILL_MS, self._landing_ms, TTL_MS, *pairs]
        )
        return {Digest.parse(text(digest)) for digest in unknown}

    async def sweep(self, tenant: str, began_ms: int) -> None:
        """Ends the charges for what a count hasn't found, and with them the count.

        Args:
            tenant: whose holds were counted, all of them.
            began_ms: as `begin` returned it.

        Raises:
            Unavailable: Redis can't be reached.
        """
        cursor = "0"
        while True:
            reply = await self._scripts.run(
                "count_end", self._both(tenant), [cursor, began_ms, self._landing_ms]
            )
            cursor = text(reply)
            if cursor == "0":
                return

    def _both(self, tenant: str) -> list[str]:
        keys = Keys(tenant)
        return [keys.charges, keys.use]
