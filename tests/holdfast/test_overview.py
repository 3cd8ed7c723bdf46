"""What a fleet is doing, as values and as messages."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from holdfast.cli.screen import screen
from holdfast.digests import Digest
from holdfast.errors import DataLoss
from holdfast.overview import (
    GREATEST,
    LISTED,
    BackendFigures,
    CacheFigures,
    ClientFigures,
    CodeRate,
    FrontendFigures,
    IngestFigures,
    Overview,
    Problem,
    TenantFigures,
)
from holdfast.protos import fleet_pb2 as pb
from holdfast.service.overview.hour import Sample, in_order, in_words, rates_of
from holdfast.service.web.page import Hour, rendered
from holdfast.values import Flight

FIGURES = FrontendFigures(
    name="host-1/7",
    version="0.1.0",
    started_at=1.5,
    at=100.25,
    period=5.0,
    draining=True,
    streams=2,
    reads=3,
    calls=4,
    waiting=1,
    rpcs=12.5,
    errors=(CodeRate("UNAVAILABLE", 0.5),),
    read=1e6,
    written=2e6,
    stored=3e6,
    buffered=2**20,
    memory=CacheFigures(2**22, 4.0, 1.0),
    disk=CacheFigures(2**30, 2.0, 2.0),
    backends=(BackendFigures("redis", True, 10.0, 0.5, 0.001), BackendFigures("store", False)),
    ingests=(IngestFigures("node-1", "layer", 10, 100, 5.0, 1.0),),
    tenants=(TenantFigures("node-1", 1.0, 2.0, 3.0), TenantFigures("", 1.0, 0.0, 0.0)),
    tenant_count=7,
    problems=(Problem(99.0, "error", "RPC failed", "node-1", "layer", "sha256:00", "why"),),
    clients=(ClientFigures("holdfast-agent/0.1.0", 3), ClientFigures("", 1)),
    protocol=1,
    storage_format=2,
    ingest_layout=3,
)


def test_figures_travel() -> None:
    """Figures are the same after they were announced and read."""
    assert FrontendFigures.decode(FIGURES.encode()) == FIGURES


KINDS = (
    *(CodeRate, CacheFigures, BackendFigures, IngestFigures, TenantFigures, Problem),
    ClientFigures,
    FrontendFigures,
)


@pytest.mark.parametrize("kind", KINDS)
def test_values_have_the_fields_of_messages(kind: Any) -> None:
    """No figure is a value's alone, or a message's alone: it would be lost on its way."""
    message = getattr(pb, kind.__name__)
    assert {one.name for one in fields(kind)} == set(message.DESCRIPTOR.fields_by_name)


def test_another_version_s_figures_are_read() -> None:
    """Figures of a version that says less are 0, and what one says more is ignored."""
    less = pb.FrontendFigures(name="old/1")
    assert FrontendFigures.of(less) == FrontendFigures("old/1", "", 0.0, 0.0, 0.0)
    more = FIGURES.encode() + b"\xfa\x3f\x03new"  # field 1023
    assert FrontendFigures.decode(more) == FIGURES


def test_other_bytes_are_no_figures() -> None:
    """What isn't an announcement is refused as such."""
    with pytest.raises(DataLoss):
        FrontendFigures.decode(b"\xff\xff\xff")


NAN, INF = float("nan"), float("inf")
ANNOUNCED: list[dict[str, Any]] = [
    *({name: wrong} for name in ("rpcs", "read", "at", "started_at") for wrong in (NAN, INF, -INF)),
    {"read": 1e308, "written": 1e308},
    {"streams": -3, "buffered": -5, "waiting": -(2**63)},
    {"errors": [pb.CodeRate(code="INTERNAL", rate=NAN)]},
    {"backends": [pb.BackendFigures(name="redis", up=True, requests=1, seconds=NAN)]},
    {"ingests": [pb.IngestFigures(offset=2**62, total=-1)]},
    {"ingests": [pb.IngestFigures(offset=1, total=2**63 - 1, rate=5e-324)]},
    {"problems": [pb.Problem(at=1e300), pb.Problem(at=NAN)]},
    {"tenants": [pb.TenantFigures(tenant="a", calls=INF, read=NAN, written=-1)]},
    {"clients": [pb.ClientFigures(name="x", connections=-(2**63))], "protocol": -1},
    {"version": "\u0661.\u00b2.999999999999999999999999", "storage_format": 2**63 - 1},
    {"version": "9" * 100_000},
    {"memory": pb.CacheFigures(size=-1, hits=NAN, misses=INF)},
]


