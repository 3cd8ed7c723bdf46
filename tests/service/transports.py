"""The transports, for what must hold on both of them."""

from __future__ import annotations

from typing import Final

import pytest

TRANSPORTS: Final = ("own", pytest.param("grpcio", marks=pytest.mark.slow))
"""Parameters of tests that take long: the default, and what there is to go back to."""
