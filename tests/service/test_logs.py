"""What libraries may write into the log."""

from __future__ import annotations

import logging

import pytest

from holdfast.service.process.logs import GRPC, worth_telling


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("ExecuteBatchError raised in core by servicer method [/x.Content/Read]", False),
        ("Unexpected [ExecuteBatchError] raised by servicer method [/x.Content/Read]", True),
        ("Failed sending error status from server", True),
    ],
)
def test_grpc(message: str, told: bool) -> None:
    """Only that a client went away is kept out of the log."""
    record = logging.LogRecord(GRPC, logging.ERROR, "", 0, "%s", (message,), None)
    assert worth_telling(record) is told
