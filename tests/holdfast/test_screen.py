"""What `holdfast top` shows, on terminals of any size."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from rich.cells import cell_len

from holdfast.cli.columns import fitted, shared
from holdfast.cli.screen import screen
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
from holdfast.values import Flight

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
MIB = 2**20
NOW = 1_795_720_000.0
HOSTILE = "evil\x1b[2J\x1b]0;title\x07\r\n\u202e" + "漢" * 100
SIZES = ((80, 24), (120, 40), (40, 12), (20, 8), (200, 60), (5, 3), (1, 1))


def frontend(name: str, **figures: object) -> FrontendFigures:
    """A frontend that has nothing to do but what is given."""
    known = FrontendFigures(
        name,
        "0.1.0",
        NOW - 93_600,
        NOW,
        5.0,
        backends=(
            BackendFigures("redis", up=True, requests=40.0, seconds=0.0012),
            BackendFigures("store", up=True, requests=12.0, seconds=0.018),
        ),
    )
    return replace(known, **figures)  # type: ignore[arg-type]


FLEET = Overview(
    NOW,
    "fe-1/12",
    complete=True,
    frontends=(
        frontend(
            "fe-1/12",
            streams=2,
            reads=3,
            rpcs=1203.4,
            errors=(CodeRate("UNAVAILABLE", 2.5),),
            read=120 * MIB,
            written=30 * MIB,
            stored=29 * MIB,
            buffered=64 * MIB,
            memory=CacheFigures(64 * MIB, 97.0, 3.0),
            ingests=(
                IngestFigures("node-1", "layer-sha256:ab", 40 * MIB, 100 * MIB, 20 * MIB, NOW),
                IngestFigures("node-2", "buildkit-7", 3 * MIB, 0, 10 * MIB, NOW),
            ),
            tenants=(
                TenantFigures("node-1", 12.0, 90 * MIB, 20 * MIB),
                TenantFigures("node-2", 3.5, 30 * MIB, 10 * MIB),
            ),
            problems=(Problem(NOW - 60, "warning", "backend lost", reason="Redis"),),
            clients=(ClientFigures("holdfast-agent/0.1.0", 41), ClientFigures("", 2)),
        ),
        frontend("fe-2/9", draining=True),
    ),
    flights=(Flight(Digest.of(b"x"), "node-1", 40 * MIB, 100 * MIB, 7, ("node-3",)),),
)  # fmt: skip


SCREEN = """\
holdfast   2 frontends, 1 draining   19:06:40 UTC   by fe-1/12
read 120.0 MiB/s   written 30.0 MiB/s   stored 29.0 MiB/s   1,203 RPC/s
streams 2   reads 3   calls 0   waiting 0   buffered 64.0 MiB
connections 43, 41 of agents
errors UNAVAILABLE 2.5/s

FRONTEND                         UP    RPC/S   ERR/S        READ/S       WRITE/S
fe-1/12                       1d02h    1,203     2.5   120.0 MiB/s    30.0 MiB/s
fe-2/9 (draining)             1d02h        -       -             -             -

INGEST               TENANT                       DONE    RECEIVED          RATE
layer-sha256:ab      node-1          ████░░░░░░   40 %    40.0 MiB    20.0 MiB/s
buildkit-7           node-2                                3.0 MiB    10.0 MiB/s

IN FLIGHT                             LEADER                       DONE  WAITING
sha256:2d711642b726b04401627ca9fbac…  node-1          ████░░░░░░   40 %        7

TENANT                                       CALLS/S        READ/S       WRITE/S
node-1                                            12    90.0 MiB/s    20.0 MiB/s
node-2                                           3.5    30.0 MiB/s    10.0 MiB/s

LOG
19:05:40  backend lost: Redis

CLIENT                                                    CONNECTIONS  FRONTENDS
holdfast-agent/0.1.0                                               41          1
all others                                                          2          1
"""


def shown(overview: Overview, width: int, height: int | None = None) -> list[str]:
    """The lines of a screen."""
    return [line.plain for line in screen(overview, width, height)]


def test_a_screen() -> None:
    """A usual terminal shows sums, frontends, streams, flights, tenants and logs."""
    assert shown(FLEET, 80, 31) == SCREEN.splitlines()


def test_a_low_terminal_shows_problems_before_clients() -> None:
    """Where not all sections have room, which clients there are is what is left out first."""
    assert "\n".join(shown(FLEET, 80, 26)) + "\n" == SCREEN.partition("\nCLIENT")[0]


def headings(lines: Iterable[str]) -> list[str]:
    """The first lines of a screen's sections, which name their columns."""
    return [line for line in lines if re.match(r"[A-Z]{3,}", line)]


def test_the_page_shows_a_screen_as_it_is() -> None:
    """The real run's screen in the documentation has the sections, columns and sums of today."""
    page = OPERATIONS.read_text("utf-8")
    lines = page[page.index("```\nholdfast   ") + 4 :].partition("```")[0].splitlines()
    assert headings(lines) == headings(SCREEN.splitlines())
    assert max(map(len, lines)) == 80
    sums = [re.sub(r"[\d.,:]+( [KMG]iB)?(/s)?", "#", line) for line in SCREEN.splitlines()[1:4]]
    assert [re.sub(r"[\d.,:]+( [KMG]iB)?(/s)?", "#", line) for line in lines[1:4]] == sums


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_no_line_is_longer_than_the_terminal(width: int, height: int) -> None:
    """However small a terminal is, no line wraps, and there are no more than it has."""
    lines = shown(hostile(), width, height)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width


