"""`python -m bench.soak.collector`: a collector with ages that no setting allows.

`holdfast gc` refuses to delete data that is younger than the longest life of an ingest
and half an hour: longer than most soaks. No ingest of a soak lives for `DATA_AGE`, so
data of that age may go while others write. `--final` is for a fleet at rest: all goes
that nobody names.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time

from holdfast.service.backends import checked_store
from holdfast.service.collector.ages import Ages
from holdfast.service.collector.assembly import CollectorOptions, tools
from holdfast.service.collector.brakes import ACCEPTABLE
from holdfast.service.collector.report import CollectionReport
from holdfast.service.process import logs
from holdfast.service.settings import load
from holdfast.storage.fleet import longest_lifetime

DATA_AGE = 150.0
"""Seconds; ten times what a soak's ingest takes, and more than it may."""

BETWEEN = 90.0
"""Seconds between the two runs that it takes to delete anything: longer than what is wrong with
the store lasts in a soak, and than it takes from an object to its record, since a collector whose
clock is days ahead takes everything for old."""


async def collect(*, final: bool) -> CollectionReport:
    """One run."""
    settings, report = load(), CollectionReport(dry_run=False)
    with checked_store(settings) as store:
        lifetime = longest_lifetime(store)
        ages = Ages(
            retain=0.0 if final else 2.0,
            data=0.0 if final else DATA_AGE,
            read_grace=0.0 if final else 30.0,
            ingest_lifetime=lifetime,
            landing=0.0 if final else 60.0,
            doom=-1.0 if final else BETWEEN,  # stamps are of whole seconds
            condemned=0.0 if final else BETWEEN,
        )
        stop = threading.Event()
        async with tools(settings, store, settings.redis_url, ages, stop=stop) as opened:
            await opened.collect(
                ages, report, CollectorOptions(accept=ACCEPTABLE if final else frozenset())
            )
    return report


def main() -> int:
    """Runs once, or again and again."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak.collector", description=__doc__)
    parser.add_argument("--loop", type=float, default=None, help="seconds between runs")
    parser.add_argument("--final", action="store_true", help="the fleet is at rest")
    chosen = parser.parse_args()
    logs.configure("warning", "json")
    while True:
        try:
            report = asyncio.run(collect(final=chosen.final))
            print(json.dumps(report.as_json()), flush=True)
            done = report.ok
        except Exception as error:  # noqa: BLE001 -- a backend is away; it is tried again
            print(json.dumps({"error": repr(error)}), flush=True)
            done = False
        if chosen.loop is None:
            return 0 if done else 1
        time.sleep(chosen.loop)


if __name__ == "__main__":
    sys.exit(main())
