"""Which nodes are set up at once, and which first: they take turns by an API server's objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from holdfast.errors import FailedPrecondition, HoldfastError, PermissionDenied, Unavailable
from holdfast.node.rollout import turns
from holdfast.node.rollout.journal import Phase, load
from holdfast.node.rollout.ports import AnyTime
from holdfast.node.rollout.removal import remove
from tests.rollout.api_server import CANARIES, OTHERS, Objects, turn
from tests.rollout.model import OURS, OWN, Killed, Model
from tests.rollout.test_killed import install, killed_at, name, node, steps


@pytest.fixture
def nodes() -> Iterator[list[Model]]:
    """Some nodes, none of which is set up."""
    with ExitStack() as stack:
        yield [stack.enter_context(node()) for _ in range(4)]


def untouched(model: Model) -> bool:
    """Whether nothing was begun on a node."""
    return (
        model.store == OWN
        and model.restarts == 0
        and not model.serving
        and [path for path in model.leftovers() if not path.endswith("/lock")] == []
    )


def test_one_after_the_other(nodes: list[Model]) -> None:
    """Undisturbed, each node is set up in its turn, and ends it."""
    objects = Objects()
    for number, model in enumerate(nodes):
        turn(objects, f"node-{number}", model)
        install(model)
        assert model.store == OURS
        assert objects.holders() == []


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_no_more_at_once(nodes: list[Model], at_once: int) -> None:
    """While as many nodes as may be are being set up, the next one is left untouched."""
    objects = Objects(at_once=at_once)
    for number, model in enumerate(nodes[:at_once]):
        turn(objects, f"node-{number}", model)
        killed_at(model, 12, install)
    last = nodes[at_once]
    turn(objects, "last", last)
    with pytest.raises(Unavailable, match="come first"):
        install(last)
    assert untouched(last)
    assert objects.holders() == [f"node-{number}" for number in range(at_once)]

    turn(objects, "node-0", nodes[0])
    install(nodes[0])
    turn(objects, "last", last)
    install(last)
    assert last.store == OURS
    assert objects.holders() == [f"node-{number}" for number in range(1, at_once)]


def test_a_node_that_lost_its_store_waits(nodes: list[Model]) -> None:
    """A node that something else has given its own store again is moved in its turn."""
    objects, model = Objects(), nodes[0]
    install(model)
    restarts = model.restarts
    model.layout.drop_in.unlink()
    model.layout.part.unlink()
    model.boot()
    assert model.store == OWN
    turn(objects, "other").wait()
    turn(objects, "node-0", model)
    with pytest.raises(Unavailable, match="other come first"):
        install(model)
    assert (model.store, model.restarts) == (OWN, restarts)
    model.turn = AnyTime()
    install(model)
    assert model.store == OURS


def test_a_node_that_fails_stops_the_others(nodes: list[Model]) -> None:
    """A version that can't run reaches as many nodes as may be changed at once, and no more."""
    objects = Objects(at_once=2)
    for number, model in enumerate(nodes):
        model.frail.add(name(model, "1"))
        turn(objects, f"node-{number}", model)
        with pytest.raises(HoldfastError):
            install(model)
    assert [untouched(model) for model in nodes] == [False, False, True, True]
    # It is given up there, and holds the others up as long as its pod is started again and again.
    waiting = turn(objects, "node-2", nodes[2])
    for _ in range(5):
        for number, model in enumerate(nodes[:2]):
            turn(objects, f"node-{number}", model)
            with pytest.raises(FailedPrecondition, match="given up"):
                install(model)
        with pytest.raises(Unavailable, match="node-0, node-1 come first"):
            waiting.wait()
    assert untouched(nodes[2])
    # Another version has its turn on the nodes that failed, and then on the rest.
    for number, model in enumerate(nodes):
        turn(objects, f"node-{number}", model)
        install(model, "2")
        assert model.store == OURS


def test_a_node_that_is_gone(nodes: list[Model]) -> None:
    """A turn that nobody renews passes on, after it was seen unchanged often enough."""
    objects = Objects()
    turn(objects, "gone", nodes[0])
    killed_at(nodes[0], 12, install)
    looked = [0]

    def pause(_seconds: float) -> None:
        looked[0] += 1
        assert untouched(nodes[1])

    waiting = turn(objects, "node-1", nodes[1])
    waiting.pause, waiting.looks = pause, turns.LOOKS
    install(nodes[1])
    assert looked[0] >= turns.UNCHANGED - 1
    assert nodes[1].store == OURS


def test_a_node_that_renews_is_not_gone(nodes: list[Model]) -> None:
    """However long a node takes, its turn lasts while it renews it."""
    objects = Objects()
    first = turn(objects, "first", nodes[0])
    first.wait()
    waiting = turn(objects, "node-1", nodes[1])
    waiting.pause, waiting.looks = lambda _seconds: first.keep(), turns.LOOKS
    with pytest.raises(Unavailable, match="first come first"):
        install(nodes[1])
    assert untouched(nodes[1])
    first.end()
    install(nodes[1])
    assert nodes[1].store == OURS


