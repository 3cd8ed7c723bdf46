"""What must be left of a fleet at rest: what is held, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import redis

from bench.soak.actors import OPTIONS
from bench.soak.listing import check_list
from bench.soak.oracle import Oracle, State
from bench.soak.stage import LEASE, TENANTS, Stage
from holdfast import ContentStore
from holdfast.errors import HoldfastError
from holdfast.service.backends import open_store
from holdfast.service.settings import load
from holdfast.storage.keys import DATA, DELETING, HOLDS, RECORDS, RETAINED, TAILS, record_digest
from holdfast.storage.port import ObjectStore
from holdfast.storage.records import Records
from holdfast.storage.records import State as RecordState
from tests.servers.process import wait_until

ROUNDS = 5
"""Final collections that take all garbage: one removes the marks of broken-off deletes, the next
condemns and buries what they named, the third dooms its data, the fourth deletes it. One more,
since what the last lie has changed is taken back first."""


@contextmanager
def _store(stage: Stage) -> Iterator[ObjectStore]:
    """The fleet's store, opened as a frontend would."""
    before = dict(os.environ)
    os.environ.update(stage.settings)
    try:
        with closing(open_store(load())) as store:
            yield store
    finally:
        os.environ.clear()
        os.environ.update(before)


def verify(oracle: Oracle, stage: Stage) -> None:
    """Lists every tenant through every frontend; reads all that is held byte for byte."""
    addresses = [f"127.0.0.1:{program.port}" for program in stage.frontends]
    for tenant in TENANTS:
        for address in addresses:
            with ContentStore(address, tenant=tenant, options=OPTIONS) as store:
                check_list(oracle, store, tenant)
    for index, seen in enumerate(oracle.seen()):
        if seen.state is not State.HELD:
            continue
        claim, address = seen.claim, addresses[index % len(addresses)]
        try:
            with ContentStore(address, tenant=claim.tenant, options=OPTIONS) as store:
                found = store.open(claim.content.digest).read()
        except HoldfastError as error:
            oracle.violation(f"at the end it can't be read: {error!r}", claim)
            continue
        if found != claim.content.read():
            oracle.violation("at the end it has other bytes", claim)
        oracle.count("verify", read=len(found))


def settle(oracle: Oracle, stage: Stage) -> None:
    """Drops all ingests, waits until nobody holds a lease, and collects."""
    addresses = [f"127.0.0.1:{program.port}" for program in stage.frontends]
    for tenant in TENANTS:
        with ContentStore(addresses, tenant=tenant, options=OPTIONS) as store:
            for status in store.statuses():
                store.abort(status.ref)
                oracle.count("abort")
    client = redis.Redis.from_url(stage.settings["HOLDFAST_REDIS_URL"])
    with closing(client):
        wait_until(
            lambda: not any(client.scan_iter("holdfast:*:lease:*")), "end of leases", 10 * LEASE
        )
    for program in stage.collectors:
        program.end()
    for _ in range(ROUNDS):
        _collect(oracle, stage.folder / "final.log", stage.settings)


def _collect(oracle: Oracle, log: Path, settings: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.soak.collector", "--final"],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    with log.open("a") as output:
        output.write(done.stdout + done.stderr)
    if done.returncode:
        oracle.violation(f"the final collection failed: {(done.stdout + done.stderr)[-500:]}")


def leftovers(oracle: Oracle, stage: Stage) -> dict[str, int]:
    """Counts what is there, and tells what shouldn't be."""
    client = redis.Redis.from_url(stage.settings["HOLDFAST_REDIS_URL"])
    counts = {}
    with closing(client):
        for kind in ("lease", "ingest", "parts", "ingests"):
            pattern = f"holdfast:*:{kind}" + ("" if kind == "ingests" else ":*")
            counts[kind] = len(list(client.scan_iter(pattern)))
    with _store(stage) as store:
        records, named = Records(store), set()
        digests = [record_digest(entry.key) for entry in store.list(RECORDS)]
        for digest in digests:
            seen = records.read(digest)
            if seen and seen.record.state is not RecordState.TOMBSTONE and not seen.record.inline:
                named.add(seen.record.data_key)
        data = {entry.key for entry in store.list(DATA)}
        counts["garbage data"] = len(data - named)
        counts["missing data"] = len(named - data)
        counts["markers"] = sum(1 for _ in store.list(RETAINED))
        counts["tails"] = sum(1 for _ in store.list(TAILS))
        counts["uploads"] = sum(1 for _ in store.list_uploads(""))
        holds = [entry.key for entry in store.list(HOLDS)]
        counts["unfinished deletes"] = sum(key.endswith(DELETING) for key in holds)
    for what, count in counts.items():
        if count and what != "missing data":
            oracle.violation(f"left at the end: {count} {what}")
    return {**counts, "records": len(digests), "data": len(data), "holds": len(holds)}
