"""The operator's page: what the fleet is doing, rendered here; a little script keeps it fresh.

Nothing on it comes from elsewhere, and a browser that keeps to the page's policy runs no other
script than ours: all names that clients choose are text.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from holdfast.moments import moment
from holdfast.overview import BackendFigures, CacheFigures, FrontendFigures, Overview, total
from holdfast.service.overview.hour import Sample
from holdfast.service.web.appearance import SCRIPT, STYLE
from holdfast.service.web.history import PERIOD, History
from holdfast.service.web.main_loop import MainLoop
from holdfast.service.web.markup import (
    bar,
    count,
    curve,
    duration,
    milliseconds,
    rate,
    share,
    size,
    table,
    text,
)

Current = Callable[[], Coroutine[Any, Any, Overview]]
FleetHour = Callable[[], Coroutine[Any, Any, Sequence[Sample]]]
MOST: Final = 100
"""Rows of a table; the page says how many there are."""
HOLE: Final = 2.5 * PERIOD
"""Seconds without a sample that are a hole in a curve: nobody knows what was done then."""
CURVES: Final[tuple[tuple[str, Callable[[Sample], float], Callable[[float], str]], ...]] = (
    ("Read", lambda one: one.rates.read, rate),
    ("Written", lambda one: one.rates.written, rate),
    ("Stored", lambda one: one.rates.stored, rate),
    ("Found in memory", lambda one: one.hits, share),
    ("RPCs/s", lambda one: one.rates.rpcs, count),
    ("Errors/s", lambda one: one.rates.errors, count),
    ("Open streams", lambda one: one.rates.streams, count),
    ("Waiting streams", lambda one: one.rates.waiting, count),
    ("Clients", lambda one: round(one.rates.clients, 1), count),
    ("Frontends", lambda one: round(one.rates.frontends, 1), count),
    ("Store", lambda one: one.store, milliseconds),
    ("Redis", lambda one: one.redis, milliseconds),
)


@dataclass(frozen=True, slots=True)
class Hour:
    """The last hour.

    Attributes:
        of: the frontend whose it is; "" if it is the fleet's.
        samples: the oldest first.
    """

    of: str
    samples: Sequence[Sample]


async def _unknown() -> tuple[Sample, ...]:
    return ()


class Page:
    """The page of one frontend."""

    def __init__(
        self, loop: MainLoop, current: Current, history: History, hour: FleetHour = _unknown
    ) -> None:
        """Shows nothing yet.

        Args:
            loop: the loop that serves RPCs.
            current: makes an overview of the fleet, in that loop.
            history: of this frontend.
            hour: reads the last hour of the fleet, in that loop; nothing if it can't be read.
        """
        self._loop = loop
        self._current = current
        self._hour = hour
        self.history = history

    async def _looked(self) -> tuple[Overview, Hour]:
        overview, fleet = await self._loop.consult(self._asked)
        return overview, Hour("", fleet) if fleet else Hour(overview.by, self.history.samples)

    async def _asked(self) -> tuple[Overview, Sequence[Sample]]:
        """Runs in the loop that serves RPCs."""
        overview = await self._current()
        return overview, await self._hour() if overview.complete else ()

    async def whole(self, _: Request) -> Response:
        """Answers with the page.

        Raises:
            Unavailable: the loop stands still.
        """
        overview, hour = await self._looked()
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        body = rendered(overview, hour, nonce)
        return HTMLResponse(body, headers={"content-security-policy": policy})

    async def figures(self, _: Request) -> Response:
        """Answers with what changes of the page, for its script.

        Raises:
            Unavailable: the loop stands still.
        """
        overview, hour = await self._looked()
        return HTMLResponse(f"{_summary(overview)}{_main(overview, hour)}")


def rendered(overview: Overview, hour: Hour, nonce: str) -> str:
    """Returns the page as HTML; its style and its script are allowed by `nonce`."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Holdfast</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<noscript><meta http-equiv="refresh" content="10"></noscript>'
        f'<style nonce="{nonce}">{STYLE}</style></head><body>'
        '<a class="skip" href="#main">Skip to the figures</a>'
        f"<header><h1>Holdfast</h1>{_summary(overview)}"
        '<p><button id="pause" type="button" aria-pressed="false" hidden>Pause</button> '
        '<a href="/debug">Debug pages</a></p></header>'
        f"{_main(overview, hour)}"
        f'<script nonce="{nonce}">{SCRIPT}</script></body></html>\n'
    )