def test_a_turn_is_renewed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a node has its turn, its lease is written again and again."""
    monkeypatch.setattr(turns, "RENEWAL", 0.001)
    objects = Objects()
    made = turn(objects, "node-0")
    made.wait()
    before = objects.items[OTHERS.lease(0)]["metadata"]["resourceVersion"]
    for _ in range(10_000):
        if objects.items[OTHERS.lease(0)]["metadata"]["resourceVersion"] != before:
            break
        objects.get(OTHERS.settings)
        made._ended.wait(0.001)
    assert objects.items[OTHERS.lease(0)]["metadata"]["resourceVersion"] != before
    made.end()
    assert objects.holders() == []


def test_canaries_go_first(nodes: list[Model]) -> None:
    """On a first installation, others are untouched until all canaries are verified."""
    objects = Objects(at_once=2, canaries=2)
    turn(objects, "other", nodes[2])
    with pytest.raises(Unavailable, match="0 of 2 canaries are verified"):
        install(nodes[2])
    for number, model in enumerate(nodes[:2]):
        turn(objects, f"canary-{number}", model, CANARIES)
        install(model)
        assert model.store == OURS
        objects.canaries(2, number)
        with pytest.raises(Unavailable, match=f"{number} of 2 canaries"):
            install(nodes[2])
    assert untouched(nodes[2])
    objects.canaries(2, 2)
    install(nodes[2])
    assert nodes[2].store == OURS


def test_a_bad_version_reaches_a_canary_only(nodes: list[Model]) -> None:
    """A version that can't run reaches one canary, and the mended one isn't held up by that."""
    objects = Objects(canaries=2)
    for model in nodes:
        model.frail.add(name(model, "1"))
    for number, model in enumerate(nodes):
        turn(objects, f"node-{number}", model, CANARIES if number < 2 else OTHERS)
        with pytest.raises(HoldfastError):
            install(model)
    assert [untouched(model) for model in nodes] == [False, True, True, True]
    turn(objects, "node-0", nodes[0], CANARIES)
    install(nodes[0], "2")
    turn(objects, "node-1", nodes[1], CANARIES)
    install(nodes[1], "2")


def test_another_node_that_failed_holds_up_no_canary(nodes: list[Model]) -> None:
    """What failed on one of the others can be mended on canaries first."""
    objects = Objects(canaries=1)
    objects.canaries(1, 1)
    nodes[1].frail.add(name(nodes[1], "1"))
    turn(objects, "other", nodes[1])
    with pytest.raises(HoldfastError):
        install(nodes[1])
    assert objects.holders() == ["other"]
    turn(objects, "canary", nodes[0], CANARIES)
    install(nodes[0], "2")
    assert nodes[0].store == OURS


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"observedGeneration": 1}, "about to be changed"),
        ({"spec": "spec-0"}, "about to be changed"),
        ({"updatedNumberScheduled": 1}, "1 of 2 canaries"),
        ({"desiredNumberScheduled": 0}, "no node has the labels"),
    ],
)
def test_canaries_of_an_earlier_version(
    nodes: list[Model], status: dict[str, int], why: str
) -> None:
    """What canaries were before the chart changed them counts for nothing."""
    objects = Objects(canaries=2)
    objects.canaries(2, 2, **status)  # type: ignore[arg-type]
    turn(objects, "other", nodes[0])
    with pytest.raises(Unavailable, match=why):
        install(nodes[0])
    assert untouched(nodes[0])


def test_a_node_that_is_set_up_waits_for_nobody(nodes: list[Model]) -> None:
    """A pod that starts again on a node that needs no change waits for no canary and no turn."""
    objects = Objects(canaries=1)
    objects.canaries(1, 1)
    turn(objects, "node-0", nodes[0])
    install(nodes[0])
    objects.canaries(1, 0)
    turn(objects, "other").wait = lambda: None  # type: ignore[method-assign]
    turn(objects, "node-0", nodes[0])
    install(nodes[0])
    objects.down = True
    install(nodes[0])
    assert nodes[0].store == OURS
    # An upgrade does.
    objects.down = False
    with pytest.raises(Unavailable, match="0 of 1 canaries"):
        install(nodes[0], "2")
    assert nodes[0].serving == name(nodes[0], "1")


def test_what_was_begun_is_finished() -> None:
    """A node on its way is finished, whatever has become of canaries and the API server."""
    objects = Objects(canaries=1)
    for step in range(steps(lambda _model: None, install)):
        with node() as model:
            objects.canaries(1, 1)
            turn(objects, "node-0", model)
            killed_at(model, step, install)
            journal = load(model.layout)
            objects.canaries(1, 0)
            objects.down = True
            if journal is not None and journal.phase is Phase.MOVING:
                install(model)
                assert model.store == OURS
            objects.down = False
            assert model.starts() == []


def test_a_removal_takes_turns(nodes: list[Model]) -> None:
    """Removals restart containerd, and take turns too; a node that has nothing waits for none."""
    for model in nodes[:2]:
        install(model)
    objects = Objects(canaries=1)
    objects.canaries(1, 1)
    turn(objects, "node-0").wait()
    turn(objects, "node-1", nodes[1])
    with pytest.raises(Unavailable, match="node-0 come first"):
        remove(nodes[1].host())
    assert nodes[1].store == OURS
    turn(objects, "node-2", nodes[2])
    remove(nodes[2].host())

    turn(objects, "node-0", nodes[0])
    remove(nodes[0].host())
    assert objects.holders() == []
    remove(nodes[1].host())
    assert [model.store for model in nodes[:2]] == [OWN, OWN]


def test_a_host_that_can_not_be_set_up_takes_no_turn(nodes: list[Model]) -> None:
    """What is refused before anything is changed keeps nobody waiting."""
    objects = Objects()
    nodes[0].layout.config.write_text('[proxy_plugins.other]\ntype = "content"\n')
    turn(objects, "node-0", nodes[0])
    with pytest.raises(FailedPrecondition, match="content store too"):
        install(nodes[0])
    assert objects.holders() == []


def test_without_an_api_server(nodes: list[Model]) -> None:
    """If the API server can't be asked, nothing is begun, and the next try begins."""
    objects = Objects()
    objects.down = True
    turn(objects, "node-0", nodes[0])
    with pytest.raises(Unavailable, match="no API server"):
        install(nodes[0])
    assert untouched(nodes[0])
    objects.down = False
    install(nodes[0])
    assert nodes[0].store == OURS


