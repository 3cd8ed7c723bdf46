"""`holdfast explain` as people run it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from holdfast.cli.output import harmless
from holdfast.digests import Digest
from holdfast.overview import Problem
from holdfast.service.backends import STORE_FOLDER
from holdfast.service.commands.explain import _blob, _ref
from holdfast.service.explain.facts import (
    BlobExplanation,
    HolderFacts,
    HoldersFacts,
    IngestFacts,
    LeaseFacts,
    ObjectFacts,
    RefExplanation,
)
from holdfast.storage.folder import FolderStore
from tests.service.collector.world import World
from tests.service.processes import run
from tests.stores.counting import CountingStore

BODY = b"layer"
DIGEST = Digest.of(BODY)
HOSTILE = "a\x1b[2J\x07\r\nfake  line\u202e" + "x" * 1000


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The store of a data folder, in which two tenants hold a blob."""
    store = FolderStore(tmp_path / STORE_FOLDER)
    store.check_access()
    world = World(CountingStore(store))
    world.commit("node-1", BODY)
    world.adopt("node-2", DIGEST)
    return world


def test_a_blob_is_told_to_people(world: World, tmp_path: Path) -> None:
    """The first line says what becomes of it; then come its record, its data, its holders, gc."""
    data = world.data_of(DIGEST)
    done = run("explain", str(DIGEST), data_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    shown = re.sub(moment, "<time>", done.stdout).splitlines()
    assert shown == [
        f"{DIGEST} is live, held by 2 tenants",
        "record     live, 5 B, committed <time>",
        f"           written <time>, its bytes are {data}",
        f"data       {data} has 5 B, stored <time>",
        "held by    2 tenants, 2 holds",
        "             node-1: since <time>",
        "             node-2: since <time>",
        "gc         would keep the record: somebody holds it",
        "           would keep the data: it is younger than 48 h",
    ]


def test_a_blob_is_told_to_programs(world: World, tmp_path: Path) -> None:
    """With --json, one object has all of it; --most bounds what is named, and nothing else."""
    done = run("explain", "--json", "--most", "1", str(DIGEST), data_dir=tmp_path)
    told = json.loads(done.stdout)
    assert told["digest"] == str(DIGEST)
    assert told["record"]["data"] == world.data_of(DIGEST)
    assert (told["holders"]["tenants"], len(told["holders"]["named"])) == (2, 1)
    assert {"kind": "records", "fate": "held"}.items() <= told["gc"][0].items()


def test_what_isn_t_known_has_an_exit_code(world: World, tmp_path: Path) -> None:
    """A digest or a ref of which there is nothing ends with 3, and says so."""
    del world
    done = run("explain", str(Digest.of(b"other")), data_dir=tmp_path)
    assert done.returncode == 3
    assert "isn't known" in done.stdout
    done = run("explain", "layer-x", data_dir=tmp_path)
    assert (done.returncode, done.stdout) == (3, "ref        nothing is known of layer-x\n")
    done = run("explain", "--ref", str(DIGEST), data_dir=tmp_path)
    assert done.returncode == 3
    done = run("explain", "--tenant", "No Such", str(DIGEST), data_dir=tmp_path)
    assert done.returncode == 2


def test_hostile_text_is_harmless() -> None:
    """Whatever clients have chosen, no line breaks, moves the cursor or turns around."""
    problem = Problem(1.0, "error", HOSTILE, reason=HOSTILE)
    lease = LeaseFacts(HOSTILE, 1.0, 5.0, alive=False)
    stored = ObjectFacts(HOSTILE, there=True, size=1)
    ingest = IngestFacts(
        "t", HOSTILE, HOSTILE, lease, started_at=1.0, expected=HOSTILE, stored=(stored,),
        done=(HOSTILE, 1), error=HOSTILE,
    )  # fmt: skip
    holder = HolderFacts("t", 1, 0, 1.0, 1.0, {HOSTILE: HOSTILE})
    blob = BlobExplanation(
        DIGEST, "", None, stored, (), HoldersFacts(1, 1, 0, (holder,)), (ingest,), 1, None,
        arrived=False, gc=(), problems=((HOSTILE, problem),), missing=(HOSTILE,),
    )  # fmt: skip
    ref = RefExplanation(HOSTILE, (), ((HOSTILE, problem),), ())
    texts = [text for _, text in (*_blob(blob), *_ref(ref))]
    assert len(texts) > 10
    assert [text for text in texts if not text.isprintable()] == []


def test_harmless_text_is_short() -> None:
    """A printable text stays as it is up to its bound, and a long one ends with an ellipsis."""
    assert harmless("layer-ü") == "layer-ü"
    assert harmless("\x1b[31mred") == "\\x1b[31mred"
    assert harmless("x" * 300, 10) == "x" * 9 + "…"
