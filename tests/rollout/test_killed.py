"""However a rollout ends, the node starts containers, and the next try finishes."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.errors import FailedPrecondition, HoldfastError
from holdfast.node.rollout.journal import Phase, load
from holdfast.node.rollout.removal import remove
from holdfast.node.rollout.rollout import Rollout
from tests.rollout.model import OURS, OWN, PAUSE, Killed, Model, plan

AFTER = ("nothing", "containerd crashes", "the machine restarts")
"""What happens after the rollout was killed, before its next try."""


@contextmanager
def node() -> Iterator[Model]:
    """A node with its own store, and a folder for bundles."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "root").mkdir()
        yield Model(Path(folder) / "root")


def install(model: Model, version: str = "1") -> None:
    """One try."""
    Rollout(model.host(), plan(model.root.parent, version))()


def name(model: Model, version: str) -> str:
    """The generation's."""
    return plan(model.root.parent, version).generation(model.layout)


def installed(model: Model) -> None:
    """A node that Holdfast serves, and that has pulled since."""
    install(model)
    model.pull("later:1")


def upgrade(model: Model) -> None:
    """An upgrade."""
    install(model, "2")


def break_the_next(model: Model) -> None:
    """A node that Holdfast serves, whose next agent can't start."""
    installed(model)
    model.frail.add(name(model, "2"))


def forget_a_layer(model: Model) -> None:
    """A node of whose content Holdfast will lose a piece."""
    model.loses = list(model.images["app:1"])[2]


def blind_the_next(model: Model) -> None:
    """A node that Holdfast serves, whose next agent lists, and can't read."""
    installed(model)
    model.blind.add(name(model, "2"))


def mute_the_next(model: Model) -> None:
    """A node that Holdfast serves, whose next agent starts, and can't list."""
    installed(model)
    model.mute.add(name(model, "2"))


def withhold_a_manifest(model: Model) -> None:
    """A node of whose content Holdfast will list a piece that it can't read."""
    model.withheld = next(iter(model.images["app:1"]))


def withhold_the_pause_image(model: Model) -> None:
    """A node whose pause image Holdfast will list, and can't read."""
    model.withheld = next(iter(model.images[PAUSE]))


def garble_a_manifest(model: Model) -> None:
    """A node whose containerd won't get a piece that the agent can read."""
    model.garbled = next(iter(model.images["app:1"]))


def expect_failure(change: Callable[[Model], None]) -> Callable[[Model], None]:
    """A change that must fail, and says so."""

    def changed(model: Model) -> None:
        with pytest.raises(HoldfastError):
            change(model)

    return changed


def happen(model: Model, what: str) -> None:
    """Lets it happen."""
    if what == "containerd crashes":
        model.crash_containerd()
    elif what == "the machine restarts":
        model.boot()


def unstarted(model: Model) -> list[str]:
    """What can't be started, but for what shows itself only once containerd has moved."""
    return [name for name in model.starts() if model.garbled not in model.images[name]]


def steps(prepare: Callable[[Model], None], change: Callable[[Model], None]) -> int:
    """How many steps a change has."""
    with node() as model:
        prepare(model)
        before = model.budget.taken
        change(model)
        return model.budget.taken - before


def killed_at(model: Model, step: int, change: Callable[[Model], None]) -> None:
    """Begins a change, and kills it before one of its steps."""
    model.budget.left = model.budget.taken + step
    with pytest.raises(Killed):
        change(model)
    model.budget.left = None


CHANGES: dict[str, tuple[Callable[[Model], None], Callable[[Model], None], str, int]] = {
    "install": (lambda _model: None, install, OURS, 1),
    "upgrade": (installed, upgrade, OURS, 0),
    "remove": (installed, lambda model: remove(model.host()), OWN, 1),
    "upgrade to an agent that can't start": (break_the_next, expect_failure(upgrade), OURS, 0),
    "upgrade to an agent that can't list": (mute_the_next, expect_failure(upgrade), OURS, 0),
    "upgrade to an agent that can't read": (blind_the_next, expect_failure(upgrade), OURS, 0),
    "install where content is lost": (forget_a_layer, expect_failure(install), OWN, 0),
    "install where content is withheld": (withhold_a_manifest, expect_failure(install), OWN, 0),
    "install where the pause image is": (withhold_the_pause_image, expect_failure(install), OWN, 0),
    "install where containerd can't read": (garble_a_manifest, expect_failure(install), OWN, 2),
}
"""What is prepared, what is done, whose store containerd has then, and its restarts."""


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("change", CHANGES)
def test_killed_at_each_step(change: str, after: str) -> None:
    """Killed before any step, a change leaves a node that works, and its next try ends well."""
    prepare, do, store, restarts = CHANGES[change]
    count = steps(prepare, do)
    assert count > 5
    for step in range(count):
        with node() as model:
            prepare(model)
            before = model.restarts
            killed_at(model, step, do)
            model.wait()
            assert unstarted(model) == [], step
            happen(model, after)
            assert unstarted(model) == [], (step, model.said)
            model.pull("meanwhile:1")
            do(model)
            assert model.starts() == [], (step, model.said)
            assert model.store == store, step
            assert model.restarts - before <= restarts, (step, model.said)
            model.boot()
            assert (model.starts(), model.store) == ([], store), (step, model.said)


