"""Which faults a run makes: an ordinary one makes some of them, a long one makes all."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import pytest

from tests.faults.plans import Strike

Chosen = Callable[[Strike], bool]
SHARE: Final = 0.25
"""Of all faults: what an ordinary run makes, others each time; `--randomly-seed` repeats them."""

some_and_all = pytest.mark.parametrize(
    "chosen", [SHARE, pytest.param(1.0, marks=pytest.mark.slow)], ids=["some", "all"], indirect=True
)


@pytest.fixture
def chosen(request: pytest.FixtureRequest) -> Chosen:
    """Whether a run makes a fault."""
    share: float = request.param
    drawn = random.Random(random.random())  # noqa: S311 -- what the run's seed says
    return lambda _: drawn.random() < share