@pytest.mark.parametrize("announced", ANNOUNCED)
def test_whatever_is_announced_can_be_shown(announced: dict[str, Any]) -> None:
    """No frontend's figures keep operators from seeing the others, in a terminal or on the page."""
    found = Overview.of(
        pb.OverviewResponse(
            at=announced.get("at", 1.0),
            by="ill",
            complete=True,
            frontends=[FIGURES.message(), pb.FrontendFigures(name="ill", **announced)],
            flights=[pb.Flight(digest=str(Digest.of(b"x")), offset=2**62, total=-1, waiting=-1)],
        )
    )
    assert found.frontends[0] == FIGURES
    assert any(FIGURES.name in line.plain for line in screen(found, 120, None))
    shown = rendered(
        found, Hour("ill", [Sample(1.0, rates_of(one)) for one in found.frontends]), "nonce"
    )
    assert FIGURES.name in shown
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize("sums", [(), (1.0,), (-1.0, 1e300, 2.0), (1.0,) * 100])
def test_whatever_was_added_up_can_be_shown(sums: tuple[float, ...]) -> None:
    """The fleet's last hour is within bounds, whatever stands in Redis."""
    rates = in_words(sums)
    assert all(0 <= one <= GREATEST for one in in_order(rates))
    assert in_order(rates)[: len(sums)] == tuple(
        min(max(0.0, one), GREATEST) for one in sums[: len(in_order(rates))]
    )
    overview = Overview(2.0, "one", True, (FIGURES,))
    shown = rendered(overview, Hour("", (Sample(1.0, rates), Sample(1.0, rates))), "nonce")
    assert "The last hour of the fleet" in shown


def test_rates_are_those_of_figures() -> None:
    """What is added up over a fleet is what its frontends announce."""
    rates = rates_of(FIGURES)
    assert (rates.frontends, rates.read, rates.errors, rates.waiting) == (1.0, 1e6, 0.5, 1)
    assert rates.redis_requests == 10.0
    assert rates.redis_seconds == pytest.approx(0.01)
    assert in_words(in_order(rates)) == rates
    sample = Sample(1.0, in_words([2 * one for one in in_order(rates)]))
    assert sample.redis == pytest.approx(0.001)
    assert (sample.store, sample.hits) == (0.0, 0.8)


def test_lists_are_bounded() -> None:
    """However many streams a frontend names, only so many are made values of."""
    many = pb.FrontendFigures(ingests=[pb.IngestFigures()] * 1000)
    assert len(FrontendFigures.of(many).ingests) == LISTED


def test_tenants_are_those_of_all_frontends() -> None:
    """A tenant's figures are added up, the largest come first, and the unnamed others last."""
    one = replace(FIGURES, tenants=(TenantFigures("a", 1, 5, 0), TenantFigures("", 9, 99, 0)))
    two = replace(
        FIGURES,
        name="host-2/7",
        tenants=(
            TenantFigures("b", 1, 4, 4),
            TenantFigures("a", 2, 0, 1),
            TenantFigures("", 1, 1, 1),
        ),
    )
    assert Overview(0.0, "x", True, (one, two)).tenants == [
        TenantFigures("b", 1, 4, 4),
        TenantFigures("a", 3, 5, 1),
        TenantFigures("", 10, 100, 1),
    ]


def test_clients_are_those_of_all_frontends() -> None:
    """Connections of a program are added up, with the frontends that have them; others are last."""
    other = ClientFigures("containerd/1.6.20", 5)
    two = replace(FIGURES, name="host-2/7", clients=(other, FIGURES.clients[0]))
    both = Overview(0.0, "x", True, (FIGURES, two))
    assert both.clients == [
        (ClientFigures("holdfast-agent/0.1.0", 6), 2),
        (other, 1),
        (ClientFigures("", 1), 1),
    ]
    assert [(one.connections, one.agents) for one in both.frontends] == [(4, 3), (8, 3)]


def test_what_frontends_differ_in() -> None:
    """Frontends of one release differ in nothing; during an upgrade it is said in what."""
    newer = replace(FIGURES, name="b", version="0.10.0", protocol=2)
    assert Overview(0.0, "x", True, (FIGURES, replace(FIGURES, name="b"))).mixed == []
    assert Overview(0.0, "x", True, (FIGURES, newer)).mixed == [
        ("version", [("0.10.0", 1), ("0.1.0", 1)]),
        ("protocol", [("2", 1), ("1", 1)]),
    ]


def test_streams_and_lines_name_their_frontend() -> None:
    """Write streams are ordered by their rate, lines of logs by their time, the latest first."""
    slow, fast = FIGURES.ingests[0], replace(FIGURES.ingests[0], rate=6.0)
    early, late = FIGURES.problems[0], replace(FIGURES.problems[0], at=99.5)
    one = replace(FIGURES, name="one", ingests=(slow,), problems=(early,))
    two = replace(FIGURES, name="two", ingests=(fast,), problems=(late,))
    both = Overview(0.0, "one", True, (one, two))
    assert both.ingests == [("two", fast), ("one", slow)]
    assert both.problems == [("two", late), ("one", early)]


def test_json_has_all() -> None:
    """Programs get all figures under their names, and digests as text."""
    digest = Digest.of(b"x")
    found = Overview(
        1.0, "one", True, (FIGURES,), (Flight(digest, "node-1", 1, 2, 1, ("node-2",)),)
    ).as_json()
    assert found["frontends"][0]["memory"] == {"size": 2**22, "hits": 4.0, "misses": 1.0}
    assert found["flights"][0]["digest"] == str(digest)
