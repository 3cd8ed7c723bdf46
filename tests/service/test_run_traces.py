"""Traces of runs: a collection, a scrub and an expiry, with their phases and their requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast import origins
from holdfast.errors import Unavailable
from holdfast.service.backends import STORE_FOLDER
from holdfast.service.process.run_spans import RunSpans
from holdfast.service.process.traces import STEPS
from holdfast.storage.folder import FolderStore
from holdfast.storage.records import new_nonce
from holdfast.storage.sightings import Sightings
from tests.servers.otlp import ReceivedSpan, Receiver, receiver
from tests.service.collector.world import World
from tests.service.processes import run
from tests.stores.counting import CountingStore


@pytest.fixture
def spans() -> Iterator[Receiver]:
    """An OpenTelemetry collector."""
    with receiver() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The store of a data folder, with blobs, of which one is held by nobody."""
    store = FolderStore(tmp_path / STORE_FOLDER)
    store.check_access()
    world = World(CountingStore(store))
    world.commit("a", b"held" * 100_000)
    world.blobs.drop("a", world.commit("a", b"unheld"))
    Sightings(store, new_nonce).touch("a")
    return world


def tree(received: Receiver, program: str) -> tuple[ReceivedSpan, dict[str, list[ReceivedSpan]]]:
    """The span of a program's only run, and the spans below each of its phases."""
    found = [span for span in received.spans if span.program == f"holdfast-{program}"]
    [root] = [span for span in found if not span.parent]
    assert root.name == f"{program}/run"
    assert {span.trace for span in found} == {root.trace}
    phases = {span.id: span for span in found if span.kind == "internal" and span is not root}
    assert {span.parent for span in phases.values()} <= {root.id}
    below: dict[str, list[ReceivedSpan]] = {span.name: [] for span in phases.values()}
    for span in found:
        if span.kind == "client" and span.parent != root.id:
            below[phases[span.parent].name].append(span)
    return root, below


@pytest.mark.usefixtures("world")
def test_a_collection(spans: Receiver, tmp_path: Path) -> None:
    """A collection is a trace: its passes, and what each asks the store and Redis."""
    done = run("gc", data_dir=tmp_path, retain_for=0, traces=spans.url)
    assert done.returncode == 0, done.stderr
    root, phases = tree(spans, "collector")
    assert root.attributes["holdfast.run.ok"] is True
    assert root.attributes["holdfast.run.found"] == 2
    assert not root.failed
    for name in ("ingests", "looking at the store", "records", "data", "tails", "uploads"):
        assert f"collector/{name}" in phases
    grown = phases["collector/reading how the fleet has grown"]
    assert [one.name for one in grown] == ["EVALSHA grow"]
    looked = {one.name for one in phases["collector/looking at the store"]}
    assert looked >= {"folder/ListObjectsV2", "folder/GetObject"}  # records are read by threads
    assert "folder/PutObject" in {one.name for one in phases["collector/records"]}


@pytest.mark.usefixtures("world")
def test_a_scrub(spans: Receiver, tmp_path: Path) -> None:
    """A scrub is one, too; what its workers ask belongs to its phases."""
    done = run("scrub", "--shallow", data_dir=tmp_path, traces=spans.url)
    assert done.returncode == 0, done.stderr
    root, phases = tree(spans, "scrub")
    assert root.attributes["holdfast.run.found"] == 2
    assert root.attributes["holdfast.run.errors"] == 0
    assert phases.keys() == {"scrub/records", "scrub/holds"}
    assert "folder/GetObject" in {one.name for one in phases["scrub/records"]}
    assert "folder/ListObjectsV2" in {one.name for one in phases["scrub/holds"]}


