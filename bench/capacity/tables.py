"""The tables of docs/capacity.md: written by `python -m bench capacity --docs`, held by tests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from bench.capacity import formulas
from bench.capacity.counts import COUNTS
from bench.capacity.fleet import Fleet
from bench.capacity.flights import Rules, Start, simulated
from bench.capacity.load import DAY, FLEETS, Bill, Day, Nodes, Prices, bill
from bench.capacity.requests import Requests
from bench.capacity.retained import RetainedStore

FULL: Final = Fleet(tenants=1_000, holds=1_000, blobs=50_000)
"""The fleet that is simulated."""
RETAINED: Final = RetainedStore(1_000_000).size
MILLION: Final = replace(Fleet(tenants=1_000, holds=1_000, blobs=1_000_000).size, unheld=0)


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def calls() -> str:
    """What each call asks for."""
    head = ("call", "S3 writes", "S3 reads", "S3 deletes", "Redis")
    rows = ((name, r.writes, r.reads, r.free, r.all_redis) for name, r in COUNTS.items())
    return _table(head, rows)


def passes() -> str:
    """What a pass over the simulated fleet's whole store asks for."""
    size, prices = FULL.size, Prices()
    rows: Mapping[str, Requests] = {
        "List by one tenant, first": formulas.listing(FULL.holds, FULL.holds),
        "List by one tenant, again": formulas.listing(FULL.holds, 0),
        "`holdfast gc --dry-run`": formulas.rehearsal(size),
        "`holdfast gc`, the first": formulas.first_collection(size),
        "`holdfast gc`, nothing new": formulas.unchanged(replace(size, retained=size.unheld)),
        "`holdfast gc`, nothing new, 10⁶ blobs": formulas.unchanged(MILLION),
        "`holdfast gc`, nothing new, 10⁶ blobs, all of them retained": formulas.unchanged(RETAINED),
        "`holdfast gc`, 1,000 of these to be condemned": formulas.condemning(RETAINED, 1_000),
        "`holdfast scrub --shallow`": formulas.look(size),
        "`holdfast scrub`": formulas.scrub(size),
    }
    return _table(
        ("pass", "S3 writes", "S3 reads", "dollars"),
        (
            (name, f"{r.writes:,}", f"{r.reads:,}", f"{prices.of(r):.4f}")
            for name, r in rows.items()
        ),
    )


def _bills() -> list[Bill]:
    return [bill(fleet, Day()) for fleet in FLEETS]


def loads() -> str:
    """What fleets ask for, on average."""

    def row(found: Bill) -> tuple[str, ...]:
        total, fleet = found.total, found.fleet
        rates = (total.writes, total.reads, total.free, total.all_redis)
        return (f"{fleet.nodes:,}", f"{fleet.blobs:,}", *(f"{n / DAY:.2f}" for n in rates))

    head = ("nodes", "blobs", "S3 writes/s", "S3 reads/s", "S3 deletes/s", "Redis/s")
    return _table(head, map(row, _bills()))


def costs() -> str:
    """Dollars a month."""
    prices = Prices()

    def row(found: Bill) -> tuple[str, ...]:
        shares = (30 * prices.of(requests) for requests in found.daily.values())
        requests, storage = found.requests_monthly(prices), found.storage_monthly(prices)
        retained = found.retention_monthly(prices)
        sums = (*shares, requests, storage, retained, (requests + storage) / found.fleet.nodes)
        return (f"{found.fleet.nodes:,}", *(f"{amount:,.2f}" for amount in sums))

    bills = _bills()
    paid = ("all requests", "storage", "of it retained", "in all, a node")
    head = ("nodes", *bills[0].daily, *paid)
    return _table(head, map(row, bills))


