"""What a fleet is doing, as lines for a terminal of any size.

Whatever clients have chosen (tenants, refs, reasons) is escaped, and no line is longer than the
terminal is wide: nothing that anybody sends can break the screen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from rich.text import Text

from holdfast.cli.columns import Column, fitted, shared, table
from holdfast.cli.output import harmless, size
from holdfast.overview import FrontendFigures, IngestFigures, Overview, TenantFigures, total

BAR: Final = 10
"""Columns of a bar."""
LEAST: Final = 4
"""Lines of the smallest section: an empty one, its heading, a row, and how many more there are."""
BUSY: Final = "yellow"
BAD: Final = "red"

FRONTEND: Final = (
    Column("FRONTEND", 0, right=False),
    Column("UP", 6, 72),
    Column("RPC/S", 7),
    Column("ERR/S", 6, 60),
    Column("READ/S", 12, 50),
    Column("WRITE/S", 12, 50),
    Column("STREAMS", 7, 90),
    Column("READS", 5, 98),
    Column("CACHE", 5, 106),
    Column("AGENTS", 6, 126),
    Column("VERSION", 10, 138, right=False),
    Column("STORE", 8, 118),
    Column("REDIS", 8, 118),
)
INGEST: Final = (
    Column("INGEST", 0, right=False),
    Column("TENANT", 14, 78, right=False),
    Column("THROUGH", 16, 132, right=False),
    Column("", BAR, 40, right=False),
    Column("DONE", 5),
    Column("RECEIVED", 10, 64),
    Column("OF", 10, 92),
    Column("RATE", 12, 50),
    Column("LEFT", 6, 104),
)
FLIGHT: Final = (
    Column("IN FLIGHT", 0, right=False),
    Column("LEADER", 14, 60, right=False),
    Column("", BAR, 40, right=False),
    Column("DONE", 5),
    Column("OF", 10, 84),
    Column("WAITING", 7, 50),
)
TENANT: Final = (
    Column("TENANT", 0, right=False),
    Column("CALLS/S", 9),
    Column("READ/S", 12, 40),
    Column("WRITE/S", 12, 56),
)
CLIENT: Final = (
    Column("CLIENT", 0, right=False),
    Column("CONNECTIONS", 11),
    Column("FRONTENDS", 9, 40),
)
PROBLEM: Final = (
    Column("LOG", 8, right=False),
    Column("FRONTEND", 16, 100, right=False),
    Column("", 0, right=False),
)


@dataclass(frozen=True, slots=True)
class Section:
    """A table of which as much is shown as there is room for.

    Attributes:
        columns: of the table.
        rows: all of them, the most interesting first.
        styles: of the rows.
        rest: returns the row that stands for those from a number on.
    """

    columns: tuple[Column, ...]
    rows: Sequence[tuple[str, ...]]
    styles: Sequence[str]
    rest: Callable[[int], tuple[str, ...]]

    @property
    def wanted(self) -> int:
        """Lines with which all of it is shown, and one that is empty before it."""
        return len(self.rows) + 2

    def lines(self, width: int, height: int) -> list[Text]:
        """Returns the section in `height` lines, the first of them empty."""
        room = height - 2
        if room < 1:
            return []
        rows, styles = self.rows, self.styles
        if len(rows) > room:
            rows, styles = [*rows[: room - 1], self.rest(room - 1)], [*styles[: room - 1], "dim"]
        return [Text(), *table(self.columns, rows, width, styles)]


def screen(overview: Overview, width: int, height: int | None, trouble: str = "") -> list[Text]:
    """Returns the lines of a screen.

    Args:
        overview: what is shown.
        width: columns of the terminal.
        height: its lines; None: as many as it takes.
        trouble: why there is nothing newer, if so.
    """
    head = [_fit(line, width) for line in _head(overview, trouble)]
    sections = [one for one in _sections(overview) if one.rows]
    wanted = [one.wanted for one in sections]
    if height is not None:
        sections = sections[: max(0, height - len(head)) // LEAST]
        wanted = shared(height - len(head), wanted[: len(sections)])
    lines = [*head]
    for section, room in zip(sections, wanted, strict=True):
        lines += section.lines(width, room)
    return lines if height is None else lines[:height]


def _fit(line: Text, width: int) -> Text:
    return Text(fitted(line.plain, width).rstrip(), style=line.style)


def _head(overview: Overview, trouble: str) -> list[Text]:
    frontends = overview.frontends
    draining = sum(one.draining for one in frontends)
    ending = f", {draining} draining" if draining else ""
    count = f"{len(frontends):,} frontend{'s' if len(frontends) != 1 else ''}{ending}"
    at = f"{datetime.fromtimestamp(overview.at, UTC):%H:%M:%S} UTC"
    moved = (
        f"read {_rate(total(frontends, 'read'))}   written {_rate(total(frontends, 'written'))}   "
        f"stored {_rate(total(frontends, 'stored'))}   {_number(total(frontends, 'rpcs'))} RPC/s"
    )
    under_way = "   ".join(
        f"{name} {total(frontends, name):,.0f}" for name in ("streams", "reads", "calls", "waiting")
    )
    lines = [
        Text(f"holdfast   {count}   {at}   by {harmless(overview.by)}", style="bold"),
        Text(moved),
        Text(f"{under_way}   buffered {size(int(total(frontends, 'buffered')))}"),
    ]
    if connections := total(frontends, "connections"):
        agents = total(frontends, "agents")
        lines.append(Text(f"connections {connections:,.0f}, {agents:,.0f} of agents"))
    for name, versions in overview.mixed:
        lines.append(Text(f"several of {name}: {_counted(versions)}", style=BUSY))
    if failing := _errors(frontends):
        lines.append(Text(f"errors {failing}", style=BUSY))
    if not overview.complete:
        lines.append(Text("Redis can't be asked: this is one frontend alone", style=BAD))
    if trouble:
        lines.append(Text(f"nothing newer: {harmless(trouble)}", style=BAD))
    return lines


def _counted(found: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{harmless(one, 20)} ×{many:,}" for one, many in found)  # noqa: RUF001 -- times


def _errors(frontends: Sequence[FrontendFigures]) -> str:
    codes: dict[str, float] = {}
    for one in (code for frontend in frontends for code in frontend.errors):
        codes[one.code] = codes.get(one.code, 0.0) + one.rate
    worst = sorted(codes.items(), key=lambda pair: -pair[1])[:3]
    return ", ".join(f"{harmless(code, 20)} {_number(rate)}/s" for code, rate in worst)


def _sections(overview: Overview) -> list[Section]:
    # Where there is no room for all of them, the last are left out.
    return [
        _frontends(overview.frontends),
        _ingests(overview),
        _flights(overview),
        _tenants(overview),
        _problems(overview),
        _clients(overview),
    ]


def _frontends(found: Sequence[FrontendFigures]) -> Section:
    ordered = sorted(found, key=lambda one: (-_trouble(one), -(one.read + one.written), one.name))

    def rest(at: int) -> tuple[str, ...]:
        others = ordered[at:]
        blank = [""] * (len(FRONTEND) - 8)
        return (
            f"and {len(others):,} more",
            "",
            _number(total(others, "rpcs")),
            _number(sum(code.rate for one in others for code in one.errors)),
            _rate(total(others, "read")),
            _rate(total(others, "written")),
            f"{total(others, 'streams'):,.0f}",
            f"{total(others, 'reads'):,.0f}",
            *blank,
        )

    styles = [BAD if _trouble(one) else BUSY if one.draining else "" for one in ordered]
    return Section(FRONTEND, [_frontend(one) for one in ordered], styles, rest)


def _trouble(one: FrontendFigures) -> bool:
    """Whether a backend is known not to answer a frontend."""
    return not all(backend.up for backend in one.backends)


def _frontend(one: FrontendFigures) -> tuple[str, ...]:
    backends = {backend.name: backend for backend in one.backends}

    def backend(name: str) -> str:
        found = backends.get(name)
        if found is None:
            return ""
        if not found.up:
            return "down"
        return f"{found.seconds * 1000:.1f} ms" if found.requests else "up"

    asked = one.memory.hits + one.memory.misses
    return (
        f"{harmless(one.name)}{' (draining)' * one.draining}",
        _age(one.at - one.started_at),
        _number(one.rpcs),
        _number(sum(code.rate for code in one.errors)),
        _rate(one.read),
        _rate(one.written),
        f"{one.streams:,}",
        f"{one.reads:,}",
        f"{100 * one.memory.hits / asked:.0f} %" if asked else "",
        f"{one.agents:,}",
        harmless(one.version),
        backend("store"),
        backend("redis"),
    )


def _ingests(overview: Overview) -> Section:
    found = overview.ingests
    streams = round(total(overview.frontends, "streams"))

    def rest(at: int) -> tuple[str, ...]:
        rate = sum(one.rate for _, one in found[at:])
        more = f"and {max(streams, len(found)) - at:,} more"
        return (more, "", "", "", "", "", "", _rate(rate), "")

    rows = [_ingest(frontend, one) for frontend, one in found]
    return Section(INGEST, rows, [""] * len(rows), rest)


def _ingest(frontend: str, one: IngestFigures) -> tuple[str, ...]:
    left = one.total - one.offset
    return (
        harmless(one.ref),
        harmless(one.tenant),
        harmless(frontend),
        _bar(one.offset, one.total),
        _share(one.offset, one.total),
        size(one.offset),
        size(one.total) if one.total else "",
        _rate(one.rate),
        _age(left / one.rate) if one.rate and left > 0 else "",
    )


def _flights(overview: Overview) -> Section:
    found = sorted(overview.flights, key=lambda one: -one.waiting)

    def rest(at: int) -> tuple[str, ...]:
        waiting = sum(one.waiting for one in found[at:])
        return (f"and {len(found) - at:,} more", "", "", "", "", f"{waiting:,}")

    rows = [
        (
            str(one.digest),
            harmless(one.leader),
            _bar(one.offset, one.total),
            _share(one.offset, one.total),
            size(one.total) if one.total else "",
            f"{one.waiting:,}",
        )
        for one in found
    ]
    return Section(FLIGHT, rows, [""] * len(rows), rest)


def _tenants(overview: Overview) -> Section:
    found = overview.tenants

    def row(name: str, one: TenantFigures) -> tuple[str, ...]:
        return name, _number(one.calls), _rate(one.read), _rate(one.written)

    def rest(at: int) -> tuple[str, ...]:
        first, *others = found[at:]
        for one in others:
            first = first.plus(one)
        named = sum(1 for one in found[at:] if one.tenant)
        return row(f"and {named:,} more" if named else "all others", first)

    rows = [row(harmless(one.tenant) or "all others", one) for one in found]
    return Section(TENANT, rows, [""] * len(rows), rest)


def _clients(overview: Overview) -> Section:
    found = overview.clients

    def rest(at: int) -> tuple[str, ...]:
        connections = sum(one.connections for one, _ in found[at:])
        return (f"and {len(found) - at:,} more", f"{connections:,}", "")

    rows = [
        (harmless(one.name) or "all others", f"{one.connections:,}", f"{frontends:,}")
        for one, frontends in found
    ]
    return Section(CLIENT, rows, [""] * len(rows), rest)


def _problems(overview: Overview) -> Section:
    found = overview.problems
    rows = [
        (
            f"{datetime.fromtimestamp(max(0.0, one.at), UTC):%H:%M:%S}",
            harmless(frontend),
            harmless(": ".join(part for part in (one.event, one.reason) if part)),
        )
        for frontend, one in found
    ]
    styles = [BAD if one.level == "error" else BUSY for _, one in found]
    return Section(PROBLEM, rows, styles, lambda at: (f"+ {len(found) - at:,}", "", ""))


def _bar(done: int, whole: int) -> str:
    if not whole:
        return ""
    full = min(BAR, BAR * done // whole)
    return "█" * full + "░" * (BAR - full)


def _share(done: int, whole: int) -> str:
    return f"{min(100, 100 * done // whole)} %" if whole else ""


def _rate(count: float) -> str:
    return f"{size(round(count))}/s" if count >= 1 else "-"


def _number(count: float) -> str:
    if not count:
        return "-"
    return f"{count:,.1f}" if count < 10 else f"{count:,.0f}"  # noqa: PLR2004 -- one digit


def _age(seconds: float) -> str:
    """Returns a time of about so many seconds, in at most six characters."""
    passed = timedelta(seconds=max(0, round(min(seconds, 9999 * 86400))))
    hours, rest = divmod(passed.seconds, 3600)
    if passed.days:
        return f"{passed.days}d{hours:02}h"
    if hours:
        return f"{hours}h{rest // 60:02}m"
    return f"{rest // 60}m{rest % 60:02}s"
