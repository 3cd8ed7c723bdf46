"""Overviews of made-up fleets, and an hour that they have had."""

from __future__ import annotations

import math

from holdfast.digests import Digest
from holdfast.overview import (
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
from holdfast.service.overview.hour import HourRates, Sample
from holdfast.service.web.history import HOUR, PERIOD, History
from holdfast.values import Flight

NOW = 1_795_723_200.0
MIB = 2**20
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202egnp.\"'&"
"""What a client may call a ref."""


def frontend(number: int, **given: object) -> FrontendFigures:
    """A busy frontend."""
    fields: dict[str, object] = {
        "name": f"holdfast-7d9f8c6b5-{number:05d}/1",
        "version": "0.1.0",
        "started_at": NOW - 86400 * (number + 1),
        "at": NOW,
        "period": 5.0,
        "streams": 3,
        "reads": 12 + number,
        "calls": 4,
        "waiting": number,
        "rpcs": 180.5 + 20 * number,
        "errors": (CodeRate("NOT_FOUND", 12.2), CodeRate("UNAVAILABLE", 0.4)),
        "read": 310.0 * MIB,
        "written": 42.0 * MIB,
        "stored": 40.0 * MIB,
        "buffered": 96 * MIB,
        "memory": CacheFigures(60 * MIB, 95.0, 5.0),
        "backends": (
            BackendFigures("redis", up=True, requests=210.0, seconds=0.0007),
            BackendFigures("store", up=number != 1, requests=25.0, failures=1.5, seconds=0.034),
        ),
        "ingests": (
            IngestFigures(
                f"node-{number}", "layer-sha256:8879360de0ff", 300 * MIB, 512 * MIB, 21.0 * MIB,
                NOW - 14,
            ),
            IngestFigures(f"node-{number}", HOSTILE, 7 * MIB, 0, 3.0 * MIB, NOW - 3),
        ),
        "tenants": tuple(
            TenantFigures(f"node-{one}", 9.0 + one, 30.0 * MIB / (one + 1), 4.0 * MIB)
            for one in range(8)
        ),
        "tenant_count": 8,
        "clients": (
            ClientFigures("holdfast-agent/0.1.0", 96 + number),
            ClientFigures("containerd/1.6.20", 3),
            ClientFigures("", 2),
        ),
        "protocol": 1,
        "storage_format": 2,
        "ingest_layout": 1,
        "problems": (
            Problem(NOW - 40, "warning", "backend lost", reason="no answer within 20 s"),
            Problem(NOW - 90, "error", "lease not renewed", "node-1", HOSTILE),
        ),
        **given,
    }  # fmt: skip
    return FrontendFigures(**fields)  # type: ignore[arg-type]


def fleet(frontends: int = 3) -> Overview:
    """A busy fleet, one frontend of which is about to end."""
    flight = Flight(Digest.parse("sha256:" + "a1" * 32), "node-1", 90 * MIB, 128 * MIB, 3, ())
    made = tuple(frontend(number, draining=number == 2) for number in range(frontends))
    return Overview(NOW, made[0].name, complete=True, frontends=made, flights=(flight,))


def hour() -> History:
    """An hour with its ups and downs."""
    at = 0

    def own() -> FrontendFigures:
        wave = 1 + math.sin(at / 23) + 0.4 * math.sin(at / 3.7)
        return frontend(
            0,
            at=NOW - 3600 + at * PERIOD,
            read=150 * MIB * max(wave, 0),
            written=30 * MIB * max(math.cos(at / 40), 0),
            rpcs=120 + 60 * wave,
            errors=(CodeRate("UNAVAILABLE", 8.0 if at % 90 > 80 else 0.2),),
            streams=round(6 + 5 * wave),
        )

    history = History(own)
    for at in range(HOUR + 10):  # noqa: B007 -- `own` uses it
        history.note()
    return history


def fleets_hour(frontends: int = 3, *, away: range = range(0)) -> tuple[Sample, ...]:
    """What all frontends have done in an hour, without the samples of `away`."""
    return tuple(
        Sample(
            one.at,
            HourRates(
                frontends=frontends,
                read=one.rates.read * frontends,
                rpcs=one.rates.rpcs * frontends,
                store_requests=10.0,
                store_seconds=0.2,
                found=3.0,
                missed=1.0,
            ),
        )
        for at, one in enumerate(hour().samples)
        if at not in away
    )