def hostile() -> Overview:
    """A fleet in which all that clients can choose is hostile."""
    ingest = IngestFigures(HOSTILE, HOSTILE, 1, 2, 3.0, NOW)
    tenant = TenantFigures(HOSTILE, 1.0, 2.0, 3.0)
    client = ClientFigures(HOSTILE, 3)
    problem = Problem(NOW, "error", HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    one = frontend(
        HOSTILE,
        streams=1,
        errors=(CodeRate(HOSTILE, 1.0),),
        ingests=(ingest,),
        tenants=(tenant,),
        problems=(problem,),
        version=HOSTILE,
        clients=(client,),
    )
    flight = Flight(Digest.of(b"x"), HOSTILE, 1, 2, 3, (HOSTILE,))
    return Overview(NOW, HOSTILE, complete=False, frontends=(one, frontend("b")), flights=(flight,))


def test_hostile_text_is_escaped() -> None:
    """Nothing that clients have chosen controls the terminal."""
    lines = [line.plain for line in screen(hostile(), 200, None, trouble=HOSTILE)]
    assert [line for line in lines if not line.isprintable()] == []
    assert any("evil\\x1b[2J" in line for line in lines)


def test_a_large_fleet_is_readable() -> None:
    """Of 500 frontends and 1,000 tenants the busiest are shown, and the others are sums."""
    frontends = tuple(
        frontend(
            f"fe-{at:03}",
            read=float(at * MIB),
            streams=30,
            ingests=tuple(
                IngestFigures(f"t{at}", f"r{at}-{n}", 1, 2, float(at), NOW) for n in range(20)
            ),
            tenants=tuple(TenantFigures(f"t{at * 2 + n:04}", 1.0, float(at), 0.0) for n in (0, 1)),
        )
        for at in range(500)
    )
    overview = Overview(NOW, "fe-000", complete=True, frontends=frontends)
    lines = shown(overview, 120, 40)
    assert len(lines) == 40
    rows = [line.split() for line in lines]
    names = [row[0] for row in rows if row]
    assert names[names.index("FRONTEND") + 1] == "fe-499"
    more = [" ".join(row[:3]) for row in rows if row[:1] == ["and"]]
    assert len(more) == 3
    counted = [name for name in names if name.startswith("fe-")]
    assert more[0] == f"and {500 - len(counted):,} more"
    assert (
        more[1]
        == f"and {15_000 - sum(name.startswith('r') for name in names if '-' in name):,} more"
    )
    assert more[2] == f"and {1000 - sum(name[1:].isdigit() for name in names):,} more"


def test_a_frontend_in_trouble_comes_first() -> None:
    """A frontend whose store doesn't answer is shown before those that are only busy."""
    lost = frontend("z-last", backends=(BackendFigures("store", up=False),))
    busy = frontend("a-busy", read=1e9)
    lines = screen(Overview(NOW, "x", complete=True, frontends=(busy, lost)), 120, None)
    [at] = [at for at, line in enumerate(lines) if line.plain.startswith("FRONTEND")]
    assert lines[at + 1].plain.startswith("z-last")
    assert " down" in lines[at + 1].plain
    assert lines[at + 1].style == "red"


def test_a_fleet_in_mid_upgrade() -> None:
    """While frontends differ, the screen says in what, and a wide one says of each which it is."""
    before, after = ({"protocol": number, "storage_format": 2} for number in (1, 2))
    fleet = replace(
        FLEET,
        frontends=(
            frontend("a", version="0.9.0", **before),
            frontend("b", version="0.10.0", **after),
            frontend("c", version="0.9.0", **before),
            frontend("old", version="0.1.0"),
        ),
    )
    lines = shown(fleet, 160)
    assert "several of version: 0.10.0 ×1, 0.9.0 ×2, 0.1.0 ×1" in lines  # noqa: RUF001 -- times
    assert "several of protocol: 2 ×1, 1 ×2, unknown ×1" in lines  # noqa: RUF001 -- times
    assert not any("ingest layout" in line for line in lines)
    [row] = [line for line in lines if line.startswith("b ")]
    assert "0.10.0" in row
    assert not any("several" in line for line in shown(FLEET, 160))


def test_what_is_missing_is_said() -> None:
    """Without Redis, and without a newer answer, the screen says so."""
    lines = [
        line.plain
        for line in screen(replace(FLEET, complete=False), 80, 24, trouble="no frontend answers")
    ]
    assert "Redis can't be asked: this is one frontend alone" in lines
    assert "nothing newer: no frontend answers" in lines


def test_lines_are_shared() -> None:
    """Small sections get all that they want, and large ones as much as one another."""
    assert shared(20, [3, 100, 50]) == [3, 9, 8]
    assert shared(5, [10, 10, 10]) == [2, 2, 1]
    assert shared(100, [3, 4]) == [3, 4]
    assert shared(-1, [3]) == [0]
    assert list(chain(shared(0, []))) == []


def test_cells_have_their_width() -> None:
    """A cell is as wide as its column, in columns of the terminal."""
    assert fitted("ab", 4) == "ab  "
    assert fitted("ab", 4, right=True) == "  ab"
    assert fitted("abcdef", 4) == "abc…"
    assert cell_len(fitted("漢字漢字", 4)) == 4
    assert fitted("abc", 0) == ""
