"""Which tenants are told to ask Info for a digest, instead of writing it; without a store."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from holdfast.digests import Digest
from holdfast.errors import DataLoss, HoldfastError, ResourceExhausted, Unavailable
from holdfast.service.ingest.offers import BEGUN_ANEW, REMEMBERED, Offers
from tests.service.scrubbing import Clock

DIGEST = Digest.of(b"layer")
FRESH, WAIT = 2.5, 30.0


@dataclass
class Store:
    """What a look finds, how long ago another one has found nothing, and how many were made."""

    there: bool = True
    error: HoldfastError | None = None
    missed: float | None = None
    looks: int = 0
    clock: Clock = field(default_factory=Clock)

    async def offers(self, _: str, __: Digest) -> bool:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return self.there

    def absent(self, _: Digest, within: float) -> bool:
        return self.missed is not None and self.missed < within

    def made(self) -> Offers:
        """Offers of this store."""
        return Offers(
            absent=self.absent, offers=self.offers, fresh=FRESH, wait=WAIT, clock=self.clock
        )


async def test_what_is_there_is_offered() -> None:
    """A tenant is told to ask Info for what the store has, and how long it is told so at most."""
    store = Store()
    offers = store.made()
    assert await offers.left("a", DIGEST) == WAIT
    for _ in range(2):
        store.clock.time += 10
        left = await offers.left("a", DIGEST)
    assert left == WAIT - 20


async def test_what_is_absent_is_written() -> None:
    """What the store doesn't have is written."""
    assert await Store(there=False).made().left("a", DIGEST) == 0


@pytest.mark.parametrize(("missed", "looks"), [(FRESH - 0.1, 0), (FRESH, 1)])
async def test_a_fresh_look_counts(missed: float, looks: int) -> None:
    """If a look has just found nothing, none is made; if it is older, it isn't relied on."""
    store = Store(missed=missed)
    assert bool(await store.made().left("a", DIGEST)) == bool(looks)
    assert store.looks == looks


async def test_nobody_is_told_for_ever() -> None:
    """A tenant whose Info doesn't find the digest writes it after the wait, with no look more."""
    store = Store()
    offers = store.made()
    await offers.left("a", DIGEST)
    store.clock.time += WAIT
    assert await offers.left("a", DIGEST) == 0
    assert await offers.left("b", DIGEST) == WAIT
    store.clock.time += (BEGUN_ANEW - 1) * WAIT - 1
    assert await offers.left("a", DIGEST) == 0
    store.clock.time += 1
    assert await offers.left("a", DIGEST) == WAIT


async def test_an_info_ends_it() -> None:
    """Once a tenant's Info has found a digest, what it was told before doesn't count."""
    store = Store()
    offers = store.made()
    await offers.left("a", DIGEST)
    store.clock.time += WAIT
    offers.found("a", DIGEST)
    assert await offers.left("a", DIGEST) == WAIT


@pytest.mark.parametrize("error", [Unavailable("away"), ResourceExhausted("full")])
async def test_what_forbids_writing_is_told(error: HoldfastError) -> None:
    """A store that can't be asked can't be written to, and a tenant at its bound may not write."""
    with pytest.raises(type(error)):
        await Store(error=error).made().left("a", DIGEST)


async def test_a_damaged_record_is_written() -> None:
    """What can't be read is no reason not to write."""
    assert await Store(error=DataLoss("damaged")).made().left("a", DIGEST) == 0


async def test_memory_is_bounded() -> None:
    """However many are told, only so much is remembered: who was told last."""
    store = Store()
    offers = store.made()
    for number in range(REMEMBERED + 1):
        await offers.left(f"t{number}", DIGEST)
    store.clock.time += WAIT
    assert await offers.left("t0", DIGEST) == WAIT
    assert await offers.left(f"t{REMEMBERED}", DIGEST) == 0