def assumptions() -> str:
    """What isn't counted."""
    day, prices, one = Day(), Prices(), Nodes(1, 1)
    rows = (
        ("images that a node pulls in a day", day.pulls),
        ("an image", f"{day.layers} layers of 20 MiB, {day.small} manifests and configs of 4 KiB"),
        ("of its blobs, held by the node already", f"{day.held:.1%}, asked for cold"),
        ("of its blobs, new to the fleet", f"{day.new:.1%}"),
        ("Info and Read of manifest and config after a pull", f"{day.pairs} pairs"),
        ("collections of a node's containerd in a day", day.collections),
        ("of its holds, new to a List", f"{day.changed:.1%}"),
        ("holds of a node", f"{one.holds:,}"),
        ("`holdfast gc`", f"{one.collections} times a day"),
        ("`holdfast scrub`", f"all of the store in {1 / one.scrubs:.0f} days"),
        ("blobs given up", "as many as come, by nodes and in the store"),
        ("what nobody holds is retained for", f"{one.retained_for:g} days"),
        ("1,000 PUT, POST or LIST requests", f"${1000 * prices.write:.3f}"),
        ("1,000 GET or HEAD requests", f"${1000 * prices.read:.4f}"),
        ("a DELETE request", "nothing"),
        ("10⁹ bytes stored for a month", f"${prices.gigabyte_month:.3f}"),
    )
    return _table((f"assumption ({prices.as_of})", ""), rows)


def flights() -> str:
    """What a fleet that starts at once fetches, and how often it asks."""

    def row(nodes: int, rules: Callable[[], Rules] | None) -> tuple[str, ...]:
        start = Start(tenants=nodes)
        found = simulated(start, rules)
        layers = len(start.layers)
        each = nodes * layers
        return (
            f"{nodes:,}",
            "yes" if rules else "no",
            f"{found.fetched / sum(start.layers):.2f}",
            str(max(found.fetches.values())),
            f"{found.waited / each:.1f}",
            f"{found.asked / each:.1f}",
            f"{found.moved / layers:.1f}",
            f"{found.infos / each:.1f}",
            f"{found.took:.0f}",
        )

    head = (
        "nodes",
        "flights",
        "bytes fetched, of all layers",
        "most fetches of one layer",
        "times told to wait",
        "asked Redis",
        "reports of progress, a layer",
        "Infos that found nothing",
        "seconds",
    )
    rules = partial(Rules, patience=5.0, wait=30.0)
    return _table(head, (row(nodes, how) for nodes in (50, 500) for how in (None, rules)))


def unanswered() -> str:
    """What such a fleet fetches if Infos get no answer, with the look at the store and without."""

    def row(share: float, *, looks: bool) -> tuple[str, ...]:
        start = Start(unanswered=share, looks=looks)
        found = simulated(start, partial(Rules, patience=5.0, wait=30.0))
        each = start.tenants * len(start.layers)
        return (
            f"{share:.0%}",
            "yes" if looks else "no",
            f"{found.fetched / sum(start.layers):.2f}",
            str(max(found.fetches.values())),
            f"{found.asked / each:.1f}",
            f"{found.looks / each:.3f}",
            f"{found.took:.0f}",
        )

    head = (
        "Infos without an answer",
        "a STAT looks",
        "bytes fetched, of all layers",
        "most fetches of one layer",
        "asked Redis",
        "looked at the store",
        "seconds",
    )
    return _table(
        head, (row(share, looks=looks) for share in (0.1, 0.5) for looks in (False, True))
    )


TABLES: Final[dict[str, Callable[[], str]]] = {
    "calls": calls,
    "passes": passes,
    "assumptions": assumptions,
    "loads": loads,
    "costs": costs,
    "flights": flights,
    "unanswered": unanswered,
}


def rewritten(page: str) -> str:
    """A page with its tables as they are today, each between its marks."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", "\n<!-- end -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        made = begin + table() + end
        page, found = pattern.subn(made.replace("\\", r"\\"), page)
        if found != 1:
            raise ValueError(f"{found} places for the table {name!r}, not one")
    return page
