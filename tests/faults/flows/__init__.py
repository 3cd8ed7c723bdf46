"""The flows that faults strike: every RPC, and every way through the write path."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from tests.faults.flows.catalogue import CATALOGUE
from tests.faults.flows.flow import Flow
from tests.faults.flows.ingests import INGESTS
from tests.faults.flows.writing import WRITING

ALL = (*WRITING, *INGESTS, *CATALOGUE)
SMALL = frozenset(flow.name for flow in ALL if not flow.large)


def often(names: Collection[str]) -> list[Any]:
    """All flows as a test's parameters; those that aren't named run on demand."""
    return [
        pytest.param(flow, id=flow.name, marks=[] if flow.name in names else [pytest.mark.slow])
        for flow in ALL
    ]


__all__ = ["ALL", "SMALL", "Flow", "often"]