def test_an_api_server_that_goes_away_meanwhile(nodes: list[Model]) -> None:
    """Without the API server, a node whose turn has begun is set up, and the next one waits."""
    objects = Objects()
    made = turn(objects, "node-0", nodes[0])
    made.wait()
    objects.down = True
    install(nodes[0])
    assert nodes[0].store == OURS
    assert any("could not be ended" in line for line in nodes[0].said)
    objects.down = False
    assert objects.holders() == ["node-0"]
    # Its next pod ends it.
    turn(objects, "node-0", nodes[0])
    install(nodes[0])
    assert objects.holders() == []


def test_two_at_the_same_moment() -> None:
    """Of two nodes that see a lease free, one gets it."""
    objects = Objects(at_once=2)
    first, second = turn(objects, "first"), turn(objects, "second")
    put = objects.put

    def meanwhile(path: str, item: Mapping[str, Any]) -> dict[str, Any]:
        objects.put = put  # type: ignore[method-assign]
        second.wait()
        return put(path, item)

    objects.put = meanwhile  # type: ignore[method-assign]
    first.wait()
    assert objects.holders() == ["second", "first"]
    third = turn(objects, "third")
    with pytest.raises(Unavailable):
        third.wait()
    first.end()
    second.end()


def test_without_rights(nodes: list[Model]) -> None:
    """A pod whose account lacks a right fails at once, with what the server says."""
    objects = Objects()

    def get(path: str) -> dict[str, Any]:
        raise PermissionDenied(f"forbidden: {path}")

    objects.get = get  # type: ignore[method-assign]
    turn(objects, "node-0", nodes[0])
    with pytest.raises(PermissionDenied, match="forbidden"):
        install(nodes[0])
    assert untouched(nodes[0])


@pytest.mark.parametrize("data", [None, {}, {"atOnce": "many"}])
def test_settings_that_say_nothing(nodes: list[Model], data: dict[str, str] | None) -> None:
    """Without a number of nodes that may be changed at once, none is."""
    objects = Objects()
    objects.items[OTHERS.settings]["data"] = data
    turn(objects, "node-0", nodes[0])
    with pytest.raises(Unavailable, match="how many nodes"):
        install(nodes[0])
    assert untouched(nodes[0])


def test_killed_at_each_step_of_its_turn() -> None:
    """Killed anywhere, a node has its turn in the next try, and ends it then."""
    for step in range(steps(lambda _model: None, install)):
        objects = Objects()
        with node() as model:
            turn(objects, "node-0", model)
            model.budget.left = model.budget.taken + step
            with pytest.raises(Killed):
                install(model)
            model.budget.left = None
            assert objects.holders() == ["node-0"] * (step >= 1) or step < 3
            turn(objects, "node-0", model)
            install(model)
            assert (model.store, objects.holders()) == (OURS, [])


def test_a_waiting_node_can_be_worked_on(nodes: list[Model]) -> None:
    """While a pod waits for its turn, the host isn't locked: somebody may remove by hand."""
    objects = Objects()
    turn(objects, "other").wait()
    install(nodes[0])

    def pause(_seconds: float) -> None:
        removing = nodes[0].host()
        with removing.disk.alone(nodes[0].layout.journal.with_name("lock")):
            objects.down = True

    turn(objects, "node-0", nodes[0]).pause = pause
    with pytest.raises(Unavailable):
        install(nodes[0], "2")
    assert objects.down
