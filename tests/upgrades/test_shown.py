"""What an operator sees of a fleet of two versions."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Final

from holdfast import formats
from holdfast.coordination.ingest import LAYOUT
from tests.project.repository import ROOT
from tests.upgrades.conftest import Pair

OWN: Final = {"service.ingest.frozen", "service.ingest.hashing", "service.agent.notes"}
"""Modules whose formats aren't those of documents in the store."""
STATED: Final = re.compile(r"^FORMAT: Final = (\d+)$", re.MULTILINE)


def test_the_newest_format_is_stated() -> None:
    """What the metrics say is the newest format of all documents, and the layout of ingests."""
    found = {}
    for path in [*(ROOT / "storage").rglob("*.py"), *(ROOT / "service").rglob("*.py")]:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if name not in OWN and STATED.search(path.read_text("utf-8")):
            found[name] = import_module(f"holdfast.{name}").FORMAT
    assert len(found) > 8
    assert max(found.values()) == formats.STORAGE
    assert formats.INGEST == LAYOUT


def test_metrics_tell_what_is_shared(pair: Pair) -> None:
    """A scraper can count frontends by version, formats and protocol."""
    served = pair.frontends["new"]
    _, text = served.http("/metrics")
    [line] = [line for line in text.splitlines() if line.startswith("holdfast_build_info{")]
    found = dict(re.findall(r'(\w+)="([^"]*)"', line))
    assert found.keys() >= {"version", "python"}
    assert found["storage_format"] == str(formats.STORAGE)
    assert found["ingest_layout"] == str(formats.INGEST)
    assert found["protocol"] == str(formats.PROTOCOL)
