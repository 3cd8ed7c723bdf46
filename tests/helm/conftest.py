"""The helm program."""

from __future__ import annotations

import pytest

from tests.helm.chart import Helm, helm_binary


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm, where it is built."""
    program = helm_binary()
    if program is None:
        pytest.skip("helm isn't built here (it takes Go): `make tools`")
    return Helm(program, tmp_path_factory.mktemp("helm"))
