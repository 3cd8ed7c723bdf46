"""What commands print for people, on a narrow terminal: names stay whole, moments are UTC."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.cli.output import print_table
from holdfast.digests import Digest
from holdfast.protos import fleet_pb2
from holdfast.service.backends import STORE_FOLDER
from holdfast.storage.folder import FolderStore
from holdfast.storage.records import new_nonce
from holdfast.storage.sightings import Sightings
from tests.holdfast.fake_store import FakeFrontend, Ingest, State
from tests.service.collector.world import World
from tests.service.processes import COMMAND, environment, run
from tests.service.scrubbing import delete_data
from tests.stores.counting import CountingStore

NARROW = 40
"""Columns of the terminal."""
HELD, GIVEN_UP, LOST = b"held", b"given up", bytes(100_000)
REF = f"holdfast-push-{Digest.of(HELD)}"
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(.{0,4})")


def shown(*arguments: str, **settings: object) -> str:
    """What a command prints on a narrow terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, NARROW, 0, 0))
    with subprocess.Popen(
        [*COMMAND, *arguments], env=environment(settings), stdin=theirs, stdout=theirs
    ):
        os.close(theirs)
        printed = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    return printed.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody has the other end any more
        return b""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with a blob that is held, one that is retained, a lost and a doomed one."""
    store = FolderStore(tmp_path / STORE_FOLDER)
    store.check_access()
    world = World(CountingStore(store))
    world.commit("node-1", HELD)
    Sightings(store, new_nonce).touch("node-1")
    world.blobs.drop("node-1", world.commit("node-1", GIVEN_UP))
    key = world.put_data(b"garbage").data_key
    old = time.time() - 3 * 24 * 3600
    os.utime(tmp_path / STORE_FOLDER / "objects" / key, (old, old))
    assert run("gc", data_dir=tmp_path).returncode == 0
    delete_data(store, world.commit("node-1", LOST))
    return tmp_path


@pytest.fixture
def frontend() -> Iterator[FakeFrontend]:
    """A frontend with a blob, an ingest, and a blob that the fleet is writing."""
    state = State()
    state.hold("a", HELD)
    state.ingests["a", REF] = Ingest(bytearray(LOST))
    state.flights = [fleet_pb2.Flight(digest=str(Digest.of(LOST)), leader="n" * 63, total=9)]
    fake = FakeFrontend(state)
    yield fake
    fake.stop()


def check(printed: str, *names: str) -> None:
    """Names are whole in a line, and moments say that they are UTC."""
    for name in names:
        assert any(name in line for line in printed.split("\n")), printed
    moments = MOMENT.findall(printed)
    assert moments, printed
    assert set(moments) == {" UTC"}, printed


def test_on_a_frontend(frontend: FakeFrontend) -> None:
    """Commands on a frontend fold no digest and no ref, and say that a moment is UTC."""
    settings = {"address": frontend.target, "tenant": "a"}
    check(shown("ls", **settings), str(Digest.of(HELD)))
    check(shown("info", str(Digest.of(HELD)), **settings), str(Digest.of(HELD)))
    check(shown("status", REF, **settings), REF)
    check(shown("active", **settings), REF, str(Digest.of(LOST)), "n" * 63)


def test_on_a_store(folder: Path) -> None:
    """Commands on a store do neither."""
    check(shown("gc", "--doomed", data_dir=folder))
    check(shown("retained", "list", data_dir=folder), str(Digest.of(GIVEN_UP)))
    check(shown("tenants", "list", data_dir=folder), "node-1")
    check(shown("tenants", "expire", "--unseen-for", "1s", data_dir=folder), "node-1")
    check(shown("explain", str(Digest.of(HELD)), data_dir=folder), "node-1")
    check(shown("gc", "--dry-run", data_dir=folder))
    assert f"  {Digest.of(LOST)}  data/" in shown("scrub", "--dry-run", data_dir=folder)


def test_a_tables_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """A table's cells begin below each other, whatever is in them, and each row is a line."""
    print_table(("A", "B"), [("é漢[b]", "1"), ("x\ny", "2")])
    assert capsys.readouterr().out == "A       B\né漢[b]  1\nx y     2\n"
