"""How old something must be before the collector touches it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from holdfast.errors import ConfigurationError, because
from holdfast.service.settings import DOOM_MINIMUM, REQUEST_LANDING, Settings, check_data_age

DATA_SLACK: Final = 24 * 3600.0
"""Seconds of G beyond the longest life of an ingest where none is set: a day, in which
somebody may notice a wrong clock or a frontend with other settings."""


@dataclass(frozen=True, slots=True)
class Ages:
    """Limits in s, all of them by the store's clock but those of ingests in Redis.

    Attributes:
        grace: of a live record without a hold, until it is condemned.
        data: of data, tails and uploads that nobody names, until they go (G).
        read_grace: of a tombstone, until the data that it names goes.
        ingest_lifetime: from an ingest's first upload to its record, at most (L).
        doom: of the first run that found data unnamed, until another run deletes it.
        condemned: of a condemned record, until it may be buried: by another run, so that
            no single listing of holds takes a blob.
        landing: in which a request that was given up can still take effect.
    """

    grace: float
    data: float
    read_grace: float
    ingest_lifetime: float
    doom: float = DOOM_MINIMUM
    condemned: float = DOOM_MINIMUM
    landing: float = REQUEST_LANDING

    @classmethod
    def of(cls, settings: Settings, longest_lifetime: float) -> Ages:
        """The ages that settings ask for, if they are safe for the fleet.

        Args:
            settings: of the collector.
            longest_lifetime: of an ingest, in s, that any frontend has declared.

        Raises:
            ConfigurationError: data could be deleted that a commit may still name.
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
            grace=settings.gc_grace,
            data=settings.gc_data_age or lifetime + DATA_SLACK,
            read_grace=settings.gc_read_grace,
            ingest_lifetime=lifetime,
            doom=settings.gc_doom,
        )

    def as_json(self) -> dict[str, float]:
        """For a report."""
        return asdict(self)