@pytest.mark.usefixtures("world")
def test_an_expiry(spans: Receiver, tmp_path: Path) -> None:
    """So is an expiry, with its requests."""
    done = run(
        "tenants", "expire", "--unseen-for", "30d", "--apply", data_dir=tmp_path, traces=spans.url
    )
    assert done.returncode == 0, done.stderr
    root, _ = tree(spans, "expiry")
    assert "folder/ListObjectsV2" in {one.name for one in spans.spans if one.parent == root.id}


@pytest.mark.usefixtures("world")
def test_a_drop(spans: Receiver, tmp_path: Path) -> None:
    """So is the end of a tenant that somebody drops, with what was deleted for it."""
    done = run("tenants", "drop", "a", "--yes", data_dir=tmp_path, traces=spans.url)
    assert done.returncode == 0, done.stderr
    root, phases = tree(spans, "tenant-drop")
    assert root.attributes["holdfast.run.finished"] is True
    assert phases.keys() == {"tenant-drop/tenant"}
    assert "folder/DeleteObject" in {one.name for one in phases["tenant-drop/tenant"]}


@pytest.mark.usefixtures("world")
def test_without_traces_nothing_is_sent(spans: Receiver, tmp_path: Path) -> None:
    """Runs aren't recorded unless somebody asks."""
    done = run("gc", data_dir=tmp_path, retain_for=0)
    assert done.returncode == 0, done.stderr
    assert spans.spans == []


@pytest.mark.usefixtures("world")
def test_a_dead_collector_of_traces_keeps_no_run(tmp_path: Path) -> None:
    """A run does its work though nobody takes its spans, and ends."""
    done = run("gc", data_dir=tmp_path, retain_for=0, traces="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr


def recorded() -> tuple[RunSpans, InMemorySpanExporter]:
    """What records runs, and what was recorded."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return RunSpans(provider.get_tracer("test"), "collector", "bucket"), exporter


def one(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    """The only span of a name."""
    [found] = [span for span in exporter.get_finished_spans() if span.name == name]
    return found


def test_what_fails_has_failed() -> None:
    """A phase that raises has failed, and says by what; so has the run, if it isn't survived."""
    runs, exporter = recorded()

    def fail() -> None:
        with runs.run({}) as running:
            with suppress(KeyError), running.phase("first", {}):
                raise KeyError("lost")
            with running.phase("second", {"tenant": "node-1"}):
                pass
            raise Unavailable("the store is away")

    with pytest.raises(Unavailable):
        fail()
    first, second = one(exporter, "collector/first"), one(exporter, "collector/second")
    assert (first.status.is_ok, (first.attributes or {})["error.type"]) == (False, "KeyError")
    assert second.attributes == {"holdfast.tenant": "node-1"}
    whole = one(exporter, "collector/run")
    assert whole.status.description == "the store is away"
    assert whole.parent is None


def test_a_phase_has_a_bounded_number_of_steps() -> None:
    """A pass over a million records sends some of its requests, and says how many it omitted."""
    runs, exporter = recorded()
    found: dict[str, int] = {}
    with runs.run(found) as running:
        for name in ("first", "second"):
            with running.phase(name, {}):
                for _ in range(STEPS + 7):
                    with running.step("S3", "GetObject", "key"):
                        pass
        with running.step("S3", "PutObject", "key"):
            pass
        found["freed"] = 3
    assert len(exporter.get_finished_spans()) == 2 * STEPS + 4
    for name in ("first", "second"):
        assert one(exporter, f"collector/{name}").attributes == {"holdfast.omitted_steps": 7}
    assert one(exporter, "collector/run").attributes == {"holdfast.run.freed": 3}
    put = one(exporter, "S3/PutObject")
    assert put.attributes is not None
    assert put.attributes["aws.s3.bucket"] == "bucket"


def test_a_run_names_no_request() -> None:
    """Nobody has asked for a run, so its lines in the log have no request's name."""
    runs, _ = recorded()
    with runs.run({}) as running:
        origins.enter(running)
        assert running.request_id == ""
        assert origins.exemplar() == {"trace_id": running.trace_id}
        origins.enter(None)
