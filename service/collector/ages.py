"""How old things must be before the collector touches them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from holdfast.errors import ConfigurationError, because
from holdfast.service.settings import DOOM_MINIMUM, REQUEST_LANDING, Settings, check_data_age

DATA_SLACK: Final = 24 * 3600.0
"""Seconds by which G exceeds the longest life of an ingest if G isn't set: a day, in which an
operator may notice a wrong clock, or a frontend with other settings."""


@dataclass(frozen=True, slots=True)
class Ages:
    """Limits in s, by the store's clock, except those of ingests in Redis.

    Attributes:
        retain: time for which a blob is kept since a run first found no hold on it; after that,
            its record may be condemned.
        data: age of data, tails and uploads that nothing names, from which they may go (G).
        read_grace: age of a tombstone, from which the data that it names may go.
        ingest_lifetime: longest time from an ingest's first upload to its record (L).
        doom: time from the run that first found data unnamed to the run that may delete it.
        condemned: age of a condemned record, from which another run may bury it, so that no
            single listing of holds removes a blob.
        landing: time within which a request that was given up can still take effect.
    """

    retain: float
    data: float
    read_grace: float
    ingest_lifetime: float
    doom: float = DOOM_MINIMUM
    condemned: float = DOOM_MINIMUM
    landing: float = REQUEST_LANDING

    @classmethod
    def of(cls, settings: Settings, longest_lifetime: float) -> Ages:
        """Returns the ages that settings ask for, if they are safe for the fleet.

        Args:
            settings: the collector's settings.
            longest_lifetime: the longest life of an ingest that any frontend declared, in s.

        Raises:
            ConfigurationError: the collector could delete data that a commit may still name.
        """
        lifetime = max(settings.ingest_lifetime, longest_lifetime)
        try:
            check_data_age(settings.gc_data_age, lifetime)
        except ValueError as error:
            raise ConfigurationError(
                f"HOLDFAST_GC_DATA_AGE: {because(error)} (this collector's "
                f"HOLDFAST_INGEST_LIFETIME is "
                f"{settings.ingest_lifetime:g} s, the longest that a frontend has declared "
                f"{longest_lifetime:g} s)"
            ) from None
        return cls(
            retain=settings.retain_for,
            data=settings.gc_data_age or lifetime + DATA_SLACK,
            read_grace=settings.gc_read_grace,
            ingest_lifetime=lifetime,
            doom=settings.gc_doom,
        )

    def as_json(self) -> dict[str, float]:
        """Returns the ages for a report."""
        return asdict(self)