def _summary(overview: Overview) -> str:
    draining = sum(one.draining for one in overview.frontends)
    return (
        f'<p id="now" role="status">{_numbered(len(overview.frontends), "frontend")}, '
        f'{draining} draining</p><p class="quiet">by {text(overview.by)}, '
        f'<time id="at">{moment(overview.at)}</time></p>'
    )


def _main(overview: Overview, hour: Hour) -> str:
    warning = (
        ""
        if overview.complete
        else '<p class="alarm">Redis gives no answer: this is what one frontend knows alone.</p>'
    )
    parts = enumerate(_parts(overview, hour))
    sections = "".join(_section(place, title, body) for place, (title, body) in parts)
    return f'<main id="main" tabindex="-1">{warning}{sections}</main>'


def _parts(overview: Overview, hour: Hour) -> Iterator[tuple[str, str]]:
    """Yields the title and the content of each section."""
    yield "The fleet", _sums(overview)
    yield f"The last hour of {text(hour.of) or 'the fleet'}", _curves(overview, hour)
    yield "Frontends", _frontends(overview)
    yield "Backends", _backends(overview)
    yield "Ingests", _ingests(overview)
    yield "Flights", _flights(overview)
    yield "Tenants", _tenants(overview)
    yield "Clients", _clients(overview)
    yield "Errors", _errors(overview)
    yield "Problems", _problems(overview)


def _section(place: int, title: str, body: str) -> str:
    name = f"part-{place}"
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{body}</section>'


def _sums(overview: Overview) -> str:
    def of(name: str) -> float:
        return total(overview.frontends, name)

    errors = sum(code.rate for one in overview.frontends for code in one.errors)
    figures = (
        ("Read", rate(of("read"))),
        ("Written", rate(of("written"))),
        ("Stored", rate(of("stored"))),
        ("RPCs/s", count(of("rpcs"))),
        ("Errors/s", count(errors)),
        ("Open streams", count(of("streams"))),
        ("Waiting streams", count(of("waiting"))),
        ("Buffered", size(of("buffered"))),
        ("Agents", count(of("agents"))),
        ("Other clients", count(of("connections") - of("agents"))),
    )
    return (
        "<dl>"
        + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures)
        + "</dl>"
    )


def _curves(overview: Overview, hour: Hour) -> str:
    samples = hour.samples
    if not samples:
        return "<p>There is no sample yet.</p>"
    alone = len(overview.frontends) < 2  # noqa: PLR2004 -- itself and another one
    whose = "" if alone or not hour.of else "Other frontends show theirs on their own pages."
    drawn = []
    for title, figure, words in CURVES:
        values = [figure(one) for one in samples]
        shown = (words(values[-1]), words(max(values)))
        drawn.append(curve(title, values, _pieces(samples), shown))
    said = f'<p class="quiet">{whose}</p>' if whose else ""
    return f'{said}<div class="curves">{"".join(drawn)}</div>'


def _pieces(samples: Sequence[Sample]) -> list[list[float]]:
    """Returns where samples are between the first and the last, 0 to 1, in pieces without holes."""
    begin, before = samples[0].at, samples[0].at
    whole = samples[-1].at - begin or 1.0
    pieces: list[list[float]] = [[]]
    for one in samples:
        if one.at - before > HOLE:
            pieces.append([])
        pieces[-1].append((one.at - begin) / whole)
        before = one.at
    return pieces


def _frontends(overview: Overview) -> str:
    headings = ("Name", "State", "Up for", "Version", "Agents", "Streams", "Reads", "Calls")
    more = ("RPCs/s", "Read", "Written", "Memory found", "Disk found")
    formats = ("Protocol", "Storage format", "Ingest layout")

    def row(one: FrontendFigures) -> tuple[str, ...]:
        return (
            text(one.name),
            "draining" if one.draining else "serving",
            duration(overview.at - one.started_at),
            text(one.version),
            count(one.agents),
            *(count(one.streams), count(one.reads), count(one.calls), count(one.rpcs)),
            *(rate(one.read), rate(one.written)),
            share(_found(one.memory)),
            share(_found(one.disk)) if one.disk.size else "–",  # noqa: RUF001 -- a dash
            *(str(number or "–") for number in _formats(one)),  # noqa: RUF001 -- a dash
        )

    rows = map(row, overview.frontends[:MOST])
    shown = table("Frontends", (*headings, *more, *formats), rows, "There is none.")
    return _mixed(overview) + shown + _left_out(len(overview.frontends))


def _formats(one: FrontendFigures) -> tuple[int, int, int]:
    return one.protocol, one.storage_format, one.ingest_layout


