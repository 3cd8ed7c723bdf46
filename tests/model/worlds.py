"""Worlds in which recorded requests are compared with the models."""

from __future__ import annotations

from holdfast.digests import Digest
from holdfast.storage.records import Records, State
from tests.model.programs import Call
from tests.model.protocol import Faults
from tests.model.recording import Made, RecordingStore
from tests.model.storage_model import StorageModel, World
from tests.model.storage_rules import LIVE, Record, Rules
from tests.model.traces import View, of_the_store, refusal
from tests.service.fleet import Fleet

MIB = 2**20
SIZES = {"inline": 4096, "early": 100_000, "single": 100_000, "parts": 9 * MIB}
"""Bytes of each kind of commit; a single object is "early" if its size was announced."""
RULES = Rules()
OTHER = ("b", "0other")
OWN = ("a", "0own")
"""Earlier holds, which sort before those that are made."""
HOLD = Made("put", "hold", "IfAbsent")
FIRST = Made("put", "record", "IfAbsent")
SWAP = Made("put", "record", "IfMatch")


def model(world: World) -> StorageModel:
    """The protocol as it is, in a given world."""
    return StorageModel(RULES, [], Faults(), world)


def live(kind: str, *holds: tuple[str, str], state: str = LIVE) -> World:
    """A world in which the digest is live."""
    key = "i" if kind == "inline" else "d"
    return World(Record(state, key, "n"), frozenset(holds), data=frozenset({key} - {"i"}))


def announced(kind: str) -> dict[str, int]:
    """The fields of a commit that give it its kind."""
    return {"total": 0} if kind == "single" else {}


def turn(fleet: Fleet, data: bytes, state: State) -> None:
    """Changes the state of a digest's record, as a collector does."""
    records = Records(fleet.store)
    seen = records.read(Digest.of(data))
    assert seen is not None
    records.write(seen.record.turned(state, f"turned-{state}"), seen)


def found(
    recording: RecordingStore, world: World, call: Call, view: View = of_the_store
) -> str | None:
    """Model A's objection to what was recorded, if any."""
    assert recording.made
    return refusal(model(world), call, recording.made, view)