@pytest.mark.parametrize("change", CHANGES)
def test_undisturbed(change: str) -> None:
    """A change that nobody disturbs restarts containerd as often as is said, and no more."""
    prepare, do, store, restarts = CHANGES[change]
    with node() as model:
        prepare(model)
        before = model.restarts
        do(model)
        assert (model.store, model.restarts - before) == (store, restarts)
        assert model.starts() == []
        do(model)
        assert model.restarts - before <= restarts


def test_a_removed_node_is_as_before() -> None:
    """After a removal no file of the rollout is left, and containerd's own are as they were."""
    with node() as model:
        before = model.layout.config.read_text()
        installed(model)
        assert model.leftovers()
        remove(model.host())
        assert model.leftovers() == []
        assert model.layout.config.read_text() == before
        assert "later:1" in model.images
        remove(model.host())


def test_given_up_once() -> None:
    """What was given up is tried again only if that is asked for, or something changes."""
    with node() as model:
        garble_a_manifest(model)
        with pytest.raises(FailedPrecondition, match="can't read"):
            install(model)
        restarts = model.restarts
        with pytest.raises(FailedPrecondition, match="given up"):
            install(model)
        assert model.restarts == restarts
        model.garbled = ""
        Rollout(model.host(), plan(model.root.parent, "1"))(again=True)
        assert model.store == OURS


@pytest.mark.parametrize("misses", [1, 2, 3])
def test_images_that_containerd_missed(misses: int) -> None:
    """A containerd that has started without its content is restarted, a bounded number of times."""
    with node() as model:
        model.flaky = misses
        if misses > 2:
            with pytest.raises(HoldfastError):
                install(model)
        else:
            install(model)
        assert model.starts() == []
        assert model.store == (OWN if misses > 2 else OURS)
        assert model.restarts == misses + 1


def test_something_else_writes_the_configuration() -> None:
    """A configuration that something else has rewritten has Holdfast again at the next start."""
    with node() as model:
        installed(model)
        model.layout.config.write_text("version = 2\n")
        model.boot()
        assert (model.store, model.starts()) == (OURS, [])


def test_a_removal_without_frontends() -> None:
    """Without frontends nothing can be copied back, so a removal fails, and changes nothing."""
    with node() as model:
        installed(model)
        model.frontends = False
        with pytest.raises(HoldfastError):
            remove(model.host())
        model.frontends = True
        assert (model.store, model.starts()) == (OURS, [])
        found = load(model.layout)
        assert found is not None
        assert found.phase is Phase.HOLDFAST


WISHES = ("1", "2", "broken", "mute", "blind", "remove")
TRIES = st.lists(
    st.tuples(
        st.sampled_from(WISHES), st.one_of(st.none(), st.integers(0, 60)), st.sampled_from(AFTER)
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TRIES)
def test_any_tries_in_a_row(tries: list[tuple[str, int | None, str]]) -> None:
    """Whatever is wished for, and wherever each try is killed, the node starts containers."""
    with node() as model:
        model.frail.add(name(model, "broken"))
        model.mute.add(name(model, "mute"))
        model.blind.add(name(model, "blind"))
        number = itertools.count()
        for wish, step, after in tries:
            model.budget.left = None if step is None else model.budget.taken + step
            try:
                if wish == "remove":
                    remove(model.host())
                else:
                    install(model, wish)
            except (Killed, HoldfastError):
                pass
            model.budget.left = None
            model.wait()
            assert model.starts() == [], model.said
            happen(model, after)
            assert model.starts() == [], model.said
            model.pull(f"image:{next(number)}")
        install(model, "3")
        assert (model.store, model.starts()) == (OURS, [])
        remove(model.host())
        assert (model.store, model.starts(), model.leftovers()) == (OWN, [], [])