def _mixed(overview: Overview) -> str:
    """Returns in what frontends differ, a line for each; nothing unless a fleet is upgraded."""
    lines = (
        f"<p>Several of {text(name)}: "
        + ", ".join(f"{text(one)} ({_numbered(many, 'frontend')})" for one, many in found[:MOST])
        + "</p>"
        for name, found in overview.mixed
    )
    return "".join(lines)


def _backends(overview: Overview) -> str:
    found = [(one.name, backend) for one in overview.frontends for backend in one.backends]
    # What is wrong first, then what is slow.
    found.sort(key=lambda pair: (pair[1].up, -pair[1].failures, -pair[1].seconds))

    def row(frontend: str, one: BackendFigures) -> tuple[str, ...]:
        return (
            f"{text(one.name)} <span class='quiet'>from {text(frontend)}</span>",
            "answers" if one.up else '<b class="alarm">lost</b>',
            milliseconds(one.seconds),
            count(one.requests),
            count(one.failures),
        )

    headings = ("Backend", "State", "Mean time", "Requests/s", "Failures/s")
    rows = (row(*pair) for pair in found[:MOST])
    return table("Backends", headings, rows, "There is none.") + _left_out(len(found))


def _ingests(overview: Overview) -> str:
    found = overview.ingests

    def row(frontend: str, place: int) -> tuple[str, ...]:
        one = found[place][1]
        return (
            text(one.ref),
            text(one.tenant),
            bar(one.offset, one.total, f"Progress of {one.ref}"),
            rate(one.rate),
            duration(overview.at - one.started_at),
            text(frontend),
        )

    headings = ("Ref", "Tenant", "Progress", "Rate", "Open for", "Frontend")
    rows = (row(name, place) for place, (name, _) in enumerate(found[:MOST]))
    streams = round(total(overview.frontends, "streams"))
    return table("Ingests", headings, rows, "Nothing is being written.") + _left_out(
        streams, min(len(found), MOST)
    )


def _flights(overview: Overview) -> str:
    headings = ("Digest", "Leader", "Progress", "Waiting tenants")
    rows = (
        (
            text(one.digest),
            text(one.leader),
            bar(one.offset, one.total, f"Progress of {one.digest}"),
            count(one.waiting),
        )
        for one in overview.flights[:MOST]
    )
    none = "No tenant waits for what another one writes."
    return table("Flights", headings, rows, none) + _left_out(len(overview.flights))


def _tenants(overview: Overview) -> str:
    found = overview.tenants
    rows = (
        (
            text(one.tenant) if one.tenant else "<i>all others</i>",
            rate(one.read),
            rate(one.written),
            count(one.calls),
        )
        for one in [*found[: MOST - 1], *found[MOST - 1 :][-1:]]
    )
    headings = ("Tenant", "Read", "Written", "Calls/s")
    return table("Tenants", headings, rows, "No tenant asks for anything.") + _left_out(len(found))


def _clients(overview: Overview) -> str:
    found = overview.clients
    rows = (
        (
            text(one.name) if one.name else "<i>all others</i>",
            count(one.connections),
            count(frontends),
        )
        for one, frontends in [*found[: MOST - 1], *found[MOST - 1 :][-1:]]
    )
    headings = ("Program", "Connections", "Frontends")
    return table("Clients", headings, rows, "No client has made a call.") + _left_out(len(found))


def _errors(overview: Overview) -> str:
    sums: dict[str, float] = {}
    for code in (code for one in overview.frontends for code in one.errors):
        sums[code.code] = sums.get(code.code, 0.0) + code.rate
    rows = (
        (text(code), count(value))
        for code, value in sorted(sums.items(), key=lambda pair: -pair[1])
    )
    return table("Errors", ("Status", "RPCs/s"), rows, "No RPC fails.")


def _problems(overview: Overview) -> str:
    rows = (
        (
            text(one.event),
            text(one.level),
            f"{duration(overview.at - one.at)} ago",
            " ".join(text(part) for part in (one.tenant, one.ref, one.digest) if part),
            text(one.reason),
            text(frontend),
        )
        for frontend, one in overview.problems[:MOST]
    )
    headings = ("Event", "Level", "When", "About", "Reason", "Frontend")
    return table("Problems", headings, rows, "No frontend has logged a problem.")


def _found(cache: CacheFigures) -> float:
    """Returns the share of blocks that were found in a cache; 0 if none was looked for."""
    looked = cache.hits + cache.misses
    return cache.hits / looked if looked else 0.0


def _left_out(there: int, shown: int = MOST) -> str:
    left = there - shown
    return f'<p class="quiet">{_numbered(left, "more")} not shown.</p>' if left > 0 else ""


def _numbered(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 and what != 'more' else ''}"
