"""Ages at which the collector could lose content are refused."""

from __future__ import annotations

import pytest

from holdfast.errors import ConfigurationError
from holdfast.service.collector.ages import DATA_SLACK, Ages
from holdfast.service.settings import CLOCK_MARGIN, REQUEST_LANDING, Settings, load

DAY = 24 * 3600.0


def test_by_default_data_outlives_every_ingest() -> None:
    """Without a setting, data is kept for a day longer than any frontend's ingests may live."""
    for own, declared in ((DAY, 0.0), (DAY, 7 * DAY), (7 * DAY, DAY)):
        ages = Ages.of(Settings(ingest_lifetime=own), declared)
        assert ages.ingest_lifetime == max(own, declared)
        assert ages.data == max(own, declared) + DATA_SLACK


@pytest.mark.parametrize("age", [1.0, DAY, DAY + REQUEST_LANDING + CLOCK_MARGIN])
def test_an_age_that_is_unsafe_by_itself_is_refused(age: float) -> None:
    """An age that this program's own ingests can reach is refused, with all values."""
    with pytest.raises(ConfigurationError) as caught:
        load(gc_data_age=age)
    for value in (age, DAY, REQUEST_LANDING, CLOCK_MARGIN, DAY + REQUEST_LANDING + CLOCK_MARGIN):
        assert f"{value:g} s" in str(caught.value)


def test_an_age_that_is_unsafe_for_another_frontend_is_refused() -> None:
    """An age that is safe here, but not for what a frontend has declared, is refused."""
    settings = load(gc_data_age=2 * DAY)
    assert Ages.of(settings, DAY).data == 2 * DAY
    with pytest.raises(ConfigurationError, match="HOLDFAST_GC_DATA_AGE") as caught:
        Ages.of(settings, 2 * DAY)
    for value in (2 * DAY, DAY):
        assert f"{value:g} s" in str(caught.value)


def test_the_smallest_safe_age() -> None:
    """An age above lifetime, landing time and margin is taken as it is."""
    least = DAY + REQUEST_LANDING + CLOCK_MARGIN
    assert Ages.of(load(gc_data_age=least + 1), 0.0).data == least + 1
